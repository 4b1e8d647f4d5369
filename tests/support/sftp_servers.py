"""SFTP servers of other makers than OpenSSH, on free loopback ports, for as long as a test runs.

Each lets one user in by a key made for the occasion. What they serve lies in `root`, which a client
knows as `remote_root`.
"""

from __future__ import annotations

import contextlib
import os
import pwd
import shutil
import signal
import subprocess
from typing import TYPE_CHECKING

import asyncssh

from support.processes import (
    descendants,
    free_port,
    kill_descendants,
    says_ssh,
    send_signal,
    wait_for_start,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

PROGRAMS = "/usr/sbin:/usr/local/sbin:/usr/bin:/usr/local/bin"


class SftpServer:
    """One server: `host`, `port`, `username`, `identity` and `known_hosts` let a client in.

    `root` is the directory that it serves, `remote_root` the same as its clients name it.
    """

    host = "127.0.0.1"

    def __init__(self, directory: Path, command: Callable[[SftpServer], list[str]]) -> None:
        """Keep keys, config and log in `directory`; `command` writes the config."""
        directory.mkdir(parents=True, exist_ok=True)
        self.directory = directory
        self.root = directory / "served"
        self.root.mkdir(exist_ok=True)
        self.remote_root = str(self.root)
        self.port = free_port()
        self.username = pwd.getpwuid(os.geteuid()).pw_name
        self.identity = directory / "identity"
        self.authorized_keys = directory / "authorized_keys"
        self.host_key = directory / "host_key"
        self.known_hosts = directory / "known_hosts"
        self.log = directory / "server.log"
        self._process: subprocess.Popen[bytes] | None = None
        self._make_keys()
        self._command = command(self)

    def start(self) -> None:
        """Return once it answers; AssertionError with its log where it does not."""
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                self._command, stdin=subprocess.DEVNULL, stdout=log, stderr=log
            )
        wait_for_start(self._process, lambda: says_ssh(self.host, self.port), self.log)

    def stop(self) -> None:
        """End it and all that it started. Stopped already is no error."""
        process, self._process = self._process, None
        if process is None:
            return
        self._signal(process, signal.SIGCONT)
        kill_descendants(process.pid)
        process.kill()
        process.wait()

    def freeze(self) -> None:
        """Stop its processes where they are: connections stay, nothing answers."""
        assert self._process
        self._signal(self._process, signal.SIGSTOP)

    def thaw(self) -> None:
        """Let it go on."""
        assert self._process
        self._signal(self._process, signal.SIGCONT)

    def _signal(self, process: subprocess.Popen[bytes], number: signal.Signals) -> None:
        for pid in (process.pid, *descendants(process.pid)):
            send_signal(pid, number)

    def _make_keys(self) -> None:
        user, host = (asyncssh.generate_private_key("ssh-ed25519") for _ in range(2))
        write_secret(self.identity, user.export_private_key())
        write_secret(self.authorized_keys, user.export_public_key())
        write_secret(self.host_key, host.export_private_key())
        public = host.export_public_key().decode()
        self.known_hosts.write_text(f"[{self.host}]:{self.port} {public}")


def write_secret(path: Path, content: bytes) -> None:
    """Write a file that its owner alone may read."""
    path.unlink(missing_ok=True)
    path.touch(mode=0o600)
    path.write_bytes(content)


@contextlib.contextmanager
def running_rclone(directory: Path) -> Iterator[SftpServer]:
    """Start `rclone serve sftp`: Go's pkg/sftp, whose plain rename replaces what is there."""
    with _running(SftpServer(directory, _rclone)) as server:
        yield server


@contextlib.contextmanager
def running_proftpd(directory: Path) -> Iterator[SftpServer]:
    """Start ProFTPD with mod_sftp."""
    with _running(SftpServer(directory, _proftpd)) as server:
        yield server


@contextlib.contextmanager
def running_dropbear(directory: Path) -> Iterator[SftpServer]:
    """Start Dropbear, which runs OpenSSH's sftp-server. As root only: it sees a home of its own."""
    with _running(SftpServer(directory, _dropbear)) as server:
        yield server


@contextlib.contextmanager
def _running(server: SftpServer) -> Iterator[SftpServer]:
    try:
        server.start()
        yield server
    finally:
        server.stop()


def _rclone(server: SftpServer) -> list[str]:
    """Write-only files go straight to the disk; what others change there is seen at once."""
    server.remote_root = "/"
    options = {
        "addr": f"{server.host}:{server.port}",
        "authorized-keys": str(server.authorized_keys),
        "key": str(server.host_key),
        "user": server.username,
        "config": str(server.directory / "none.conf"),
        "dir-cache-time": "0",
        "vfs-write-wait": "30s",  # blocks that overtook others wait for them
    }
    given = [part for key, value in options.items() for part in (f"--{key}", value)]
    return [_program("rclone"), "serve", "sftp", str(server.root), *given]


def _proftpd(server: SftpServer) -> list[str]:
    """It takes keys as RFC 4716 has them, and no user but those of a file of its own."""
    keys = server.directory / "keys.rfc4716"
    key = asyncssh.read_public_key(server.authorized_keys)
    write_secret(keys, key.export_public_key("rfc4716"))
    users = server.directory / "users"
    account = f"{server.username}:!:{os.geteuid()}:{os.getegid()}::{server.root}:/bin/sh\n"
    write_secret(users, account.encode())
    config = server.directory / "proftpd.conf"
    config.write_text(f"""
ModulePath /usr/lib/proftpd
LoadModule mod_sftp.c
ServerName "{server.host}"
ServerType standalone
DefaultAddress {server.host}
Port {server.port}
UseIPv6 off
User {server.username}
Group {server.username}
RootLogin on
UseFtpUsers off
RequireValidShell off
PidFile {server.directory}/pid
ScoreboardFile {server.directory}/scoreboard
DelayTable none
WtmpLog off
TransferLog none
MaxInstances 50
AuthUserFile {users}
AuthOrder mod_auth_file.c
AllowOverwrite on
SFTPEngine on
SFTPLog {server.directory}/sftp.log
SFTPHostKey {server.host_key}
SFTPAuthorizedUserKeys file:{keys}
""")
    return [_program("proftpd"), "--nodaemon", "--config", str(config)]


def _dropbear(server: SftpServer) -> list[str]:
    """It looks for keys in the user's home alone: so it sees another /etc/passwd than we do."""
    home = server.directory / "home"
    (home / ".ssh").mkdir(parents=True, mode=0o700)
    shutil.copy2(server.authorized_keys, home / ".ssh/authorized_keys")
    server.directory.chmod(0o700)
    key = server.directory / "dropbear_key"
    convert = [_program("dropbearconvert"), "openssh", "dropbear", str(server.host_key), str(key)]
    subprocess.run(convert, check=True, capture_output=True)
    passwd = server.directory / "passwd"
    ids = f"{os.geteuid()}:{os.getegid()}"
    passwd.write_text(f"{server.username}:x:{ids}::{home}:/bin/sh\n")
    port = f"{server.host}:{server.port}"
    script = 'mount --bind "$0" /etc/passwd && exec "$@"'
    dropbear = [_program("dropbear"), "-F", "-E", "-s", "-r", str(key), "-p", port]
    return ["unshare", "--mount", "sh", "-c", script, str(passwd), *dropbear, "-P", f"{home}/pid"]


def _program(name: str) -> str:
    found = shutil.which(name, path=PROGRAMS)
    assert found, f"these tests need {name}; packaging/setup.sh test installs it"
    return found
