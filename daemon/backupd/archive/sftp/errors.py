"""What an SFTP server's refusals mean for a file."""

from __future__ import annotations

import contextlib
import posixpath
from typing import TYPE_CHECKING

import asyncssh

from backupd.archive.naming import encode
from backupd.core.dependencies import Dependency
from backupd.core.errors import (
    BackupdError,
    DependencyDownError,
    PermanentError,
    RefusedError,
)

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from backupd.archive.sftp.connection import Link

READ_ONLY = 1  # flag of statvfs@openssh.com
# What takes room on the disk: a refusal of anything else may be a matter of what is open at once.
TAKES_ROOM = {"write", "flush"}
# Bytes. Fewer are free only on a full disk: then a block, or the directory's next one, fails.
NEXT_TO_NOTHING = 1024 * 1024


@contextlib.asynccontextmanager
async def explaining(link: Link, doing: str, path: str) -> AsyncIterator[None]:
    """Turn a refusal inside into our own error. `doing` completes "may not ..."."""
    try:
        yield
    except asyncssh.SFTPError as error:
        raise await _explain(link, doing, path, error) from error


async def _explain(link: Link, doing: str, path: str, error: asyncssh.SFTPError) -> BackupdError:
    directory = posixpath.dirname(path)
    said = f"{link.address} could not {doing} {path}: {error.reason}"
    if isinstance(error, asyncssh.SFTPPermissionDenied):
        return RefusedError(
            f"{link.address} may not {doing} {path}: permission denied in {directory}",
            hint=f"give that user the right to write in {directory} on the archive host",
        )
    if isinstance(error, asyncssh.SFTPBadMessage):  # OpenSSH's word for ENAMETOOLONG and EINVAL
        return PermanentError(f"{link.address} takes no such name: {path}")
    if isinstance(error, asyncssh.SFTPOpUnsupported):
        return DependencyDownError(
            Dependency.ARCHIVE, said, hint="the archive needs another SFTP server"
        )
    # All else, a full disk or too many open files too, is a plain "Failure" on OpenSSH.
    room = doing in TAKES_ROOM
    load = isinstance(error, asyncssh.SFTPFailure) and not room
    return await _disk_trouble(link, directory) or RefusedError(said, room=room, load=load)


async def _disk_trouble(link: Link, directory: str) -> RefusedError | None:
    """Return what is wrong with the disk; None where nothing is, or where the server cannot say."""
    try:
        disk = await link.ask(link.sftp.statvfs(encode(directory)))
    except asyncssh.SFTPError:
        return None
    if disk.flags & READ_ONLY:
        problem = "is mounted read-only"
    elif disk.bavail * disk.frsize < NEXT_TO_NOTHING:
        problem = "is full"
    elif disk.files and not disk.favail:
        problem = "has no inode left"
    else:
        return None
    return RefusedError(
        f"the disk under {directory} on {link.address} {problem}",
        hint=f"on the archive host: df {directory}; df -i {directory}; findmnt -T {directory}",
        room=problem != "is mounted read-only",
    )
