"""Trying an archive for real: write, flush, rename, read back, remove."""

from __future__ import annotations

import asyncio
import posixpath
import secrets
from contextlib import suppress
from typing import TYPE_CHECKING

from backupd.archive.naming import WHY_SAFE, NamedBy
from backupd.core.dependencies import Dependency
from backupd.core.errors import BackupdError, DependencyDownError, TransientError
from backupd.core.ports import Probe

if TYPE_CHECKING:
    from collections.abc import Callable, Collection

    from backupd.core.ports import Archive

    ShowsUp = Callable[[str], str | None]

CONTENT = b"written by backupd check --probe; may be removed\n"


async def probe_place(
    archive: Archive, marked: Probe, directories: Collection[str], shows_up: ShowsUp | None
) -> list[Probe]:
    """Try each directory, relative to the archive's root; "" is the root itself.

    Nothing is written where `marked` says that it is another place.
    """
    if not marked.ok:
        return []
    ways: set[NamedBy] = set()
    lines = [await _probe(archive, each, shows_up, ways) for each in sorted(set(directories))]
    names = [Probe("archive names", ok=True, detail=f"taken {WHY_SAFE[way]}") for way in ways]
    return [*names, *lines]


async def _probe(
    archive: Archive, directory: str, shows_up: ShowsUp | None, ways: set[NamedBy]
) -> Probe:
    subject = f"archive directory {directory or '.'}"
    try:
        detail = await _try(archive, directory, shows_up, ways)
    except BackupdError as error:
        return Probe(subject, ok=False, detail=str(error), hint=error.hint)
    return Probe(subject, ok=True, detail=detail)


async def _try(
    archive: Archive, directory: str, shows_up: ShowsUp | None, ways: set[NamedBy]
) -> str:
    """Publish under a name that is itself a temporary one, so that it can be discarded as one."""
    probe_id = secrets.token_hex(8)
    target = posixpath.join(directory, "probe")
    name = posixpath.join(directory, f".probe.{probe_id}.part")
    try:
        detail = await _write_and_read(archive, name, ways)
        if shows_up is not None:
            await _refuse_feeds(name, shows_up)
    except BackupdError:
        with suppress(BackupdError):  # the first error is the one to report
            await archive.discard_parts(target, [probe_id])
        raise
    await archive.discard_parts(target, [probe_id])
    return detail


async def _write_and_read(archive: Archive, name: str, ways: set[NamedBy]) -> str:
    async with archive.upload(name, secrets.token_hex(8), len(CONTENT)) as upload:
        await upload.write(CONTENT)
        published = await upload.publish()
    ways.add(NamedBy(published.named_by))
    flushed = await archive.flush(name) and published.flushed
    back = b"".join([block async for block in archive.contents(name)])
    checksum = await archive.checksum(name)
    if back != CONTENT or checksum is None:
        raise TransientError(f"{name} came back other than it was written")
    flush = "flushed to disk" if flushed else "flush to disk not confirmed"
    return f"written, {flush}, read back, removed; verified by {checksum.how}"


async def _refuse_feeds(name: str, shows_up: ShowsUp) -> None:
    feed = await asyncio.to_thread(shows_up, posixpath.basename(name))
    if feed is not None:
        raise DependencyDownError(
            Dependency.ARCHIVE,
            f"what is written there shows up in {feed}, a feed's directory",
            hint="have that feed shipped to another directory: its files would be taken for their"
            " own copies",
        )
