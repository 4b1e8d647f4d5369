"""A Kerberos of our own: MIT's KDC on loopback, its principals and their keytabs."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
from contextlib import contextmanager
from typing import TYPE_CHECKING

from support.processes import accepts, free_port
from support.server_process import ServerProcess

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

REALM = "BACKUPD.TEST"
SHORT_LIFE = 20  # seconds, of the tickets of `short`
# Names, and the principals that they stand for.
_PRINCIPALS = {
    "hdfs": "hdfs/localhost",
    "hive": "hive/localhost",
    "httpfs": "httpfs/localhost",
    "HTTP": "HTTP/localhost",
    "backupd": "backupd",
    "other": "other",
    "short": "short",
}
_LIBRARY = """\
[libdefaults]
  default_realm = {realm}
  dns_lookup_kdc = false
  dns_lookup_realm = false
  dns_canonicalize_hostname = false
  rdns = false
  udp_preference_limit = 1
  # Java alone knows these two: it gives a silent KDC up after 3 s
  kdc_timeout = 3000
  max_retries = 1
[realms]
  {realm} = {{
    kdc = 127.0.0.1:{port}
  }}
[domain_realm]
  localhost = {realm}
"""
_SERVER = """\
[kdcdefaults]
  kdc_listen = 127.0.0.1:{port}
  kdc_tcp_listen = 127.0.0.1:{port}
[realms]
  {realm} = {{
    database_name = {directory}/principals
    key_stash_file = {directory}/stash
    acl_file = {directory}/acl
    max_life = 24h
    supported_enctypes = aes256-cts-hmac-sha1-96:normal
  }}
[logging]
  kdc = FILE:{directory}/requests.log
"""


class Kdc:
    """One KDC, with all that it writes in one directory."""

    def __init__(self, directory: Path) -> None:
        directory.mkdir(mode=0o700, parents=True)
        self.directory = directory
        self.port = free_port()
        self.krb5_conf = directory / "krb5.conf"
        self._write_settings()
        command = [_program("krb5kdc"), "-n", "-r", REALM, "-P", str(directory / "pid")]
        log, is_up = directory / "kdc.log", lambda: accepts(self.port)
        self.server = ServerProcess(log, command, self._environment, is_up)
        self._run("kdb5_util", "create", "-s", "-P", "sesame")
        for name, principal in _PRINCIPALS.items():
            self.add_principal(name, principal)
        self.set_max_life("short", SHORT_LIFE)

    def principal(self, name: str) -> str:
        """Return a principal with its realm."""
        return f"{_PRINCIPALS.get(name, name)}@{REALM}"

    def keytab(self, name: str) -> Path:
        """Return where the keytab of a principal lies; its owner alone may read it."""
        return self.directory / f"{name}.keytab"

    def add_principal(self, name: str, principal: str | None = None) -> None:
        """Make a principal (`principal`, or as `name` says), and its keytab."""
        self._administer("addprinc", "-randkey", principal or name)
        self.write_keytab(name)

    def write_keytab(self, name: str) -> None:
        """Write the keytab of a principal anew, with the key that it has now."""
        self.keytab(name).unlink(missing_ok=True)
        keytab = str(self.keytab(name))
        self._administer("ktadd", "-k", keytab, "-norandkey", self.principal(name))
        self.keytab(name).chmod(0o600)

    def change_key(self, name: str) -> None:
        """Give a principal another key; its keytab keeps the old one."""
        self._administer("change_password", "-randkey", self.principal(name))

    def expire(self, name: str) -> None:
        """Have a principal be of no use since yesterday."""
        self._administer("modprinc", "-expire", "yesterday", self.principal(name))

    def set_max_life(self, name: str, seconds: int) -> None:
        """Limit the life of a principal's tickets."""
        self._administer("modprinc", "-maxlife", f"{seconds} seconds", self.principal(name))

    def start(self) -> None:
        """Start it, with the principals that it had."""
        self.server.start()

    def kill(self) -> None:
        """End it by SIGKILL."""
        self.server.kill()

    def freeze(self) -> None:
        """Have it take connections, and answer nothing."""
        self.server.signal(signal.SIGSTOP)

    def thaw(self) -> None:
        """Let it go on."""
        self.server.signal(signal.SIGCONT)

    @property
    def _environment(self) -> dict[str, str]:
        settings = {"KRB5_CONFIG": self.krb5_conf, "KRB5_KDC_PROFILE": self.directory / "kdc.conf"}
        return os.environ | {name: str(path) for name, path in settings.items()}

    def _write_settings(self) -> None:
        values = {"realm": REALM, "port": self.port, "directory": self.directory}
        self.krb5_conf.write_text(_LIBRARY.format(**values))
        (self.directory / "kdc.conf").write_text(_SERVER.format(**values))

    def _administer(self, *query: str) -> None:
        self._run("kadmin.local", *query)

    def _run(self, program: str, *arguments: str) -> None:
        command = [_program(program), "-r", REALM, *arguments]
        done = subprocess.run(command, env=self._environment, capture_output=True, check=False)
        assert done.returncode == 0, f"{arguments}: {done.stderr.decode()}"


@contextmanager
def running_kdc(directory: Path) -> Iterator[Kdc]:
    """Start a KDC, stop it in the end; meanwhile KRB5_CONFIG names it to this process."""
    kdc = Kdc(directory)
    before = os.environ.get("KRB5_CONFIG")
    os.environ["KRB5_CONFIG"] = str(kdc.krb5_conf)
    try:
        kdc.start()
        yield kdc
    finally:
        kdc.kill()
        del os.environ["KRB5_CONFIG"]
        if before is not None:
            os.environ["KRB5_CONFIG"] = before


def _program(name: str) -> str:
    found = shutil.which(name, path="/usr/sbin:/usr/bin:/usr/local/sbin")
    assert found, f"these tests need {name} (Debian: krb5-kdc, krb5-admin-server)"
    return found
