"""The archive as a directory of this host (or one that is mounted here)."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import hashlib
import os
import shutil
from pathlib import Path
from typing import TYPE_CHECKING

from backupd.archive.naming import Place, place
from backupd.archive.probing import probe_directories
from backupd.core.errors import (
    BackupdError,
    DependencyDownError,
    NameTakenError,
    PermanentError,
    TransientError,
)
from backupd.core.gathering import Gathering
from backupd.core.ports import Checksum

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterator, Collection, Iterator

    from backupd.config.sections import ArchiveSection
    from backupd.core.ports import Probe

READ_BLOCK = 1024 * 1024  # bytes
WRITE_AT_ONCE = 1024 * 1024  # bytes
HASH_AT_ONCE = 64 * 1024 * 1024  # bytes: one change of thread, and the longest wait when cancelled
NEW_FILE = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
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
LINKS_UNSUPPORTED = {errno.EPERM, errno.EOPNOTSUPP, errno.ENOSYS}


class LocalArchive:
    """Implements `core.ports.Archive` in a directory. Checksums are always read back."""

    def __init__(self, section: ArchiveSection) -> None:
        """Nothing is touched yet."""
        self._root = section.root
        self._flushes: Gathering[str, None] = Gathering(self._flush_directories)

    async def size(self, name: str) -> int | None:
        """See the port."""
        there = place(self._root, name)
        return await asyncio.to_thread(_size, there.path)

    async def checksum(self, name: str) -> Checksum | None:
        """See the port."""
        path = place(self._root, name).path
        digest, position, ended = hashlib.sha256(), 0, False
        while not ended:
            try:
                position, ended = await asyncio.to_thread(_hash_on, path, digest, position)
            except FileNotFoundError:
                return None
        return Checksum(digest.hexdigest(), "readback")

    async def contents(self, name: str) -> AsyncGenerator[bytes, None]:
        """See the port."""
        there = place(self._root, name)
        try:
            fd = await asyncio.to_thread(_open_to_read, there.path)
        except FileNotFoundError as error:
            raise PermanentError(f"{there.path} is not there") from error
        try:
            position = 0
            while block := await asyncio.to_thread(_read, fd, there.path, position):
                yield block
                position += len(block)
        finally:
            os.close(fd)

    async def flush(self, name: str) -> bool:
        """See the port. Always confirmed."""
        await self._flushes.ask(place(self._root, name).directory)
        return True

    @contextlib.asynccontextmanager
    async def upload(
        self, name: str, part_id: str, expected_bytes: int
    ) -> AsyncIterator[LocalUpload]:
        """See the port."""
        there = place(self._root, name)
        upload = LocalUpload(there, there.part(part_id))
        try:
            await asyncio.to_thread(upload.open, expected_bytes)
            yield upload
        finally:
            if not upload.published:
                await asyncio.to_thread(upload.leave)

    async def discard_parts(self, name: str, part_ids: Collection[str]) -> None:
        """See the port."""
        there = place(self._root, name)
        await asyncio.to_thread(_remove, [there.part(part_id) for part_id in part_ids])

    async def probe(self, directories: Collection[str]) -> list[Probe]:
        """See the port."""
        return await probe_directories(self, directories)

    async def aclose(self) -> None:
        """See the port."""
        await self._flushes.aclose()

    async def _flush_directories(self, directories: Collection[str]) -> dict[str, None]:
        await asyncio.to_thread(_flush_all, directories)
        return dict.fromkeys(directories)


class LocalUpload:
    """Implements `core.ports.Upload` with a file beside the final one."""

    def __init__(self, there: Place, part: str) -> None:
        """`part` is the absolute path of the temporary file."""
        self._there = there
        self._part = part
        self._fd: int | None = None
        self.published = False
        self._gathered: list[bytes] = []
        self._gathered_bytes = 0

    async def write(self, block: bytes) -> None:
        """Gather blocks to be written together: a small file changes threads only to publish."""
        self._gathered.append(block)
        self._gathered_bytes += len(block)
        if self._gathered_bytes >= WRITE_AT_ONCE:
            await asyncio.to_thread(self._write)

    async def publish(self) -> bool:
        """See the port. Always confirmed."""
        await asyncio.to_thread(self._publish)
        self.published = True
        return True

    def open(self, expected_bytes: int) -> None:
        """Make the directory and the temporary file, anew where an earlier try left one."""
        with _explaining("create", self._part):
            _make_directory(self._there.directory)
            free = shutil.disk_usage(self._there.directory).free
            if free < expected_bytes:
                raise _no_room(self._there.directory, expected_bytes, free)
            Path(self._part).unlink(missing_ok=True)
            self._fd = os.open(self._part, NEW_FILE, 0o666)

    def leave(self) -> None:
        """Remove the temporary file."""
        self._close()
        with contextlib.suppress(OSError):
            Path(self._part).unlink(missing_ok=True)

    def _write(self) -> None:
        rest = memoryview(b"".join(self._gathered))
        self._gathered, self._gathered_bytes = [], 0
        with _explaining("write", self._part):
            while rest:
                rest = rest[os.write(self._open_fd(), rest) :]

    def _publish(self) -> None:
        self._write()
        with _explaining("flush", self._part):
            os.fsync(self._open_fd())
        self._close()
        with _explaining("publish", self._there.path):
            _rename_without_overwriting(self._part, self._there.path)

    def _open_fd(self) -> int:
        if self._fd is None:
            raise TransientError(f"{self._part} was closed already")
        return self._fd

    def _close(self) -> None:
        fd, self._fd = self._fd, None
        if fd is not None:
            os.close(fd)


def _rename_without_overwriting(part: str, final: str) -> None:
    """Link, then unlink: a plain rename would write over what stands there."""
    try:
        os.link(part, final)
    except FileExistsError as error:
        raise NameTakenError(f"{final} is there already") from error
    except OSError as error:
        if error.errno in LINKS_UNSUPPORTED:
            raise DependencyDownError(
                "archive",
                f"the file system of {final} has no hard links: {error.strerror}",
                hint="put the archive on a file system that has them, as ext4, xfs and NFS do",
            ) from error
        raise
    Path(part).unlink()


def _make_directory(directory: str) -> None:
    """Make it and those above, each flushed into the one that holds it."""
    path = Path(directory)
    missing = [each for each in (path, *path.parents) if not each.exists()]
    path.mkdir(parents=True, exist_ok=True)
    _flush_all(str(each.parent) for each in missing)


def _flush_all(directories: Collection[str] | Iterator[str]) -> None:
    for directory in directories:
        with _explaining("flush", directory):
            fd = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
            try:
                os.fsync(fd)
            finally:
                os.close(fd)


def _size(path: str) -> int | None:
    with _explaining("look at", path):
        try:
            return Path(path).stat().st_size
        except FileNotFoundError:
            return None


def _hash_on(path: str, digest: hashlib._Hash, position: int) -> tuple[int, bool]:
    """Hash a stretch from `position`; return where it ends, and whether the file does."""
    fd = _open_to_read(path)
    try:
        stretch_ends = position + HASH_AT_ONCE
        while position < stretch_ends:
            block = _read(fd, path, position)
            if not block:
                return position, True
            digest.update(block)
            position += len(block)
    finally:
        os.close(fd)
    return position, False


def _open_to_read(path: str) -> int:
    """FileNotFoundError passes: what it means is the caller's to say."""
    try:
        return os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        raise
    except OSError as error:
        raise _explain("read", path, error) from error


