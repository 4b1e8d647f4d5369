"""What the operating system's refusals mean for a file of a local archive."""

from __future__ import annotations

import contextlib
import errno
import shlex
from pathlib import Path
from typing import TYPE_CHECKING

from backupd.core.errors import (
    BackupdError,
    PermanentError,
    RefusedError,
    TransientError,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

NO_ROOM = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
DISK_TROUBLE = {
    *NO_ROOM,
    errno.EROFS,
    errno.EIO,
    errno.ESTALE,
    errno.ENOTCONN,
    errno.ENODEV,
    errno.ETIMEDOUT,
}
OUR_LIMITS = {errno.EMFILE, errno.ENFILE, errno.ENOMEM}  # the archive did not refuse
LINK_ON_THE_WAY = {errno.ELOOP, errno.EXDEV, errno.ENOTDIR}


@contextlib.contextmanager
def explaining(doing: str, path: str) -> Iterator[None]:
    """Turn an OSError inside into our own error. `doing` completes "could not ..."."""
    try:
        yield
    except OSError as error:
        raise _explain(doing, path, error) from error


def _explain(doing: str, path: str, error: OSError) -> BackupdError:
    said = f"could not {doing} {path}: {error.strerror}"
    directory = shlex.quote(str(Path(path).parent))
    if error.errno in DISK_TROUBLE:
        hint = f"df {directory}; df -i {directory}; findmnt -T {directory}"
        return RefusedError(said, hint=hint, room=error.errno in NO_ROOM)
    if error.errno == errno.ENAMETOOLONG:
        return PermanentError(said, hint="shorten the file's name where it is made")
    if error.errno in LINK_ON_THE_WAY:
        return _not_a_directory(path, said)
    if error.errno in OUR_LIMITS:
        return TransientError(said)
    denied = isinstance(error, PermissionError)
    hint = f"let the service's user write in {Path(path).parent}" if denied else ""
    return RefusedError(said, hint=hint)


def _not_a_directory(path: str, said: str) -> RefusedError:
    """Name the link, or the file, that stands where a directory has to be."""
    for above in reversed(Path(path).parents):
        if _is_link(above):
            said += f": {above} is a symbolic link, and those in the archive are not followed"
    return RefusedError(
        said, hint="put a directory in its place, or mount one there (mount --bind)"
    )


def _is_link(path: Path) -> bool:
    try:
        return path.is_symlink()
    except OSError:  # there is no looking at it either
        return False
