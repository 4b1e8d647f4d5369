"""Directories on an SFTP server: made when missing, flushed for many files at once."""

from __future__ import annotations

import asyncio
import posixpath
from typing import TYPE_CHECKING

import asyncssh

from backupd.archive.naming import encode
from backupd.core.gathering import Gathering

if TYPE_CHECKING:
    from collections.abc import Iterable

    from backupd.archive.connection import Link, Links


class Directories:
    """Makes directories, and makes durable what stands in them."""

    def __init__(self, links: Links) -> None:
        """Directories are absolute paths."""
        self._links = links
        self._flushes: Gathering[str, bool] = Gathering(self._flush_all)

    async def make(self, link: Link, directory: str) -> None:
        """Make a directory and those above it. There already is no error.

        Raises asyncssh.SFTPError as the server does.
        """
        if directory == "/" or await link.ask(link.sftp.isdir(encode(directory))):
            return
        parent = posixpath.dirname(directory)
        await self.make(link, parent)
        try:
            await link.ask(link.sftp.mkdir(encode(directory)))
        except asyncssh.SFTPFailure:
            # Another file's upload was quicker.
            if not await link.ask(link.sftp.isdir(encode(directory))):
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

    async def _flush_all(self, directories: Iterable[str]) -> dict[str, bool]:
        link = await self._links.take()
        flushed = await asyncio.gather(*(_flush(link, each) for each in directories))
        return dict(zip(directories, flushed, strict=True))


async def _flush(link: Link, directory: str) -> bool:
    """OpenSSH opens a directory for reading like a file, and fsync takes that."""
    opening = link.sftp.open(encode(directory), asyncssh.FXF_READ, encoding=None)
    try:
        handle = await link.ask(opening)
    except asyncssh.SFTPError:
        return False
    try:
        await link.ask(handle.fsync())
    except asyncssh.SFTPError:
        return False
    finally:
        await link.ask(handle.close())
    return True