def _read(fd: int, path: str, position: int) -> bytes:
    with _explaining("read", path):
        return os.pread(fd, READ_BLOCK, position)


def _remove(paths: Collection[str]) -> None:
    for path in paths:
        with _explaining("remove", path):
            Path(path).unlink(missing_ok=True)


def _no_room(directory: str, wanted: int, free: int) -> DependencyDownError:
    return DependencyDownError(
        "archive",
        f"no room for {wanted} bytes in {directory}: {free} are free",
        hint=f"make room; df {directory} shows the disk",
    )


@contextlib.contextmanager
def _explaining(doing: str, path: str) -> Iterator[None]:
    """Turn an OSError inside into our own error."""
    try:
        yield
    except OSError as error:
        raise _explain(doing, path, error) from error


def _explain(doing: str, path: str, error: OSError) -> BackupdError:
    said = f"could not {doing} {path}: {error.strerror}"
    if error.errno in DISK_TROUBLE:
        directory = str(Path(path).parent)
        return DependencyDownError("archive", said, hint=f"df {directory}; findmnt -T {directory}")
    if error.errno == errno.ENAMETOOLONG:
        return PermanentError(said, hint="shorten the file's name where it is made")
    if isinstance(error, PermissionError):
        return TransientError(said, hint=f"let the service's user write in {Path(path).parent}")
    return TransientError(said)
