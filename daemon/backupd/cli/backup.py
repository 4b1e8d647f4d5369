"""`backupd-admin backup`: a snapshot of the ledger now."""

from __future__ import annotations

import asyncio
import logging
import secrets
import tempfile
import time
from contextlib import AsyncExitStack
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from backupd.archive import SendStream, open_archive
from backupd.cli import render
from backupd.cli.asking import locked
from backupd.cli.options import Places, json_option, pass_places
from backupd.config.sections import LocalArchiveSection
from backupd.control import DaemonAbsentError, ask_daemon, described, nothing_shipped
from backupd.core.errors import BackupdError, NameTakenError
from backupd.core.snapshots import LastSnapshot
from backupd.ledger import Snapshotting
from backupd.ops import logs
from backupd.stages import SnapshotShelf, ship_snapshot
from backupd.worker import ArchivePlace, SnapshotMaker

if TYPE_CHECKING:
    from backupd.config.sections import Config
    from backupd.core.ports import Stream
    from backupd.core.snapshots import Home, Shipped
    from backupd.ledger import Ledger

_PATIENCE = 6 * 3600  # seconds: a large ledger, and a slow line
_LEVEL = 1  # of gzip


@click.command(
    epilog="""\
\b
Examples:
  backupd-admin backup
  backupd-admin backup --to /root/ledger.db.gz
  backupd-admin backup --to /root/ledger.db
"""
)
@click.option(
    "--to",
    "target",
    metavar="FILE",
    type=click.Path(path_type=Path),
    help="Write it to this new file instead: gzip if the name ends in .gz, else a plain database.",
)
@json_option
@pass_places
def backup(places: Places, *, target: Path | None, as_json: bool) -> None:
    """Make a snapshot of the ledger now, in the archive or in FILE.

    A daemon that runs makes the one in the archive; where none runs, this command does, as the
    daemon's user or root. No file is ever replaced. `backupd restore` puts a snapshot in place.
    """
    made = _into_archive(places) if target is None else _into_file(places, target.absolute())
    if as_json:
        render.emit_json(made)
        return
    click.echo(f"{made['snapshot']}: {made['sent_bytes']:,} bytes, SHA-256 {made['sha256']}")
    if made["kept_more"]:
        click.echo(f"warning: older snapshots could not be removed: {made['kept_more']}", err=True)


def _into_archive(places: Places) -> dict[str, Any]:
    try:
        return ask_daemon(places.socket, {"verb": "backup"}, _PATIENCE)
    except DaemonAbsentError:
        config = places.config()
    if config.environment == "dev":
        raise nothing_shipped()
    return asyncio.run(_here(config, locked(places.ledger, places.socket)))


async def _here(config: Config, ledger: Ledger) -> dict[str, Any]:
    logs.set_up(logging.WARNING)  # on stderr; what is well shows in the answer
    async with AsyncExitStack() as stack:
        stack.push_async_callback(ledger.close)
        archive = open_archive(config.archive)
        stack.push_async_callback(archive.aclose)
        place = ArchivePlace(config.archive, ledger)
        stack.callback(place.close)
        await place.identified(await archive.identify(*await place.known()))
        stream = partial(SendStream, level=config.archive.compression_level)

        def shelf(home: Home) -> SnapshotShelf:
            return SnapshotShelf(archive, stream, home)

        return described(*await SnapshotMaker(ledger, config.ledger, shelf).make())


def _into_file(places: Places, target: Path) -> dict[str, Any]:
    """Write it as files are shipped: whole or not at all, and read back."""
    if not target.parent.is_dir():
        raise BackupdError(f"there is no directory {target.parent}")
    try:
        return described(*asyncio.run(_written(places.ledger, target)))
    except NameTakenError as error:
        raise BackupdError(f"{target} is there already: it is not replaced") from error


async def _written(ledger: Path, target: Path) -> tuple[LastSnapshot, Shipped]:
    section = LocalArchiveSection(
        root=str(target.parent), compression="gzip", compression_level=_LEVEL
    )
    archive, now = open_archive(section), time.time()

    def stream(fd: int) -> Stream:
        compress = target.suffix == ".gz"
        return SendStream(fd, asyncio.to_thread, compress=compress, level=_LEVEL)

    with _temporary(target) as directory:
        copy = Path(directory, "ledger.db")
        await asyncio.to_thread(Snapshotting(ledger, copy).run)
        part_id = secrets.token_hex(8)
        shipped = await ship_snapshot(archive, stream, str(copy), target.name, part_id)
    return LastSnapshot(name=str(target), at=now), shipped


def _temporary(target: Path) -> tempfile.TemporaryDirectory[str]:
    try:
        return tempfile.TemporaryDirectory(prefix=f".{target.name}.", dir=target.parent)
    except OSError as error:
        raise BackupdError(f"cannot write in {target.parent}: {error.strerror}") from error
