"""What stands under a name on an SFTP server, links not followed."""

from __future__ import annotations

from typing import TYPE_CHECKING

import asyncssh

from backupd.archive.naming import encode

if TYPE_CHECKING:
    from backupd.archive.sftp.connection import Link

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
