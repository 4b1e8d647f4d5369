"""A real OpenLDAP server on loopback that knows who may log in."""

from __future__ import annotations

import shutil
import socket
import subprocess
import time
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

SUFFIX = "dc=example"
PEOPLE = f"ou=people,{SUFFIX}"
_UP_WITHIN = 30.0  # seconds
_SCHEMAS = ("core", "cosine", "inetorgperson")
_SETTINGS = """\
modulepath /usr/lib/ldap
moduleload back_mdb
pidfile {directory}/pid
database mdb
suffix "{suffix}"
directory {directory}/db
access to attrs=userPassword by anonymous auth by * none
access to * by * read
"""
_ROOT = f"""\
dn: {SUFFIX}
objectClass: domain

dn: {PEOPLE}
objectClass: organizationalUnit
"""
_PERSON = """
dn: uid={uid},{people}
objectClass: inetOrgPerson
cn: {uid}
sn: {uid}
userPassword: {password}
"""


@contextmanager
def running_directory(directory: Path, passwords: Mapping[str, str]) -> Iterator[int]:
    """Answer on a free port, with all that it writes in `directory`; `passwords` are by uid."""
    (directory / "db").mkdir(parents=True)
    settings = directory / "slapd.conf"
    schemas = "".join(f"include /etc/ldap/schema/{name}.schema\n" for name in _SCHEMAS)
    settings.write_text(schemas + _SETTINGS.format(directory=directory, suffix=SUFFIX))
    people = [
        _PERSON.format(uid=uid, people=PEOPLE, password=password)
        for uid, password in passwords.items()
    ]
    program = _own_program(directory)
    entries = "".join([_ROOT, *people]).encode()
    subprocess.run([program, "-Tadd", "-f", settings], input=entries, check=True)
    port = _free_port()
    address = f"ldap://127.0.0.1:{port}/"
    server = subprocess.Popen([program, "-d", "0", "-f", settings, "-h", address])
    try:
        _wait_for(server, port)
        yield port
    finally:
        server.terminate()
        server.wait()


def _own_program(directory: Path) -> Path:
    """Copy slapd: where AppArmor confines the system's, it may not work in a directory of ours."""
    found = shutil.which("slapd", path="/usr/sbin:/usr/bin")
    assert found, "slapd is not installed"
    return Path(shutil.copy2(found, directory / "slapd"))


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port: int = listener.getsockname()[1]
        return port


def _wait_for(server: subprocess.Popen[bytes], port: int) -> None:
    deadline = time.monotonic() + _UP_WITHIN
    while True:
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        assert server.poll() is None, "slapd ended"
        assert time.monotonic() < deadline, "slapd did not come up"
        time.sleep(0.05)
