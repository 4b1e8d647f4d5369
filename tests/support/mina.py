"""Apache MINA's SFTP server, its jars resolved by Maven once and kept."""

from __future__ import annotations

import os
import shutil
import subprocess
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from support.sftp_servers import SftpServer

if TYPE_CHECKING:
    from collections.abc import Iterator

HERE = Path(__file__).parent.parent / "faults" / "mina"
CACHE = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "backupd-mina"


@contextmanager
def running_mina(directory: Path) -> Iterator[SftpServer]:
    """Start it. Its root is all that it shows."""
    server = SftpServer(directory, _command)
    try:
        server.start()
        yield server
    finally:
        server.stop()


def _command(server: SftpServer) -> list[str]:
    server.remote_root = "/"
    given = (server.port, server.host_key, server.authorized_keys, server.root)
    program = ["java", "-Xmx256m", "-cp", f"{_jars()}/*", str(HERE / "Server.java")]
    return [*program, *map(str, given)]


def _jars() -> Path:
    """Return the directory with its jars; 2 MiB, fetched once."""
    pom, stamp = HERE / "pom.xml", CACHE / "complete"
    if not stamp.exists() or stamp.read_text() != pom.read_text():
        shutil.rmtree(CACHE, ignore_errors=True)
        CACHE.mkdir(parents=True)
        copying = ["mvn", "-q", "-B", "-f", str(pom), "dependency:copy-dependencies"]
        copying += [f"-DoutputDirectory={CACHE}", "-DincludeScope=runtime"]
        subprocess.run(copying, check=True)
        stamp.write_text(pom.read_text())
    return CACHE
