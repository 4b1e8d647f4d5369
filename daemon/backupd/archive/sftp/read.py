"""Reading a file back from an SFTP server, and what stands under a name there."""

from __future__ import annotations

import asyncio
import os
from collections import deque
from typing import TYPE_CHECKING

import asyncssh

from backupd.archive.naming import encode

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    from backupd.archive.sftp.connection import Link

# Asked for ahead of the block that is being waited for: a MiB a file with OpenSSH.
READS_AHEAD = 4


async def read_blocks(link: Link, path: str) -> AsyncGenerator[bytes, None]:
    """Yield a file's content in order, several reads on their way at once.

    Raises asyncssh.SFTPError as the server does, SFTPNoSuchFile before the first block.
    """
    opening = link.sftp.open(encode(path), asyncssh.FXF_READ, encoding=None, block_size=0)
    handle = await link.ask(opening)
    reads: deque[asyncio.Task[bytes]] = deque()
    try:
        size = (await link.ask(handle.stat())).size or 0
        step = link.sftp.limits.max_read_len
        starts = iter(range(0, size, step))
        while True:
            while len(reads) < READS_AHEAD and (start := next(starts, None)) is not None:
                length = min(step, size - start)
                reads.append(asyncio.create_task(_read(link, handle, start, length)))
            if not reads:
                return
            yield await reads.popleft()
    finally:
        await _give_up(reads)
        await link.ask(handle.close())


async def read_short(link: Link, path: str, most: int) -> bytes | None:
    """Return up to `most` bytes of a small file; None: it is not there."""
    opening = link.sftp.open(encode(path), asyncssh.FXF_READ, encoding=None, block_size=0)
    try:
        handle = await link.ask(opening)
    except asyncssh.SFTPNoSuchFile:
        return None
    try:
        start: bytes = await link.ask(handle.read(most, 0))
        return start
    finally:
        await link.ask(handle.close())


async def list_names(link: Link, directory: str) -> list[str]:
    """Return the names in a directory; none where it is missing."""
    try:
        found = await link.ask(link.sftp.listdir(encode(directory)))
    except asyncssh.SFTPNoSuchFile:
        return []
    return [os.fsdecode(name) for name in found if name not in {b".", b".."}]


async def _read(link: Link, handle: asyncssh.SFTPClientFile, start: int, length: int) -> bytes:
    """Read a stretch whole: a server may answer with less than was asked for."""
    data = b""
    while len(data) < length:
        more: bytes = await link.ask(handle.read(length - len(data), start + len(data)))
        if not more:
            break
        data += more
    return data


async def _give_up(reads: deque[asyncio.Task[bytes]]) -> None:
    for read in reads:
        read.cancel()
    await asyncio.gather(*reads, return_exceptions=True)


SYMLINK = asyncssh.FILEXFER_TYPE_SYMLINK
# Some servers do not say what type a file has.
_FILES = {asyncssh.FILEXFER_TYPE_REGULAR, asyncssh.FILEXFER_TYPE_UNKNOWN}


async def look(link: Link, path: str) -> asyncssh.SFTPAttrs | None:
    """Return what is known of it; None: nothing stands there. asyncssh.SFTPError else."""
    try:
        found = await link.ask(link.sftp.lstat(encode(path)))
    except asyncssh.SFTPNoSuchFile:
        return None
    if found.type != SYMLINK and not link.is_openssh and await _is_link(link, path):
        found.type = SYMLINK
    return found


def size_of_file(found: asyncssh.SFTPAttrs) -> int:
    """Return its size; -1 where it is no regular file."""
    return found.size or 0 if found.type in _FILES else -1


async def _is_link(link: Link, path: str) -> bool:
    """Return whether it can be read as a link: ProFTPD's lstat answers for the link's target."""
    try:
        await link.ask(link.sftp.readlink(encode(path)))
    except asyncssh.SFTPError:
        return False
    return True
