"""`backupd restore`: a snapshot becomes the ledger."""

from __future__ import annotations

import asyncio
import hashlib
import os
import socket
import time
from contextlib import aclosing
from pathlib import Path
from typing import TYPE_CHECKING

import click

from backupd.cli.errors import FAILED, LOCKED, USAGE, fail
from backupd.cli.options import config_option
from backupd.config import ConfigMistakes, find, load, load_places
from backupd.core.errors import BackupdError
from backupd.core.snapshots import OWN_DIRECTORY, home_of, newest_first

if TYPE_CHECKING:
    from backupd.config.sections import ArchiveSection
    from backupd.core.ports import Archive
    from backupd.core.snapshots import Home
    from backupd.ledger import Restoring

_BLOCK = 1024 * 1024  # bytes


@click.command(
    epilog="""\
\b
Exit: 0 restored; 1 refused, or it cannot be done; 2 usage or config;
      3 another process holds the ledger.

\b
Examples:
  systemctl stop backupd
  runuser -u backupd -- backupd restore --latest
  backupd restore /root/ledger-20261130T080000Z.db.gz
"""
)
@config_option
@click.argument(
    "file", required=False, type=click.Path(path_type=Path, exists=True, dir_okay=False)
)
@click.option("--latest", is_flag=True, help="Fetch this host's newest snapshot from the archive.")
def restore(config_path: Path | None, file: Path | None, *, latest: bool) -> None:
    """Put a snapshot of the ledger in place, from FILE or from the archive.

    Only where the ledger is missing or damaged, and no daemon runs. A damaged one is kept beside
    it. The snapshot is read whole and checked first. Files that came after it are taken anew at the
    next start: those that are registered and shipped are found there.
    """
    if latest == (file is not None):
        raise click.UsageError("give either a FILE or --latest")
    path = find(config_path, os.environ)
    try:
        ledger, section = _places(path, latest=latest)
    except ConfigMistakes as mistakes:
        fail(str(mistakes), USAGE)
    _restore(ledger, file, section)


def _places(path: Path, *, latest: bool) -> tuple[Path, ArchiveSection | None]:
    """Return where the ledger is, and the archive, if it is needed.

    The feeds' directories need not be there yet: this host may be a new one.
    """
    if not latest:
        return load_places(path)[0].path, None
    config = load(path, environ=os.environ, seen=_Everything())
    return config.ledger.path, config.archive


class _Everything:
    def __contains__(self, _: object) -> bool:
        return True


def _restore(ledger: Path, file: Path | None, section: ArchiveSection | None) -> None:
    # SQLAlchemy takes a fifth of a second: `--help` goes without.
    from backupd.ledger import LedgerLockedError, Restoring  # noqa: PLC0415

    try:
        with Restoring(ledger) as restoring:
            name = str(file)
            if section is not None:
                name = asyncio.run(_fetch(section, ledger, restoring))
            elif file is not None:
                _read(file, restoring)
            kept = restoring.put_in_place()
    except LedgerLockedError as error:
        fail(error, LOCKED)
    except BackupdError as error:
        fail(error, FAILED)
    if kept is not None:
        click.echo(f"the damaged ledger is kept as {kept}")
    click.echo(f"restored {ledger} from {name}")


def _read(file: Path, restoring: Restoring) -> None:
    try:
        with file.open("rb") as opened:
            while block := opened.read(_BLOCK):
                restoring.write(block)
    except OSError as error:
        raise BackupdError(f"cannot read {file}: {error.strerror}") from error


async def _fetch(section: ArchiveSection, ledger: Path, restoring: Restoring) -> str:
    """Take the newest snapshot from the archive; return its name. Nothing is written there."""
    from backupd.archive import open_archive  # noqa: PLC0415 - brings the adapters
    from backupd.ledger.lock import real_path  # noqa: PLC0415 - brings SQLAlchemy

    archive = open_archive(section)
    try:
        home = home_of(socket.gethostname(), real_path(ledger))
        found = newest_first(home.own(await archive.names(home.directory)), time.time())
        if not found:
            raise await _none_there(archive, section, home)
        await _copy(archive, found[0], restoring)
        return found[0]
    finally:
        await archive.aclose()


async def _copy(archive: Archive, name: str, restoring: Restoring) -> None:
    """Read it back, and compare it with what the archive says of it."""
    sha256 = hashlib.sha256()
    async with aclosing(archive.contents(name)) as blocks:
        async for block in blocks:
            sha256.update(block)
            await asyncio.to_thread(restoring.write, block)
    there = await archive.checksum(name)
    if there is None or there.sha256 != sha256.hexdigest():
        raise BackupdError(f"{name} came back from the archive other than it is there: try again")


async def _none_there(archive: Archive, section: ArchiveSection, home: Home) -> BackupdError:
    others = sorted(await archive.names(OWN_DIRECTORY))
    hint = "look whether its disk is mounted, and whether the config names the right archive"
    if others:
        hint = (
            f"there are some of {', '.join(others)}: fetch one, then give it as FILE, or give this"
            " host its old name"
        )
    return BackupdError(f"no snapshot in {home.directory} of {section.where}", hint=hint)
