"""Compaction: the rows of a partition's many files go into one.

    <root>/replaced/<id>/file_date=YYYY-MM-DD/compacted-<id>.parquet

There the new file is written, flushed, and compared with the old ones row by row. Then its
directory and the partition's change places, in one step: whoever lists the partition, and opens
what it has listed, sees the old files or the new one. The old ones stay below `replaced` for a day.
A process that is killed leaves only copies there, whether before that step or after it.
"""

from __future__ import annotations

import errno
import hashlib
import os
import stat
import time
from collections.abc import Generator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from backupd.core.errors import TransientError
from backupd.core.names import escaped
from backupd.core.records import ID_FORM, Identity, first_id, new_id
from backupd.core.rows import Compaction
from backupd.localfs.directory import CREATE, NOTHING_THERE
from backupd.localfs.likeness import make_alike
from backupd.warehouse.compacted import LeftAloneError, compacted_name, is_compacted
from backupd.warehouse.embedded.partitions import PRODUCTION, is_ours
from backupd.warehouse.embedded.roots import exchange, remove_tree, sorted_names
from backupd.warehouse.parquet import all_rows, compare_rows, schema_of, write_rows

if TYPE_CHECKING:
    from collections.abc import Iterator
    from io import BufferedReader

    import pyarrow as pa

    from backupd.core.ports import PlaceMemory
    from backupd.localfs.directory import Directory

Steps = Generator[object, None, Compaction]

REPLACED = "replaced"
KEPT_FOR = 86_400.0  # seconds
_TURN = 0.1  # seconds: so long a merge waits
_TRIES = 3
_NO_EXCHANGE = {errno.EINVAL, errno.ENOSYS}


class _ChangedError(Exception):
    """A batch came into the partition meanwhile."""


def advance(steps: Steps) -> Compaction | None:
    """Work on for a moment; return what became of the partition once that is known."""
    until = time.monotonic() + _TURN
    try:
        next(steps)
        while time.monotonic() < until:
            next(steps)
    except StopIteration as end:
        outcome: Compaction = end.value
        return outcome
    return None


def compact(root: Directory, partition: str, date: str, memory: PlaceMemory) -> Steps:
    """Compact a partition, a small step at a time. Stopped half-way, it is as it was."""
    remove_replaced(root, time.time())
    files = 0
    try:
        with _opened(root, partition) as old:
            files = len(list(old.names()))
            for _ in range(_TRIES):
                try:
                    return (yield from _Work(root, old, partition, memory).steps(date))
                except _ChangedError:
                    continue
        reason = "batches of this date come in all the time: try again later"
    except (LeftAloneError, TransientError) as error:
        reason = str(error)
    return Compaction(date=date, files_before=files, files_after=files, left=reason)


def remove_replaced(root: Directory, now: float) -> list[str]:
    """Remove what was replaced a day ago, and what a kill left then; return what was removed."""
    past = first_id(now - KEPT_FOR)
    names = [name for name in sorted_names(root, REPLACED) if ID_FORM.fullmatch(name)]
    old = [name for name in names if name < past]
    for name in old:
        with root.directory(REPLACED) as replaced:
            remove_tree(replaced, name)
    return [f"{REPLACED}/{name}" for name in old]


