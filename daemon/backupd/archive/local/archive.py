"""The archive as a directory of this host (or one that is mounted here)."""

from __future__ import annotations

import contextlib
import os
import posixpath
import shlex
import stat
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from backupd.archive.local.errors import explaining
from backupd.archive.local.upload import LocalUpload
from backupd.archive.marks import Mark
from backupd.archive.naming import Place, place, snapshot_place
from backupd.archive.probing import probe_place
from backupd.core.calls import DoesNotAnswerError
from backupd.core.dependencies import Dependency
from backupd.core.errors import DependencyDownError, PermanentError
from backupd.core.places import MARK_FILE
from backupd.core.ports import NOT_A_FILE, Checksum
from backupd.core.records import VerifiedBy
from backupd.core.request_batcher import RequestBatcher
from backupd.core.threads import DirectoryThreads, in_steps, sha256_in_steps
from backupd.localfs.directory import Directory
from backupd.localfs.whole import read_mark

if TYPE_CHECKING:
    from collections.abc import (
        AsyncGenerator,
        AsyncIterator,
        Awaitable,
        Callable,
        Collection,
        Generator,
        Iterator,
        Sequence,
    )

    from backupd.config.sections import LocalArchiveSection
    from backupd.core.places import Witness
    from backupd.core.ports import Probe
    from backupd.core.records import Identity

T = TypeVar("T")

READ_BLOCK = 1024 * 1024  # bytes
PATIENCE = 30.0  # seconds; to flush a large file takes long on a busy disk
# The root itself may be reached by links: it is what the config says. Below it none is followed.
OPEN_ROOT = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC


