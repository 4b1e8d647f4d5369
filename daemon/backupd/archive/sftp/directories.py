"""Directories on an SFTP server: made when missing, flushed for many files at once."""

from __future__ import annotations

import asyncio
import posixpath
from typing import TYPE_CHECKING
from weakref import WeakKeyDictionary

import asyncssh

from backupd.archive.naming import encode
from backupd.archive.sftp.errors import explaining
from backupd.archive.sftp.read import SYMLINK, look
from backupd.core.errors import RefusedError
from backupd.core.request_batcher import RequestBatcher

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable

    from backupd.archive.sftp.connection import Link
    from backupd.archive.sftp.links import Links


DIRECTORY = asyncssh.FILEXFER_TYPE_DIRECTORY


class Directories:
    """Makes directories, follows no links on the way, makes durable what stands in them."""

    def __init__(self, links: Links, root: str, demand_mark: Callable[[], Awaitable[None]]) -> None:
        """Directories are absolute paths; `root` is the archive's, and may be reached by links.

        `demand_mark` is called with each flush: once for many files.
        """
        self._links = links
        self._root = root
        self._demand_mark = demand_mark
        self._trusted: WeakKeyDictionary[Link, set[str]] = WeakKeyDictionary()
        self._flushes: RequestBatcher[str, bool] = RequestBatcher(self._flush_all)

    async def refuse_links(self, link: Link, directory: str) -> bool:
        """Look at the way from the root to this directory, once a connection; say if it is there.

        Raises RefusedError where it leads through a link, asyncssh.SFTPError as the server does.
        """
        trusted = self._trusted.setdefault(link, set())
        if directory in trusted:
            return True
        kinds = await asyncio.gather(*(_kind(link, each) for each in self._way(directory)))
        for path, kind in zip(self._way(directory), kinds, strict=True):
            if kind == SYMLINK:
                raise _is_a_link(path)
        if None in kinds:
            return False
        trusted.add(directory)
        return True

    async def make(self, link: Link, directory: str) -> None:
        """Make a directory and those above it. There already is no error.

        Raises asyncssh.SFTPError as the server does.
        """
        if directory == "/" or await self._is_there(link, directory):
            return
        parent = posixpath.dirname(directory)
        await self.make(link, parent)
        try:
            await link.ask(link.sftp.mkdir(encode(directory)))
        except (asyncssh.SFTPFailure, asyncssh.SFTPFileAlreadyExists):
            # Another file's upload was quicker.
            if not await self._is_there(link, directory):
                raise
        await self.flush(parent)

    async def flush(self, directory: str) -> bool:
        """Make the names in a directory durable. False where the server does not confirm it.

        Without it a power cut may forget a rename though the file itself was flushed.
        """
        return await self._flushes.ask(directory)

    async def aclose(self) -> None:
        """Give up flushes under way."""
        await self._flushes.aclose()

    async def _is_there(self, link: Link, directory: str) -> bool:
        if directory in self._way(directory):
            return await _kind(link, directory) == DIRECTORY
        return await link.ask(link.sftp.isdir(encode(directory)))

    def _way(self, directory: str) -> list[str]:
        """Return the directories between the root and this one, and itself."""
        way = []
        while directory.startswith(self._root.rstrip("/") + "/") and directory != self._root:
            way.append(directory)
            directory = posixpath.dirname(directory)
        return way

    async def _flush_all(self, directories: Iterable[str]) -> dict[str, bool]:
        link = await self._links.take()
        flushing = asyncio.gather(*(_flush(link, each) for each in directories))
        flushed, _ = await asyncio.gather(flushing, self._demand_mark())
        return dict(zip(directories, flushed, strict=True))


async def _kind(link: Link, path: str) -> int | None:
    found = await look(link, path)
    return None if found is None else found.type


def _is_a_link(path: str) -> RefusedError:
    return RefusedError(
        f"{path} is a symbolic link: those in the archive are not followed",
        hint="put a directory in its place, or mount one there (mount --bind)",
    )


async def _flush(link: Link, directory: str) -> bool:
    """OpenSSH opens a directory for reading like a file, and fsync takes that.

    Where that fails, its disk has failed, and a power cut may take the names back. Other servers
    answer in the same way to what they do not know.
    """
    async with explaining(link, "flush the names in", directory):
        try:
            await _fsync(link, directory)
        except (asyncssh.SFTPOpUnsupported, asyncssh.SFTPPermissionDenied):
            return False
        except asyncssh.SFTPError:
            if link.is_openssh:
                raise
            return False
    return True


async def _fsync(link: Link, directory: str) -> None:
    handle = await link.ask(link.sftp.open(encode(directory), asyncssh.FXF_READ, encoding=None))
    try:
        await link.ask(handle.fsync())
    finally:
        await link.ask(handle.close())
