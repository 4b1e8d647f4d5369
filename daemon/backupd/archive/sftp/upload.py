"""A file on its way to an SFTP server."""

from __future__ import annotations

import asyncio
import contextlib
import posixpath
from collections import deque
from typing import TYPE_CHECKING

import asyncssh

from backupd.archive.naming import NamedBy, encode
from backupd.archive.sftp.errors import explaining
from backupd.archive.sftp.trial import CREATE
from backupd.core.errors import BackupdError
from backupd.core.ports import Published

if TYPE_CHECKING:
    from backupd.archive.naming import Place
    from backupd.archive.sftp.connection import Link
    from backupd.archive.sftp.directories import Directories
    from backupd.archive.sftp.names import Names

# Seconds for removing a temporary file that is given up; what stays behind is removed by the next
# try through `discard_parts`.
LEAVE_WITHIN = 5.0


class SftpUpload:
    """Implements `core.ports.Upload` on one link, from its first block to its last."""

    def __init__(
        self, link: Link, directories: Directories, names: Names, there: Place, part_id: str
    ) -> None:
        """Nothing is asked yet."""
        self._link = link
        self._directories = directories
        self._names = names
        self._there = there
        self._owner = part_id.partition(".")[0]
        self._part = there.part(part_id)
        self._named_by: NamedBy | None = None
        self._handle: asyncssh.SFTPClientFile | None = None
        self._offset = 0
        self._writes: deque[asyncio.Task[None]] = deque()
        self._flushed = False
        self.published = False

    @property
    def part_name(self) -> str:
        """See the port."""
        return posixpath.basename(self._part)

    async def open(self) -> None:
        """Create the temporary file, in place of what an earlier try left under its name."""
        async with explaining(self._link, "create", self._part):
            if not await self._directories.refuse_links(self._link, self._there.directory):
                await self._directories.make(self._link, self._there.directory)
            try:
                self._handle = await self._create()
            except asyncssh.SFTPNoSuchFile:
                await self._directories.make(self._link, self._there.directory)
                self._handle = await self._create()
            except (asyncssh.SFTPFailure, asyncssh.SFTPFileAlreadyExists):
                with contextlib.suppress(asyncssh.SFTPNoSuchFile):  # then it is refused again
                    await self._link.ask(self._link.sftp.remove(encode(self._part)))
                self._handle = await self._create()
            self._named_by = await self._names.way(self._link, self._there.directory)

    async def write(self, block: bytes) -> None:
        """Send a block; an error of an earlier one shows here or in `publish`."""
        limit = self._link.sftp.limits.max_write_len
        for start in range(0, len(block), limit):
            await self._link.window.acquire()
            self._send(block[start : start + limit])
        while self._writes and self._writes[0].done():
            await self._arrived(self._writes.popleft())

    async def publish(self) -> Published:
        """Wait, flush, give the name: see the port.

        What is asked about one file a server does in the order of asking. So the flush goes out
        right behind the last block, and a rename right behind the close; the rename only once
        every block is known to have arrived, and to be flushed. Where a server knows no flush, its
        disk may refuse a block as late as at the close: then that is waited for too.
        """
        self._writes.append(asyncio.create_task(self._flush()))
        while self._writes:
            await self._arrived(self._writes.popleft())
        if not (self._flushed and self._named_by is NamedBy.RENAME):
            async with explaining(self._link, "write", self._part):
                await self._close()
        async with explaining(self._link, "give the name", self._there.path):
            both = await asyncio.gather(self._close(), self._name(), return_exceptions=True)
            # A close that failed after the flush shows nothing: the archive's copy is verified.
            if isinstance(both[1], BaseException):
                raise both[1]
        self.published = True
        return Published(self._flushed, self._named_by or "")

    async def leave(self) -> None:
        """Let go of the handle; remove the temporary file unless it was published."""
        for write in self._writes:
            write.cancel()
        await asyncio.gather(*self._writes, return_exceptions=True)
        if self.published or self._link.lost:
            return
        # Bounded by itself: the connection serves others, and is not given up for this.
        with contextlib.suppress(BackupdError, asyncssh.SFTPError, TimeoutError):
            async with asyncio.timeout(LEAVE_WITHIN):
                await self._close()
                await self._link.ask(self._link.sftp.remove(encode(self._part)))

    async def _create(self) -> asyncssh.SFTPClientFile:
        # block_size=0: asyncssh shall not cut up our blocks, each in a task of its own.
        opening = self._link.sftp.open(encode(self._part), CREATE, encoding=None, block_size=0)
        return await self._link.ask(opening)

    def _send(self, piece: bytes) -> None:
        task = asyncio.create_task(self._write_at(self._offset, piece))
        # By callback: a task that is cancelled before its first step runs no code of its own.
        task.add_done_callback(lambda _: self._link.window.release())
        self._writes.append(task)
        self._offset += len(piece)

    async def _write_at(self, offset: int, piece: bytes) -> None:
        await self._link.ask(self._opened.write(piece, offset))

    @property
    def _opened(self) -> asyncssh.SFTPClientFile:
        if self._handle is None:
            raise ValueError("the upload is not open")
        return self._handle

    async def _arrived(self, write: asyncio.Task[None]) -> None:
        async with explaining(self._link, "write", self._part):
            await write

    async def _flush(self) -> None:
        async with explaining(self._link, "flush", self._part):
            with contextlib.suppress(asyncssh.SFTPOpUnsupported):
                await self._link.ask(self._opened.fsync())
                self._flushed = True

    async def _close(self) -> None:
        handle, self._handle = self._handle, None
        if handle is not None:
            await self._link.ask(handle.close())

    async def _name(self) -> None:
        await self._names.take(self._link, self._there, self._part, self._owner)
