"""The Linux system calls that Python 3.11 does not offer.

Sources: openat2(2), renameat2(2), prctl(2); numbers and flags from the kernel's
include/uapi/linux/{openat2,fs,prctl}.h.
"""

from __future__ import annotations

import ctypes
import errno
import os
import signal

_libc = ctypes.CDLL(None, use_errno=True)

_SYS_OPENAT2 = 437  # the same number on every architecture
_RESOLVE_NO_SYMLINKS = 0x04
_RESOLVE_BENEATH = 0x08
_RENAME_NOREPLACE = 1
_RENAME_EXCHANGE = 2
_PR_SET_PDEATHSIG = 1


class _OpenHow(ctypes.Structure):
    _fields_ = (
        ("flags", ctypes.c_uint64),
        ("mode", ctypes.c_uint64),
        ("resolve", ctypes.c_uint64),
    )


def openat2(directory: int, path: str, flags: int, mode: int = 0) -> int:
    """Open `path` below an open directory without following a link in any part.

    Raises OSError: ELOOP for a link, EXDEV for a path that leads out of the directory, ENOSYS where
    the kernel (before 5.6) or a sandbox does not have the call.
    """
    how = _OpenHow(flags, mode, _RESOLVE_BENEATH | _RESOLVE_NO_SYMLINKS)
    name = os.fsencode(path)
    size = ctypes.sizeof(how)
    descriptor = int(_libc.syscall(_SYS_OPENAT2, directory, name, ctypes.byref(how), size))
    if descriptor < 0:
        raise _error(path)
    return descriptor


def rename_without_replacing(old_directory: int, old: str, new_directory: int, new: str) -> None:
    """Rename, unless something stands under the new name: then raise FileExistsError.

    Raises OSError: EINVAL where the file system does not support it (NFS).
    """
    old_name, new_name = os.fsencode(old), os.fsencode(new)
    if _libc.renameat2(old_directory, old_name, new_directory, new_name, _RENAME_NOREPLACE):
        raise _error(old)


def exchange(directory: int, name: str, other_directory: int, other: str) -> None:
    """Let two names change places, at once: nobody ever finds one of them missing.

    Raises OSError: EINVAL where the file system does not support it (NFS).
    """
    first, second = os.fsencode(name), os.fsencode(other)
    if _libc.renameat2(directory, first, other_directory, second, _RENAME_EXCHANGE):
        raise _error(name)


def die_with_parent() -> None:
    """Have the kernel end this process when the thread that started it ends."""
    if _libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0):
        raise _error("prctl")


def _error(name: str) -> OSError:
    number = ctypes.get_errno()
    return OSError(number or errno.EIO, os.strerror(number or errno.EIO), name)
