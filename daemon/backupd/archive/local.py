"""The archive as a directory of this host (or one that is mounted here)."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import os
import posixpath
import stat
from pathlib import Path
from typing import TYPE_CHECKING

from backupd.archive.local_errors import explaining
from backupd.archive.local_upload import LocalUpload
from backupd.archive.marks import Mark
from backupd.archive.naming import Place, place
from backupd.archive.probing import probe_place
from backupd.core.errors import PermanentError
from backupd.core.gathering import Gathering
from backupd.core.places import MARK_FILE
from backupd.core.ports import NOT_A_FILE, Checksum
from backupd.localfs.directory import Directory
from backupd.localfs.marks import read_mark

if TYPE_CHECKING:
    from collections.abc import (
        AsyncGenerator,
        AsyncIterator,
        Callable,
        Collection,
        Iterator,
        Sequence,
    )

    from backupd.config.sections import ArchiveSection
    from backupd.core.places import Witness
    from backupd.core.ports import Probe

READ_BLOCK = 1024 * 1024  # bytes
HASH_AT_ONCE = 64 * 1024 * 1024  # bytes: one change of thread, and the longest wait when cancelled
# The root itself may be reached by links: it is what the config says. Below it none is followed.
OPEN_ROOT = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC


class LocalArchive:
    """Implements `core.ports.Archive` in a directory. Checksums are always read back.

    Each operation opens the root anew, looks at the mark in it, and works below that very root: so
    nothing comes between, be it unmounted or replaced meanwhile.
    """

    def __init__(self, section: ArchiveSection) -> None:
        """Nothing is touched yet."""
        self._root = section.root
        self._mark = Mark(self, section.root)
        self._flushes: Gathering[str, None] = Gathering(self._flush_directories)

    async def identify(self, expected: str | None, witnesses: Sequence[Witness]) -> str:
        """See the port."""
        return await self._mark.identify(expected, witnesses)

    async def mark(self) -> str:
        """See the port."""
        return await self._mark.ensure()

    async def read_mark(self) -> bytes | None:
        """See `Markable`."""
        return await asyncio.to_thread(self._read_mark)

    async def size(self, name: str) -> int | None:
        """See the port."""
        return await asyncio.to_thread(self._size, place(self._root, name))

    async def checksum(self, name: str) -> Checksum | None:
        """See the port."""
        there = place(self._root, name)
        digest, position, ended = hashlib.sha256(), 0, False
        while not ended:
            try:
                position, ended = await asyncio.to_thread(self._hash_on, there, digest, position)
            except _NothingThereError:
                return None
            except _NotAFileError:
                return NOT_A_FILE
        return Checksum(digest.hexdigest(), "readback")

    async def contents(self, name: str) -> AsyncGenerator[bytes, None]:
        """See the port."""
        there = place(self._root, name)
        try:
            fd = await asyncio.to_thread(self._open_to_read, there)
        except _NothingThereError as error:
            raise PermanentError(f"{there.path} is not there") from error
        except _NotAFileError as error:
            raise PermanentError(f"{there.path} is not a regular file") from error
        try:
            position = 0
            while block := await asyncio.to_thread(_read, fd, there.path, position):
                yield block
                position += len(block)
        finally:
            os.close(fd)

    async def flush(self, name: str) -> bool:
        """See the port. Always confirmed."""
        await self._flushes.ask(posixpath.dirname(name))
        return True

    async def is_same_file(self, name: str, descriptor: int) -> bool:
        """See the port: device and inode tell."""
        return await asyncio.to_thread(self._is_same_file, place(self._root, name), descriptor)

    @contextlib.asynccontextmanager
    async def upload(
        self, name: str, part_id: str, expected_bytes: int
    ) -> AsyncIterator[LocalUpload]:
        """See the port."""
        upload = LocalUpload(place(self._root, name), part_id)
        try:
            await asyncio.to_thread(self._open_upload, upload, expected_bytes)
            yield upload
        finally:
            if not upload.published:
                await asyncio.to_thread(upload.leave)

    async def discard_parts(self, name: str, part_ids: Collection[str]) -> None:
        """See the port."""
        there = place(self._root, name)
        await asyncio.to_thread(self._remove, there, [there.part(each) for each in part_ids])

    async def probe(
        self,
        directories: Collection[str],
        expected: str | None = None,
        shows_up: Callable[[str], str | None] | None = None,
    ) -> list[Probe]:
        """See the port."""
        marked = await self._mark.probe(expected)
        return [marked, *await probe_place(self, marked, directories, shows_up)]

    async def aclose(self) -> None:
        """See the port."""
        await self._mark.aclose()
        await self._flushes.aclose()

    @contextlib.contextmanager
    def _opened_root(self) -> Iterator[Directory]:
        """Open the root, which has to bear the mark. FileNotFoundError passes where it has none."""
        try:
            root = Directory(os.open(self._root, OPEN_ROOT))
        except FileNotFoundError:
            self._mark.demand(None)
            raise
        with root:
            if self._mark.is_expected:
                self._mark.demand(read_mark(root))
            yield root

    def _read_mark(self) -> bytes | None:
        with explaining("read", posixpath.join(self._root, MARK_FILE)):
            try:
                with Directory(os.open(self._root, OPEN_ROOT)) as root:
                    return read_mark(root)
            except FileNotFoundError:
                return None

    def _size(self, there: Place) -> int | None:
        with explaining("look at", there.path):
            found = self._find(there)
        if found is None:
            return None
        return found.st_size if stat.S_ISREG(found.st_mode) else -1

    def _find(self, there: Place) -> os.stat_result | None:
        try:
            with self._opened_root() as root:
                return root.stat(there.name)
        except FileNotFoundError:
            return None

    def _is_same_file(self, there: Place, descriptor: int) -> bool:
        with explaining("look at", there.path):
            found, wanted = self._find(there), os.fstat(descriptor)
        return found is not None and os.path.samestat(found, wanted)

    def _open_upload(self, upload: LocalUpload, expected_bytes: int) -> None:
        with explaining("create", self._root):
            if not self._mark.is_expected:
                _make_directory(self._root)
            with self._opened_root() as root:
                upload.open(root, expected_bytes)

    def _hash_on(self, there: Place, digest: hashlib._Hash, position: int) -> tuple[int, bool]:
        """Hash a stretch from `position`; return where it ends, and whether the file does."""
        fd = self._open_to_read(there)
        try:
            stretch_ends = position + HASH_AT_ONCE
            while position < stretch_ends:
                block = _read(fd, there.path, position)
                if not block:
                    return position, True
                digest.update(block)
                position += len(block)
        finally:
            os.close(fd)
        return position, False

    def _open_to_read(self, there: Place) -> int:
        """Raise _NothingThereError or _NotAFileError: what they mean is the caller's to say."""
        with explaining("read", there.path):
            try:
                with self._opened_root() as root:
                    if not stat.S_ISREG(root.stat(there.name).st_mode):
                        raise _NotAFileError
                    return root.open(there.name)
            except FileNotFoundError as error:
                raise _NothingThereError from error

    def _remove(self, there: Place, parts: Collection[str]) -> None:
        with (
            explaining("remove", there.path),
            contextlib.suppress(FileNotFoundError),
            self._opened_root() as root,
            root.parent_of(there.name) as (directory, _),
        ):
            for part in parts:
                with contextlib.suppress(FileNotFoundError):
                    directory.unlink(posixpath.basename(part))

    async def _flush_directories(self, directories: Collection[str]) -> dict[str, None]:
        await asyncio.to_thread(self._flush_all, directories)
        return dict.fromkeys(directories)

    def _flush_all(self, directories: Collection[str]) -> None:
        with explaining("flush", self._root), self._opened_root() as root:
            for each in directories:
                with explaining("flush", f"{self._root}/{each}"), root.directory(each) as opened:
                    opened.flush()


class _NothingThereError(Exception):
    """Nothing stands under the name."""


class _NotAFileError(Exception):
    """Something that is not a regular file stands under the name."""


def _make_directory(directory: str) -> None:
    """Make it and those above, each flushed into the one that holds it."""
    path = Path(directory)
    missing = [each for each in (path, *path.parents) if not each.exists()]
    path.mkdir(parents=True, exist_ok=True)
    for each in missing:
        with Directory(os.open(each.parent, OPEN_ROOT)) as above:
            above.flush()


def _read(fd: int, path: str, position: int) -> bytes:
    with explaining("read", path):
        return os.pread(fd, READ_BLOCK, position)