class _Work:
    """From the files of an open partition to the one that takes their place."""

    def __init__(
        self, root: Directory, old: Directory, partition: str, memory: PlaceMemory
    ) -> None:
        self._root = root
        self._old = old
        self._partition = partition
        self._memory = memory
        self._found = _look(old)
        self._id = new_id(time.time())
        self._place = f"{REPLACED}/{self._id}"
        self._name = compacted_name(self._id)
        self._schema: pa.Schema | None = None

    def steps(self, date: str) -> Steps:
        """Do it. Raises _ChangedError, LeftAloneError, or TransientError of unreadable Parquet."""
        count = len(self._found)
        if count <= 1:
            return Compaction(date=date, files_before=count, files_after=count)
        try:
            with self._root.make(f"{self._place}/{self._partition}") as new:
                rows = yield from self._write(new)
                yield from self._compare(new)
                size, sha256 = _size_and_sum(new, self._name)
            self._demand_unchanged(PRODUCTION)
            self._memory.remember_files({self._known_as(self._name): sha256})
            self._exchange()
        except BaseException:
            with self._root.directory(REPLACED) as replaced:
                remove_tree(replaced, self._id)
            raise
        self._complete()
        return Compaction(date=date, files_before=count, files_after=1, rows=rows, size_bytes=size)

    # -- the new file ----------------------------------------------------------------------------

    def _write(self, new: Directory) -> Generator[object, None, int]:
        """Write the rows of all files, in their order; return how many there are."""
        sums = self._memory.known_files([self._known_as(name) for name in self._found])
        rows = 0
        with self._open(next(iter(self._found))) as first:
            self._schema = schema_of(first, self._partition)
            with os.fdopen(new.open(self._name, CREATE), "wb") as file:
                for count in write_rows(file, self._schema, self._rows(sums)):
                    rows += count
                    yield count
                file.flush()
                self._make_alike(file.fileno(), first.fileno())
                os.fsync(file.fileno())
        self._make_alike(new.descriptor, self._old.descriptor)
        new.flush()
        return rows

    def _compare(self, new: Directory) -> Generator[object, None, None]:
        """Raise LeftAloneError unless the new file has just the rows of the old ones."""
        with os.fdopen(new.open(self._name), "rb") as file:
            written = all_rows(file, self._name)
            if not (yield from compare_rows(self._rows(), written)):
                raise LeftAloneError("what was written is not what is read back")

    def _rows(self, sums: dict[str, str] | None = None) -> Iterator[pa.RecordBatch]:
        """Yield the rows of each file; with `sums`, if it is the file that was written."""
        for name in self._found:
            with self._open(name) as file:
                if sums is not None:
                    self._verify(name, file, sums)
                yield from all_rows(file, self._known_as(name))

    def _verify(self, name: str, file: BufferedReader, sums: dict[str, str]) -> None:
        if (written := sums.get(self._known_as(name))) is None:
            raise LeftAloneError(f"{name} is not known to the ledger")
        if hashlib.file_digest(file, "sha256").hexdigest() != written:
            raise LeftAloneError(f"{name} is not as it was written")
        if not schema_of(file, name).equals(self._schema):
            raise LeftAloneError(f"{name} has other columns than {next(iter(self._found))}")
        file.seek(0)

    def _open(self, name: str) -> BufferedReader:
        return os.fdopen(self._old.open(name), "rb")

    def _known_as(self, name: str) -> str:
        return f"{self._partition}/{name}"

    def _make_alike(self, made: int, model: int) -> None:
        try:
            make_alike(made, model)
        except PermissionError as error:
            message = f"its permissions cannot be given to what is made: {error.strerror}"
            raise LeftAloneError(message) from error

    # -- the switch ------------------------------------------------------------------------------

    def _complete(self) -> None:
        """Have the exchange on the disk; take it back if somebody wrote there just before it."""
        try:
            self._demand_unchanged(self._place)
        except BaseException:
            self._exchange()
            self._flush()
            raise
        self._flush()
        self._memory.forget_files([self._known_as(name) for name in self._found])

    def _demand_unchanged(self, place: str) -> None:
        """Raise _ChangedError where the old partition is not there just as its files were read."""
        is_there = self._root.stat(f"{place}/{self._partition}")
        if not os.path.samestat(is_there, self._old.stat()) or _look(self._old) != self._found:
            raise _ChangedError

    def _exchange(self) -> None:
        """Let the new partition and the old one change places. Raises LeftAloneError, OSError."""
        with self._both() as (production, place):
            try:
                exchange(production, place, self._partition)
            except OSError as error:
                if error.errno not in _NO_EXCHANGE:
                    raise
                message = "its file system cannot let two directories change places in one step"
                raise LeftAloneError(message) from error

    def _flush(self) -> None:
        with self._both() as both:
            for each in both:
                each.flush()

    @contextmanager
    def _both(self) -> Iterator[tuple[Directory, Directory]]:
        """Open what holds the partition, and what holds the one to change places with."""
        with self._root.directory(PRODUCTION) as one, self._root.directory(self._place) as other:
            yield one, other


def _opened(root: Directory, partition: str) -> Directory:
    """Open a partition that this user may replace."""
    try:
        found = root.directory(f"{PRODUCTION}/{partition}")
    except OSError as error:
        if error.errno not in NOTHING_THERE:
            raise
        raise LeftAloneError("it is not a directory") from error
    owner = found.stat().st_uid
    if owner != os.geteuid():
        found.close()
        raise LeftAloneError(f"it belongs to user {owner}, who alone can compact it")
    return found


def _look(partition: Directory) -> dict[str, Identity]:
    """Return all files, in the order in which their rows came. Raises LeftAloneError."""
    found = {}
    for name in (entry.name for entry in partition.names()):
        about = partition.stat(name)
        if not is_ours(name) or not stat.S_ISREG(about.st_mode):
            raise LeftAloneError(f"{escaped(name)} is not a file that backupd makes")
        found[name] = Identity.of(about)
    return dict(sorted(found.items(), key=lambda item: (not is_compacted(item[0]), item[0])))


def _size_and_sum(directory: Directory, name: str) -> tuple[int, str]:
    with os.fdopen(directory.open(name), "rb") as file:
        return os.fstat(file.fileno()).st_size, hashlib.file_digest(file, "sha256").hexdigest()
