"""A small file of ours that shows whether a directory of the archive takes files just now."""

from __future__ import annotations

import hashlib
import posixpath
import socket
from contextlib import aclosing, suppress
from typing import TYPE_CHECKING

from backupd.core.errors import (
    BackupdError,
    NameTakenError,
    PermanentError,
    RefusedError,
    TransientError,
    UnknownOutcomeError,
)

if TYPE_CHECKING:
    from backupd.core.ports import Archive

CONTENT = b"written by backupd to see whether files can be written here; may be removed\n"
# One name a host: what a killed process left is removed by the next one.
OURS = hashlib.sha256(socket.gethostname().encode()).hexdigest()[:16]


async def refusal(archive: Archive, directory: str) -> RefusedError | None:
    """Write a small file there, read it back, remove it; return what was refused of that.

    A directory that is missing is not made: where it would be made, the file has to be taken.
    Raises DependencyDownError, and UnknownOutcomeError when an answer was lost.
    """
    try:
        await _try(archive, await _nearest(archive, directory))
    except RefusedError as refused:
        return refused
    except UnknownOutcomeError:
        raise
    except (PermanentError, TransientError):  # another process tried the same: files are taken
        return None
    return None


async def _nearest(archive: Archive, directory: str) -> str:
    while directory and await archive.size(directory) is None:
        directory = posixpath.dirname(directory)
    return directory


async def _try(archive: Archive, directory: str) -> None:
    # Its name is that of a temporary file, so that it is discarded as one, and no feed takes it.
    target = posixpath.join(directory, "canary")
    name = posixpath.join(directory, f".canary.{OURS}.part")
    await archive.discard_parts(target, [OURS])
    try:
        await _write_and_read(archive, name)
    finally:
        with suppress(BackupdError):
            await archive.discard_parts(target, [OURS])


async def _write_and_read(archive: Archive, name: str) -> None:
    with suppress(NameTakenError):
        async with archive.upload(name, OURS, len(CONTENT)) as upload:
            await upload.write(CONTENT)
            await upload.publish()
    async with aclosing(archive.contents(name)) as blocks:
        back = b"".join([block async for block in blocks])
    if back != CONTENT:
        raise RefusedError(f"{name} came back other than it was written")
