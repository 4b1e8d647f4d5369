"""What the operating system's refusals mean for a file of a local archive."""

from __future__ import annotations

import contextlib
import errno
import shlex
from pathlib import Path
from typing import TYPE_CHECKING

from backupd.core.errors import (
    BackupdError,
    DependencyDownError,
    PermanentError,
    TransientError,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

# The disk's fault, not the file's.
DISK_TROUBLE = {
    errno.ENOSPC,
    errno.EDQUOT,
    errno.EROFS,
    errno.EIO,
    errno.ESTALE,
    errno.ENOTCONN,
    errno.ENODEV,
    errno.ETIMEDOUT,
}
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
        return DependencyDownError("archive", said, hint=f"df {directory}; findmnt -T {directory}")
    if error.errno == errno.ENAMETOOLONG:
        return PermanentError(said, hint="shorten the file's name where it is made")
    if error.errno in LINK_ON_THE_WAY:
        return _not_a_directory(path, said)
    if isinstance(error, PermissionError):
        return TransientError(said, hint=f"let the service's user write in {Path(path).parent}")
    return TransientError(said)


def _not_a_directory(path: str, said: str) -> TransientError:
    """Name the link, or the file, that stands where a directory has to be."""
    for above in reversed(Path(path).parents):
        if above.is_symlink():
            said += f": {above} is a symbolic link, and those in the archive are not followed"
    return TransientError(
        said, hint="put a directory in the link's place, or mount one there (mount --bind)"
    )
