"""The jars of Hadoop and Hive, resolved by Maven once and kept."""

from __future__ import annotations

import os
import shutil
import subprocess
import tarfile
from pathlib import Path

POM = Path(__file__).parent.parent / "hadoop" / "pom.xml"
CACHE = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "backupd-hadoop"
_SCRIPTS = "org.apache.hive:hive-standalone-metastore-server:4.0.1:tar.gz:bin"
# Second copies of classes that are there already, and weight that nothing uses.
_UNWANTED = (
    "slf4j-reload4j*",
    "slf4j-log4j12*",
    "log4j-1.2.17*",
    "hadoop-client-api*",
    "netty-3*",
    "mssql-jdbc*",
    "kotlin*",
)


def jars() -> Path:
    """Return the directory with `lib`, `last` and `metastore`; about 280 MiB, fetched once."""
    stamp = CACHE / "complete"
    if not stamp.exists() or stamp.read_text() != POM.read_text():
        shutil.rmtree(CACHE, ignore_errors=True)
        CACHE.mkdir(parents=True)
        _fetch()
        stamp.write_text(POM.read_text())
    return CACHE


def _fetch() -> None:
    lib, last = CACHE / "lib", CACHE / "last"
    _maven("dependency:copy-dependencies", f"-DoutputDirectory={lib}", "-DincludeScope=runtime")
    for pattern in _UNWANTED:
        for jar in lib.glob(pattern):
            jar.unlink()
    last.mkdir()  # on the class path behind log4j's own bridge, which must be found first
    for jar in lib.glob("reload4j*"):
        jar.rename(last / jar.name)
    # The SQL that makes a metastore is in no jar.
    _maven("dependency:copy", f"-Dartifact={_SCRIPTS}", f"-DoutputDirectory={CACHE}")
    for archive in CACHE.glob("*.tar.gz"):
        _unpack_scripts(archive)
        archive.unlink()


_SCRIPTS_FOLDER = "/scripts/metastore/upgrade/derby/"


def _unpack_scripts(path: Path) -> None:
    with tarfile.open(path) as archive:
        for member in archive.getmembers():
            content = archive.extractfile(member) if _SCRIPTS_FOLDER in member.name else None
            if content is not None:
                target = CACHE / "metastore" / member.name.partition("/")[2]
                target.parent.mkdir(parents=True, exist_ok=True)
                target.write_bytes(content.read())


def _maven(*arguments: str) -> None:
    subprocess.run(["mvn", "-q", "-B", "-f", str(POM), *arguments], check=True)