class LocalArchive:
    """Implements `core.ports.Archive` in a directory. Checksums are always read back.

    Each operation opens the root anew, looks at the mark in it, and works below that very root: so
    nothing comes between, be it unmounted or replaced meanwhile. One that hangs, as on a network
    file system whose server does, is left behind, and the archive is down until it comes back.
    """

    def __init__(self, section: LocalArchiveSection) -> None:
        """Nothing is touched yet."""
        self._root = section.root
        look = f"look whether its disk is mounted (findmnt -T {shlex.quote(section.root)})"
        self._mark = Mark(self, section.root, look)
        self._threads = DirectoryThreads("archive", patience=PATIENCE)
        self._flushes: RequestBatcher[str, None] = RequestBatcher(self._flush_directories)

    async def identify(self, expected: str | None, witnesses: Sequence[Witness]) -> str:
        """See the port."""
        return await self._mark.identify(expected, witnesses)

    async def mark(self) -> str:
        """See the port."""
        return await self._mark.ensure()

    async def read_mark(self) -> bytes | None:
        """See `Markable`."""
        return await self._run_small(self._read_mark)

    async def size(self, name: str) -> int | None:
        """See the port."""
        return await self._run_small(partial(self._size, place(self._root, name)))

    async def checksum(self, name: str) -> Checksum | None:
        """See the port."""
        sha256, steps = None, self._hash(place(self._root, name))
        try:
            while sha256 is None:
                sha256 = await self._run(partial(next, steps))
        except _NothingThereError:
            return None
        except _NotAFileError:
            return NOT_A_FILE
        return Checksum(sha256, VerifiedBy.READBACK)

    async def contents(self, name: str) -> AsyncGenerator[bytes, None]:
        """See the port."""
        there = place(self._root, name)
        blocks = self._blocks(there)
        try:
            while block := await self._run(partial(next, blocks, b"")):
                yield block
        except _NothingThereError as error:
            raise PermanentError(f"{there.path} is not there") from error
        except _NotAFileError as error:
            raise PermanentError(f"{there.path} is not a regular file") from error
        finally:
            await self._threads.run_at_last(self._root, partial(_end, blocks))

    async def flush(self, name: str) -> bool:
        """See the port. Always confirmed."""
        await self._flushes.ask(posixpath.dirname(name))
        return True

    async def is_same_file(self, name: str, identity: Identity) -> bool:
        """See the port: device and inode show it."""
        there = place(self._root, name)
        found = await self._run_small(partial(self._look_at, there))
        return found is not None and (found.st_dev, found.st_ino) == (identity.dev, identity.ino)

    @contextlib.asynccontextmanager
    async def upload(
        self, name: str, part_id: str, expected_bytes: int
    ) -> AsyncIterator[LocalUpload]:
        """See the port."""
        upload = LocalUpload(place(self._root, name), part_id, self._run)
        try:
            await self._run_small(partial(self._open_upload, upload, expected_bytes))
            yield upload
        finally:
            if not upload.published:
                await self._threads.run_at_last(self._root, upload.leave)

    async def discard_parts(self, name: str, part_ids: Collection[str]) -> None:
        """See the port."""
        there = place(self._root, name)
        parts = [there.part(each) for each in part_ids]
        await self._run_small(partial(self._remove, there, parts))

    async def names(self, directory: str) -> list[str]:
        """See the port."""
        return await self._run(partial(self._names, directory))

    async def remove_snapshot(self, name: str) -> None:
        """See the port."""
        there = snapshot_place(self._root, name)
        await self._run_small(partial(self._remove, there, [there.path]))

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

    async def _run(self, call: Callable[[], T]) -> T:
        return await self._answer(self._threads.run(self._root, call))

    async def _run_small(self, call: Callable[[], T]) -> T:
        """The same, for what takes no time unless it hangs."""
        return await self._answer(self._threads.run_small(self._root, call))

    async def _answer(self, answer: Awaitable[T]) -> T:
        try:
            return await answer
        except DoesNotAnswerError as error:
            raise DependencyDownError(
                Dependency.ARCHIVE,
                f"{self._root} does not answer",
                hint=f"look whether its disk hangs, or the server that it is mounted from:"
                f" findmnt -T {shlex.quote(self._root)}",
            ) from error

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
        found = self._look_at(there)
        if found is None:
            return None
        return found.st_size if stat.S_ISREG(found.st_mode) else -1

    def _look_at(self, there: Place) -> os.stat_result | None:
        with explaining("look at", there.path):
            try:
                with self._opened_root() as root:
                    return root.stat(there.name)
            except FileNotFoundError:
                return None

    def _open_upload(self, upload: LocalUpload, expected_bytes: int) -> None:
        with explaining("create", self._root):
            if not self._mark.is_expected:
                _make_directory(self._root)
            with self._opened_root() as root:
                upload.open(root, expected_bytes)

    def _hash(self, there: Place) -> Iterator[str | None]:
        """Yield None after each step, and the SHA-256 at last."""
        fd = self._open_to_read(there)
        try:
            with explaining("read", there.path):
                yield (yield from sha256_in_steps(fd))
        finally:
            os.close(fd)

    def _blocks(self, there: Place) -> Generator[bytes, None, None]:
        fd = self._open_to_read(there)
        try:
            with explaining("read", there.path):
                while block := os.read(fd, READ_BLOCK):
                    yield block
        finally:
            os.close(fd)

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

    def _names(self, directory: str) -> list[str]:
        with explaining("list", posixpath.join(self._root, directory)):
            try:
                with self._opened_root() as root, root.directory(directory) as opened:
                    return [entry.name for entry in opened.names()]
            except FileNotFoundError:
                return []

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
        return dict.fromkeys(await in_steps(self._run, self._flush_each(directories)))

    def _flush_each(self, directories: Collection[str]) -> Iterator[str]:
        with explaining("flush", self._root), self._opened_root() as root:
            for each in directories:
                with explaining("flush", f"{self._root}/{each}"), root.directory(each) as opened:
                    opened.flush()
                yield each


class _NothingThereError(Exception):
    """Nothing stands under the name."""


class _NotAFileError(Exception):
    """Something that is not a regular file stands under the name."""


def _end(reading: Generator[bytes, None, None]) -> None:
    with contextlib.suppress(ValueError):  # a call is at it still, and ends it
        reading.close()


def _make_directory(directory: str) -> None:
    """Make it and those above, each flushed into the one that holds it."""
    path = Path(directory)
    missing = [each for each in (path, *path.parents) if not each.exists()]
    path.mkdir(parents=True, exist_ok=True)
    for each in missing:
        with Directory(os.open(each.parent, OPEN_ROOT)) as above:
            above.flush()
