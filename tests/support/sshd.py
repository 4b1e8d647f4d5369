"""A real OpenSSH server on a free loopback port, for as long as a test needs it.

It runs as whoever runs the tests and lets that user alone in, by a key made for the occasion.
"""

from __future__ import annotations

import contextlib
import os
import pwd
import shutil
import signal
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING

import asyncssh

from support.processes import (
    descendants,
    end_whole,
    free_port,
    kill_descendants,
    says_ssh,
    send_signal,
    wait_for_start,
)

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

SFTP_SERVERS = ("/usr/lib/openssh/sftp-server", "/usr/libexec/openssh/sftp-server")


class SshServer:
    """One sshd: `host`, `port`, `username`, `known_hosts` and `identity` let a client in."""

    host = "127.0.0.1"

    def __init__(
        self,
        directory: Path,
        *,
        sftp_only: bool = False,
        sftp_flags: str = "",
        extra: str = "",
        launcher: Sequence[str] = (),
    ) -> None:
        """Keep keys, config and log in `directory`.

        `sftp_only` refuses commands. `sftp_flags` go to sftp-server: `-R` makes it read-only, `-P`
        takes requests that it shall not know. `extra` is one more line for sshd_config. `launcher`
        is a command that starts sftp-server.
        """
        directory.mkdir(parents=True, exist_ok=True)
        self.directory = directory
        self.port = free_port()
        self.username = pwd.getpwuid(os.geteuid()).pw_name
        self.known_hosts = directory / "known_hosts"
        self.identity = directory / "identity"
        self.log = directory / "sshd.log"
        self._sftp_only = sftp_only
        self._sftp_flags = sftp_flags
        self._extra = extra
        self._launcher = " ".join(launcher)
        self._process: subprocess.Popen[bytes] | None = None
        self._make_user_key()
        self.new_host_key()
        self.trust()

    def start(self) -> None:
        """Return once it answers; AssertionError with its log where it does not."""
        _make_privilege_separation_directory()
        self._write_config()
        program = shutil.which("sshd", path="/usr/sbin:/usr/local/sbin:/usr/bin")
        assert program, "these tests need the OpenSSH server (Debian: openssh-server)"
        command = [program, "-D", "-e", "-f", str(self.directory / "sshd_config")]
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(command, stderr=log, stdin=subprocess.DEVNULL)
        wait_for_start(self._process, lambda: says_ssh(self.host, self.port), self.log)

    def stop(self) -> None:
        """End it and all that it started, connections too. Stopped already is no error."""
        if self._process is None:
            return
        self.thaw()
        end_whole(self._process)
        self._process = None

    def freeze(self) -> None:
        """Stop its processes where they are: connections stay, nothing answers."""
        self._signal(signal.SIGSTOP)

    def thaw(self) -> None:
        """Let it go on."""
        self._signal(signal.SIGCONT)

    def drop_connections(self) -> None:
        """Cut every connection; new ones are welcome."""
        assert self._process
        kill_descendants(self._process.pid)

    def new_host_key(self) -> None:
        """Change its host key; shown from the next start on, trusted after `trust`."""
        key = asyncssh.generate_private_key("ssh-ed25519")
        _write_secret(self.directory / "host_key", key.export_private_key())
        self._host_public_key = key.export_public_key().decode().strip()

    def trust(self) -> None:
        """Write the current host key to `known_hosts`, and nothing else."""
        self.known_hosts.write_text("")
        self.trust_also(self.port)

    def trust_also(self, port: int) -> None:
        """Let it be reached by another port too, through a proxy."""
        with self.known_hosts.open("a") as known_hosts:
            known_hosts.write(f"[{self.host}]:{port} {self._host_public_key}\n")

    def _make_user_key(self) -> None:
        key = asyncssh.generate_private_key("ssh-ed25519")
        _write_secret(self.identity, key.export_private_key())
        (self.directory / "authorized_keys").write_bytes(key.export_public_key())

    def _write_config(self) -> None:
        lines = [
            f"ListenAddress {self.host}:{self.port}",
            f"HostKey {self.directory}/host_key",
            f"AuthorizedKeysFile {self.directory}/authorized_keys",
            "PidFile none",
            "StrictModes no",  # the directory lies below /tmp, which all can write
            "UsePAM no",
            "PermitRootLogin prohibit-password",
            "PasswordAuthentication no",
            "KbdInteractiveAuthentication no",
            "UseDNS no",
            "MaxStartups 100",
            # A user's own ~/.bashrc may say things, or take 0.1 s a command.
            f"SetEnv HOME={self.directory}",
            f"Subsystem sftp {self._launcher} {_sftp_server()} {self._sftp_flags}",
            self._extra,
        ]
        if self._sftp_only:
            lines.append("ForceCommand internal-sftp")
        (self.directory / "sshd_config").write_text("\n".join(lines) + "\n")

    def _signal(self, number: signal.Signals) -> None:
        assert self._process
        for pid in (self._process.pid, *descendants(self._process.pid)):
            send_signal(pid, number)


@contextlib.contextmanager
def running_sshd(
    directory: Path,
    *,
    sftp_only: bool = False,
    sftp_flags: str = "",
    extra: str = "",
    launcher: Sequence[str] = (),
) -> Iterator[SshServer]:
    """Start a server, stop it in the end."""
    server = SshServer(
        directory, sftp_only=sftp_only, sftp_flags=sftp_flags, extra=extra, launcher=launcher
    )
    try:
        server.start()
        yield server
    finally:
        server.stop()


def _sftp_server() -> str:
    for program in SFTP_SERVERS:
        if Path(program).exists():
            return program
    return "internal-sftp"


def _make_privilege_separation_directory() -> None:
    """As root, sshd wants an empty directory which only the system's start-up makes."""
    if os.geteuid() == 0:
        Path("/run/sshd").mkdir(mode=0o755, exist_ok=True)


def _write_secret(path: Path, content: bytes) -> None:
    path.unlink(missing_ok=True)
    path.touch(mode=0o600)
    path.write_bytes(content)
