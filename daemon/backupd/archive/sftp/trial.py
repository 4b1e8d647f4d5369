"""Finds out how a server gives names without replacing anything: tried with files of our own."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import os
import posixpath
import re
import secrets
import socket
from typing import TYPE_CHECKING, cast

import asyncssh

from backupd.archive.naming import NamedBy, encode
from backupd.archive.sftp.read import read_short
from backupd.core.dependencies import Dependency
from backupd.core.errors import DependencyDownError

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Awaitable, Callable

    from backupd.archive.sftp.connection import Link


# Made anew or not at all: writes that an older connection still has on the way can then only
# reach an inode that nothing names any more.
CREATE = asyncssh.FXF_WRITE | asyncssh.FXF_CREAT | asyncssh.FXF_EXCL

# The files of a trial say which process made them: what one left that was killed, the next removes.
HOST = hashlib.sha256(socket.gethostname().encode()).hexdigest()[:8]
_OURS = re.compile(rf"\.backupd-{HOST}-(\d+)-[0-9a-f]{{16}}\.part".encode())
_MARK_PART = re.compile(rb"\.\.backupd-id\.mark\.[0-9a-f]{32}\.part")
LOOKED_THROUGH = 1000  # names of the directory: a big one is not worth it


class Trial:
    """Finds out the way, with files of our own in one directory, all of them removed."""

    def __init__(self, link: Link, directory: str, made: set[str]) -> None:
        """`made` are the paths to be removed in the end, those of earlier trials among them."""
        self._link = link
        self._directory = directory
        self._made = made

    async def way(self) -> NamedBy:
        """Return the safest way. What a server answers is believed only after a look."""
        try:
            await self._take_in_leftovers()
            return await self._safest()
        finally:
            if not self._link.lost:
                await self._remove_all()

    async def remove_leftovers(self) -> None:
        """Remove what earlier processes left: of a trial, and of a mark that is there by now."""
        await self._take_in_leftovers(_MARK_PART)
        await self._remove_all()

    async def _take_in_leftovers(self, others: re.Pattern[bytes] | None = None) -> None:
        """Note what a process of this host left that is no more, to be removed with our own."""
        with contextlib.suppress(asyncssh.SFTPError):
            for name in await self._link.ask(self._names()):
                ours = _OURS.fullmatch(name)
                if (ours and not _lives(int(ours[1]))) or (others and others.fullmatch(name)):
                    self._made.add(posixpath.join(self._directory, name.decode()))

    async def _names(self) -> list[bytes]:
        names: list[bytes] = []
        listing = self._link.sftp.scandir(encode(self._directory))
        async with contextlib.aclosing(cast("AsyncGenerator[asyncssh.SFTPName]", listing)) as named:
            async for each in named:
                names.append(os.fsencode(each.filename))
                if len(names) == LOOKED_THROUGH:
                    break
        return names

    async def _safest(self) -> NamedBy:
        refuses = await self._refuses(self._link.sftp.rename)
        if refuses and self._link.is_openssh:
            return NamedBy.RENAME
        if await self._links():
            return NamedBy.LINK
        if refuses:
            return NamedBy.RENAME
        if await self._creates_exclusively():
            return NamedBy.CLAIM
        raise DependencyDownError(
            Dependency.ARCHIVE,
            f"{self._link.address} can name no file without replacing another: its rename replaces"
            " what is there, it makes no hard links, it does not refuse to create what exists",
            hint="have the archive served by another SFTP server, as OpenSSH's",
        )

    async def _refuses(self, act: Callable[[bytes, bytes], Awaitable[None]]) -> bool:
        """Return whether a file of ours is spared when another one is to get its name."""
        old, new = await asyncio.gather(self._file(b"old"), self._file(b"new"))
        try:
            await self._link.ask(act(encode(new), encode(old)))
        except asyncssh.SFTPError:
            return await self._holds(old, b"old")
        return False

    async def _links(self) -> bool:
        """Return whether hard links are made, and spare what is there."""
        if not await self._refuses(self._link.sftp.link):
            return False
        old, new = await self._file(b"linked"), self._new_path()
        try:
            await self._link.ask(self._link.sftp.link(encode(old), encode(new)))
        except asyncssh.SFTPError:
            return False
        return await self._holds(new, b"linked")

    async def _creates_exclusively(self) -> bool:
        path = await self._file(b"first")
        try:
            await create(self._link, path, b"second")
        except asyncssh.SFTPError:
            return await self._holds(path, b"first")
        return False

    async def _file(self, content: bytes) -> str:
        path = self._new_path()
        await create(self._link, path, content)
        return path

    def _new_path(self) -> str:
        name = f".backupd-{HOST}-{os.getpid()}-{secrets.token_hex(8)}.part"
        path = posixpath.join(self._directory, name)
        self._made.add(path)
        return path

    async def _holds(self, path: str, content: bytes) -> bool:
        return await read_short(self._link, path, len(content) + 1) == content

    async def _remove_all(self) -> None:
        paths = list(self._made)
        await asyncio.gather(*(remove(self._link, path) for path in paths))
        self._made.difference_update(paths)


def _lives(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except OSError:
        return True
    return True


async def create(link: Link, path: str, content: bytes) -> None:
    """Create a file exclusively. Raises asyncssh.SFTPError as the server does."""
    handle = await link.ask(link.sftp.open(encode(path), CREATE, encoding=None, block_size=0))
    try:
        await link.ask(handle.write(content, 0))
    finally:
        await link.ask(handle.close())


async def remove(link: Link, path: str) -> None:
    """Remove a file; one that is not there, or cannot be removed, is no error."""
    with contextlib.suppress(asyncssh.SFTPError):
        await link.ask(link.sftp.remove(encode(path)))
