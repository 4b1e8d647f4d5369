"""A file on its way to an SFTP server."""

from __future__ import annotations

import asyncio
import contextlib
import posixpath
from collections import deque
from typing import TYPE_CHECKING

import asyncssh

from backupd.archive.naming import encode
from backupd.archive.sftp_errors import explaining
from backupd.core.errors import (
    BackupdError,
    DependencyDownError,
    NameTakenError,
    UnknownOutcomeError,
)

if TYPE_CHECKING:
    from backupd.archive.connection import Link
    from backupd.archive.sftp_directories import Directories

# Made anew or not at all: writes that an older connection still has on the way can then only
# reach an inode that nothing names any more.
CREATE = asyncssh.FXF_WRITE | asyncssh.FXF_CREAT | asyncssh.FXF_EXCL

# Seconds for removing a temporary file that is given up; what stays behind is removed by the next
# try through `discard_parts`.
LEAVE_WITHIN = 5.0


class SftpUpload:
    """Implements `core.ports.Upload` on one link, from its first block to its last."""

    def __init__(self, link: Link, directories: Directories, part: str, final: str) -> None:
        """`part` and `final` are absolute paths in one directory."""
        self._link = link
        self._directories = directories
        self._part = part
        self._final = final
        self._handle: asyncssh.SFTPClientFile | None = None
        self._offset = 0
        self._writes: deque[asyncio.Task[None]] = deque()
        self._flushed = False
        self._published = False

    async def open(self) -> None:
        """Create the temporary file, in place of what an earlier try left under its name."""
        async with explaining(self._link, "create", self._part):
            try:
                self._handle = await self._create()
            except asyncssh.SFTPNoSuchFile:
                await self._directories.make(self._link, posixpath.dirname(self._part))
                self._handle = await self._create()
            except asyncssh.SFTPFailure:
                await self._link.ask(self._link.sftp.remove(encode(self._part)))
                self._handle = await self._create()

    async def write(self, block: bytes) -> None:
        """Send a block; an error of an earlier one shows here or in `publish`."""
        limit = self._link.sftp.limits.max_write_len
        for start in range(0, len(block), limit):
            await self._link.window.acquire()
            self._send(block[start : start + limit])
        while self._writes and self._writes[0].done():
            await self._arrived(self._writes.popleft())

    async def publish(self) -> bool:
        """Wait, flush, rename: see the port.

        What is asked about one file a server does in the order of asking. So the flush goes out
        right behind the last block, and the rename right behind the close; the rename only once
        every block is known to have arrived, and to be flushed. Where a server knows no flush, its
        disk may refuse a block as late as at the close: then that is waited for too.
        """
        self._writes.append(asyncio.create_task(self._flush()))
        while self._writes:
            await self._arrived(self._writes.popleft())
        if not self._flushed:
            async with explaining(self._link, "write", self._part):
                await self._close()
        async with explaining(self._link, "rename to", self._final):
            both = await asyncio.gather(self._close(), self._rename(), return_exceptions=True)
            # A close that failed after the flush tells nothing; the archive's copy is verified.
            if isinstance(both[1], BaseException):
                raise both[1]
        self._published = True
        return self._flushed

    async def leave(self) -> None:
        """Let go of the handle; remove the temporary file unless it was published."""
        for write in self._writes:
            write.cancel()
        await asyncio.gather(*self._writes, return_exceptions=True)
        if self._published or self._link.lost:
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

    async def _rename(self) -> None:
        """Rename by the plain request: OpenSSH's is link and unlink, and spares what is there."""
        try:
            await self._link.ask(self._link.sftp.rename(encode(self._part), encode(self._final)))
        except DependencyDownError as error:
            raise UnknownOutcomeError(
                f"no answer whether {self._final} was renamed into place: {error}"
            ) from error
        except asyncssh.SFTPError as error:
            if await self._link.ask(self._link.sftp.lexists(encode(self._final))):
                raise NameTakenError(f"{self._final} is there already") from error
            raise
