"""Trying an archive for real: write, flush, rename, read back, remove."""

from __future__ import annotations

import posixpath
import secrets
from contextlib import suppress
from typing import TYPE_CHECKING

from backupd.core.errors import BackupdError, TransientError
from backupd.core.ports import Probe

if TYPE_CHECKING:
    from collections.abc import Collection

    from backupd.core.ports import Archive

CONTENT = b"written by backupd check --probe; may be removed\n"


async def probe_directories(archive: Archive, directories: Collection[str]) -> list[Probe]:
    """Try each directory, relative to the archive's root; "" is the root itself."""
    return [await _probe(archive, directory) for directory in sorted(set(directories))]


async def _probe(archive: Archive, directory: str) -> Probe:
    subject = f"archive directory {directory or '.'}"
    try:
        detail = await _try(archive, directory)
    except BackupdError as error:
        return Probe(subject, ok=False, detail=str(error), hint=error.hint)
    return Probe(subject, ok=True, detail=detail)


async def _try(archive: Archive, directory: str) -> str:
    """Publish under a name that is itself a temporary one, so that it can be discarded as one."""
    probe_id = secrets.token_hex(8)
    name = posixpath.join(directory, f".probe.{probe_id}.part")
    target = posixpath.join(directory, "probe")
    try:
        async with archive.upload(name, secrets.token_hex(8), len(CONTENT)) as upload:
            await upload.write(CONTENT)
            flushed = await upload.publish()
        flushed = await archive.flush(name) and flushed
        back = b"".join([block async for block in archive.contents(name)])
        checksum = await archive.checksum(name)
    except BackupdError:
        with suppress(BackupdError):  # what went wrong first is what has to be told
            await archive.discard_parts(target, [probe_id])
        raise
    await archive.discard_parts(target, [probe_id])
    if back != CONTENT or checksum is None:
        raise TransientError(f"{name} came back other than it was written")
    flush = "flushed to disk" if flushed else "flush to disk not confirmed"
    return f"written, {flush}, read back, removed; verified by {checksum.how}"
