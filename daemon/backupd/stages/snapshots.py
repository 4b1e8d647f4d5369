"""Ships snapshots of the ledger like any file, and removes those that newer ones superseded."""

from __future__ import annotations

import asyncio
import os
import posixpath
import time
from typing import TYPE_CHECKING

from backupd.core.errors import BackupdError, NameTakenError, TransientError
from backupd.core.snapshots import Shipped, superseded
from backupd.stages.sending import OtherBytesError, send, verified

if TYPE_CHECKING:
    from collections.abc import Callable

    from backupd.core.ports import Archive, OpenStream, Stream
    from backupd.core.snapshots import Home

_OPEN = os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC
_HINT = "look at its disk; the ledger itself is well"


class SnapshotShelf:
    """Implements `core.snapshots.Shelf` in an archive that was identified."""

    def __init__(self, archive: Archive, open_stream: OpenStream, home: Home) -> None:
        self._archive = archive
        self._open_stream = open_stream
        self._home = home

    async def names(self) -> list[str]:
        """See `Shelf`."""
        found = await self._archive.names(self._home.directory)
        for name in self._home.left_behind(found):
            await self._archive.discard_parts(name, [self._home.part_id])
        return self._home.own(found)

    async def add(self, path: str, name: str, kept: int) -> Shipped:
        """See `Shelf`."""
        try:
            shipped = await ship_snapshot(
                self._archive, self._compressed, path, name, self._home.part_id
            )
        except OtherBytesError:
            await self._archive.remove_snapshot(name)  # nobody is to restore it
            raise
        why_more = await self._thin_out(kept)
        return Shipped(sent_bytes=shipped.sent_bytes, sha256=shipped.sha256, kept_more=why_more)

    def _compressed(self, fd: int) -> Stream:
        return self._open_stream(fd, asyncio.to_thread, compress=True)

    async def _thin_out(self, kept: int) -> str:
        """Remove what was superseded; return why that could not be done: the new one is there."""
        try:
            for name in superseded(await self.names(), kept, time.time()):
                await self._archive.remove_snapshot(name)
        except BackupdError as error:
            return str(error)
        return ""


async def ship_snapshot(
    archive: Archive, open_stream: Callable[[int], Stream], path: str, name: str, part_id: str
) -> Shipped:
    """Send the file at this path of this host; return once the archive's copy was verified."""
    fd = _opened(path)
    try:
        stream = open_stream(fd)
        try:
            async with archive.upload(name, part_id, os.fstat(fd).st_size) as upload:
                await send(stream, upload)
                published = await upload.publish()
        except NameTakenError:
            await archive.discard_parts(name, [part_id])
            raise
    finally:
        os.close(fd)
    found, _ = await verified(archive, name, stream.totals, published, _HINT)
    return Shipped(sent_bytes=stream.totals.sent_bytes, sha256=found.sha256)


def _opened(path: str) -> int:
    try:
        return os.open(path, _OPEN)
    except OSError as error:
        name = posixpath.basename(path)
        raise TransientError(f"the snapshot {name} cannot be read: {error.strerror}") from error
