"""What is sent into the archive counts only once the archive holds the same bytes."""

from __future__ import annotations

import asyncio
from contextlib import aclosing
from dataclasses import replace
from typing import TYPE_CHECKING

from backupd.core.errors import PermanentError, TransientError

if TYPE_CHECKING:
    from backupd.core.ports import Archive, Checksum, Published, Stream, Totals, Upload


class OtherBytesError(PermanentError):
    """The archive holds other bytes under a name than were sent."""


async def send(stream: Stream, upload: Upload) -> None:
    """Write a stream to its end."""
    async with aclosing(stream.blocks()) as blocks:
        async for block in blocks:
            await upload.write(block)


async def verified(
    archive: Archive, name: str, totals: Totals, published: Published, hint: str
) -> tuple[Checksum, Published]:
    """Have the new name on the disk, and compare the sums; return what the archive answered.

    Raises OtherBytesError, with this hint, where they differ.
    """
    named, found = await asyncio.gather(archive.flush(name), archive.checksum(name))
    if found is None:
        raise TransientError(f"{name} was renamed into place and is not there any more")
    if found.sha256 != totals.sent_sha256:
        raise OtherBytesError(f"the archive holds other bytes as {name} than were sent", hint=hint)
    return found, replace(published, flushed=published.flushed and named)
