"""A file on its way into a local archive."""

from __future__ import annotations

import contextlib
import errno
import os
import posixpath
import threading
from typing import TYPE_CHECKING

from backupd.archive.local.errors import explaining
from backupd.archive.naming import NamedBy
from backupd.core.errors import NameTakenError, RefusedError, TransientError
from backupd.core.ports import Published
from backupd.localfs.directory import CREATE, Directory

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from backupd.archive.naming import Place

    Run = Callable[[Callable[[], None]], Awaitable[None]]

WRITE_AT_ONCE = 1024 * 1024  # bytes
LINKS_UNSUPPORTED = {errno.EPERM, errno.EOPNOTSUPP, errno.ENOSYS}


class LocalUpload:
    """Implements `core.ports.Upload` with a file beside the final one, in an open directory.

    What blocks has its turn in a thread: a call that hangs keeps its descriptor until it ends.
    """

    def __init__(self, there: Place, part_id: str, run: Run) -> None:
        """Nothing is made yet. `run` makes a call in a thread."""
        self._run = run
        self._turn = threading.Lock()
        self._is_left = False
        self._there = there
        self._part = there.part(part_id)
        self._name = posixpath.basename(there.name)
        self._directory: Directory | None = None
        self._fd: int | None = None
        self.published = False
        self._gathered: list[bytes] = []
        self._gathered_bytes = 0

    @property
    def part_name(self) -> str:
        """See the port."""
        return posixpath.basename(self._part)

    async def write(self, block: bytes) -> None:
        """Gather blocks to be written together: a small file changes threads only to publish."""
        self._gathered.append(block)
        self._gathered_bytes += len(block)
        if self._gathered_bytes >= WRITE_AT_ONCE:
            await self._run(self._write)

    async def publish(self) -> Published:
        """See the port. Always confirmed."""
        await self._run(self._publish)
        return Published(flushed=True, named_by=NamedBy.LINK)

    def open(self, root: Directory, expected_bytes: int) -> None:
        """Make the directory and the temporary file, anew where an earlier try left one."""
        name = posixpath.dirname(self._there.name)
        with self._turn, explaining("create", self._part):
            if self._is_left:
                raise TransientError(f"{self._part} was given up already")
            try:
                self._directory = root.directory(name)
            except FileNotFoundError:
                self._directory = root.make(name)
            self._demand_room(self._directory, expected_bytes)
            with contextlib.suppress(FileNotFoundError):
                self._directory.unlink(self.part_name)
            self._fd = self._directory.open(self.part_name, CREATE)

    def leave(self) -> None:
        """Remove the temporary file, unless it was published."""
        with self._turn:
            self._is_left = True
            self._close()
            directory, self._directory = self._directory, None
            if directory is not None:
                with directory, contextlib.suppress(OSError):
                    directory.unlink(self.part_name)

    def _demand_room(self, directory: Directory, wanted: int) -> None:
        disk = os.fstatvfs(directory.descriptor)
        free = disk.f_bavail * disk.f_frsize
        if free < wanted:
            where = self._there.directory
            raise RefusedError(
                f"no room for {wanted} bytes in {where}: {free} are free",
                hint=f"make room; df {where} shows the disk",
                room=True,
            )

    def _write(self) -> None:
        with self._turn:
            self._write_gathered()

    def _write_gathered(self) -> None:
        rest = memoryview(b"".join(self._gathered))
        self._gathered, self._gathered_bytes = [], 0
        with explaining("write", self._part):
            while rest:
                rest = rest[os.write(self._open_fd(), rest) :]

    def _publish(self) -> None:
        with self._turn:
            self._write_gathered()
            with explaining("flush", self._part):
                os.fsync(self._open_fd())
            self._close()
            directory = self._open_directory()
            with explaining("publish", self._there.path):
                self._give_the_name(directory)
            self.published, self._directory = True, None
            directory.close()

    def _give_the_name(self, directory: Directory) -> None:
        """Link, then unlink: a plain rename would write over what stands there."""
        try:
            directory.link(self.part_name, self._name)
        except FileExistsError as error:
            raise NameTakenError(f"{self._there.path} is there already") from error
        except OSError as error:
            if error.errno in LINKS_UNSUPPORTED:
                raise _no_links(self._there.path, error) from error
            raise
        directory.unlink(self.part_name)

    def _open_fd(self) -> int:
        if self._fd is None:
            raise TransientError(f"{self._part} was closed already")
        return self._fd

    def _open_directory(self) -> Directory:
        if self._directory is None:
            raise TransientError(f"{self._part} was closed already")
        return self._directory

    def _close(self) -> None:
        fd, self._fd = self._fd, None
        if fd is not None:
            os.close(fd)


def _no_links(path: str, error: OSError) -> RefusedError:
    return RefusedError(
        f"the file system of {path} has no hard links: {error.strerror}",
        hint="put the archive on a file system that has them, as ext4, xfs and NFS do",
    )
