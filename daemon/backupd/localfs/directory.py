"""An open directory: all below it is reached relative to it, and no link is ever followed.

A path can be changed by whoever may write one of its directories, at any moment. So a directory is
opened once, and what lies below it is listed, opened, renamed and removed by its descriptor: by
openat2 where the kernel has it, part by part elsewhere.
"""

from __future__ import annotations

import errno
import os
from contextlib import contextmanager
from typing import TYPE_CHECKING, Self

from backupd.localfs import syscalls

if TYPE_CHECKING:
    from collections.abc import Iterator

# No FIFO is waited for, no child process inherits it.
READ = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
CREATE = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
NOTHING_THERE = {errno.ENOENT, errno.ENOTDIR, errno.ELOOP, errno.ENAMETOOLONG}
_PASSED = os.O_PATH | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC  # no right to list is needed
# openat2 does not know what old kernels and some sandboxes answer: then it is done part by part.
_NO_OPENAT2 = {errno.ENOSYS, errno.EPERM}
_NO_RENAMEAT2 = {errno.EINVAL, errno.ENOSYS}
_NO_LINKS = {errno.EPERM, errno.EOPNOTSUPP, errno.ENOSYS}


class Directory:
    """An open directory. Use as a context manager, or `close` it.

    Names are relative to it, their parts separated by "/". Where a part is a link, or leads out of
    the directory, OSError is raised (ELOOP, ENOTDIR or EXDEV).
    """

    def __init__(self, descriptor: int) -> None:
        """Own this descriptor of a directory."""
        self.descriptor = descriptor

    @classmethod
    def at(cls, path: str) -> Self:
        """Open the directory at an absolute path; links are followed but for the last part."""
        return cls(os.open(path, _DIRECTORY))

    def __enter__(self) -> Self:
        """Return itself."""
        return self

    def __exit__(self, *_: object) -> None:
        """Close it."""
        self.close()

    def close(self) -> None:
        """Close it."""
        os.close(self.descriptor)

    def open(self, name: str, flags: int = READ, mode: int = 0o666) -> int:
        """Open something; return a descriptor, which is the caller's to close."""
        if "/" not in name:
            return os.open(_plain(name), flags | os.O_NOFOLLOW, mode, dir_fd=self.descriptor)
        return _open_beneath(self.descriptor, name, flags | os.O_NOFOLLOW, mode)

    def directory(self, name: str) -> Directory:
        """Open a directory below it; "" is the directory itself, opened once more."""
        return Directory(self.open(name, _DIRECTORY) if name else os.dup(self.descriptor))

    @contextmanager
    def parent_of(self, name: str) -> Iterator[tuple[Directory, str]]:
        """Open the directory that holds `name`; yield it with the last part of the name."""
        above, _, last = name.rpartition("/")
        if not above:
            yield self, _plain(last)
            return
        with self.directory(above) as parent:
            yield parent, _plain(last)

    def stat(self, name: str = "") -> os.stat_result:
        """Return what is known of a name, or of the directory itself. Links are not followed."""
        if not name:
            return os.fstat(self.descriptor)
        with self.parent_of(name) as (parent, last):
            return os.stat(last, dir_fd=parent.descriptor, follow_symlinks=False)

    def find(self, name: str) -> os.stat_result | None:
        """Return what is known of a name; None where nothing stands there but behind a link."""
        try:
            return self.stat(name)
        except OSError as error:
            if error.errno not in NOTHING_THERE:
                raise
            return None

    def rename(self, old: str, new: str) -> None:
        """Rename in this directory, in place of what has the new name."""
        fd = self.descriptor
        os.rename(_plain(old), _plain(new), src_dir_fd=fd, dst_dir_fd=fd)

    def rename_without_replacing(self, old: str, new: str) -> None:
        """Rename in this directory. FileExistsError where something has the new name.

        Where the file system cannot do so at once, by a hard link: what has the new name is safe
        all the same, but `old` must be a name that nobody else uses.
        """
        fd = self.descriptor
        try:
            syscalls.rename_without_replacing(fd, _plain(old), fd, _plain(new))
        except OSError as error:
            if error.errno not in _NO_RENAMEAT2:
                raise
            self._rename_by_link(old, new)

    def _rename_by_link(self, old: str, new: str) -> None:
        try:
            self.link(old, new)
        except OSError as error:
            if error.errno not in _NO_LINKS:
                raise
            # Such file systems (exFAT, some of FUSE) can do no better than look first.
            if self.find(new) is not None:
                raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), new) from None
            self.rename(old, new)
        else:
            self.unlink(old)

    def move_aside(self, name: str, aside: str) -> None:
        """Rename to a hidden name of ours. FileExistsError where that is left from an earlier try.

        Nobody but us uses `aside`: where the file system cannot rename without replacing (NFS), a
        look is enough.
        """
        fd = self.descriptor
        try:
            syscalls.rename_without_replacing(fd, _plain(name), fd, _plain(aside))
        except OSError as error:
            if error.errno not in _NO_RENAMEAT2:
                raise
            if self.find(aside) is not None:
                raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), aside) from None
            self.rename(name, aside)

    def link(self, old: str, new: str) -> None:
        """Give a file of this directory a second name. FileExistsError where that is taken."""
        fd = self.descriptor
        os.link(_plain(old), _plain(new), src_dir_fd=fd, dst_dir_fd=fd, follow_symlinks=False)

    def unlink(self, name: str) -> None:
        """Remove a name of this directory."""
        os.unlink(_plain(name), dir_fd=self.descriptor)

    def make(self, name: str) -> Directory:
        """Open a directory below it, made where it is missing, and those above it; each flushed."""
        here = self.directory("")
        for part in filter(None, name.split("/")):
            with here:
                here = here._made(part)  # noqa: SLF001 -- of the same class
        return here

    def _made(self, part: str) -> Directory:
        try:
            os.mkdir(_plain(part), dir_fd=self.descriptor)
        except FileExistsError:
            return self.directory(part)
        self.flush()
        return self.directory(part)

    def flush(self) -> None:
        """Have its names on the disk: without it a power cut takes a rename back."""
        os.fsync(self.descriptor)

    def names(self) -> Iterator[os.DirEntry[str]]:
        """Yield what stands in it."""
        with os.scandir(self.descriptor) as entries:
            yield from entries


def _plain(part: str) -> str:
    """Return a single part of a name. OSError (EXDEV) where it leads elsewhere."""
    if "/" in part or part in {"", ".", ".."}:
        raise OSError(errno.EXDEV, "leads out of the directory", part)
    return part


def _open_beneath(directory: int, path: str, flags: int, mode: int) -> int:
    for part in path.split("/"):
        _plain(part)
    try:
        return syscalls.openat2(directory, path, flags, mode if flags & os.O_CREAT else 0)
    except OSError as error:
        if error.errno not in _NO_OPENAT2:
            raise
    return open_part_by_part(directory, path, flags, mode)


def open_part_by_part(directory: int, path: str, flags: int, mode: int) -> int:
    """Do what openat2 does, for kernels without it."""
    *above, last = path.split("/")
    here = os.dup(directory)
    try:
        for part in above:
            below = os.open(_plain(part), _PASSED, dir_fd=here)
            os.close(here)
            here = below
        return os.open(_plain(last), flags, mode, dir_fd=here)
    finally:
        os.close(here)
