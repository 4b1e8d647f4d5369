"""A small file of ours that shows whether a directory of the archive takes files just now."""

from __future__ import annotations

import asyncio
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
    from collections.abc import Collection, Iterator

    from backupd.core.ports import Archive

CONTENT = b"written by backupd to see whether files can be written here; may be removed\n"
# One name per host: what a killed process left is removed by the next one.
OURS = hashlib.sha256(socket.gethostname().encode()).hexdigest()[:16]


class Canary:
    """Tries directories of one archive, and leaves nothing behind in them for long."""

    def __init__(self, archive: Archive, directories: Collection[str]) -> None:
        """A killed process may have left a canary in these directories, and in those above them."""
        self._archive = archive
        self._may_be_in = {above for each in directories for above in _with_those_above(each)}
        self._turn = asyncio.Lock()  # none is removed that is just being tried

    async def refusal(self, directory: str) -> RefusedError | None:
        """Write a small file there, read it back, remove it; return what was refused of that.

        A directory that is missing is not made: where it would be made, the file has to be taken.
        Raises DependencyDownError, and UnknownOutcomeError when an answer was lost.
        """
        try:
            async with self._turn:
                await self._try(await self._nearest(directory))
        except RefusedError as refused:
            return refused
        except UnknownOutcomeError:
            raise
        except (PermanentError, TransientError):  # another process tried the same: files are taken
            return None
        return None

    async def remove_left(self, directory: str) -> None:
        """Remove what was left in a directory that takes files, or in those above it."""
        if self._turn.locked():
            return  # the next file is as good
        async with self._turn:
            for each in _with_those_above(directory):
                if each in self._may_be_in:
                    await self._remove(each)

    async def _nearest(self, directory: str) -> str:
        while directory and await self._archive.size(directory) is None:
            directory = posixpath.dirname(directory)
        return directory

    async def _try(self, directory: str) -> None:
        name = _name(directory)
        await self._archive.discard_parts(_target(directory), [OURS])
        try:
            with suppress(NameTakenError):
                async with self._archive.upload(name, OURS, len(CONTENT)) as upload:
                    await upload.write(CONTENT)
                    await upload.publish()
            async with aclosing(self._archive.contents(name)) as blocks:
                back = b"".join([block async for block in blocks])
        finally:
            await self._remove(directory)
        if back != CONTENT:
            raise RefusedError(f"{name} came back other than it was written")

    async def _remove(self, directory: str) -> None:
        try:
            await self._archive.discard_parts(_name(directory), [OURS])
            await self._archive.discard_parts(_target(directory), [OURS])
        except BackupdError:
            self._may_be_in.add(directory)
        else:
            self._may_be_in.discard(directory)


def _with_those_above(directory: str) -> Iterator[str]:
    """Yield a directory of the archive, and all above it up to the root."""
    yield directory
    while directory:
        directory = posixpath.dirname(directory)
        yield directory


def _target(directory: str) -> str:
    return posixpath.join(directory, "canary")


def _name(directory: str) -> str:
    """Return a name like those of temporary files: it is discarded as one, and no feed takes it."""
    return posixpath.join(directory, f".canary.{OURS}.part")
