"""What is made in place of something else is to be read and written by the same users."""

from __future__ import annotations

import errno
import os
import stat

_ACCESS_LISTS = ("system.posix_acl_access", "system.posix_acl_default")  # acl(5)
_NO_LISTS = {errno.ENOTSUP, errno.ENODATA}


def make_alike(made: int, model: int) -> None:
    """Give something that is open the group, permissions and access lists of another.

    Raises PermissionError where this user may not give it to that group.
    """
    about = os.fstat(model)
    if os.fstat(made).st_gid != about.st_gid:
        os.fchown(made, -1, about.st_gid)
    os.fchmod(made, stat.S_IMODE(about.st_mode))
    for name in _access_lists(model):
        os.setxattr(made, name, os.getxattr(model, name))


def _access_lists(model: int) -> list[str]:
    try:
        return [name for name in os.listxattr(model) if name in _ACCESS_LISTS]
    except OSError as error:
        if error.errno not in _NO_LISTS:
            raise
        return []
