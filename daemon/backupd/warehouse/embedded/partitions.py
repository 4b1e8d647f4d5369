"""The production table's partitions, each a directory below an open root, and what is in them.

A partition is opened once and its files by that directory: compaction puts another directory in its
place and leaves the files of this one where they are, so that whoever reads them comes to the end.
"""

from __future__ import annotations

import hashlib
import os
import stat
from collections import Counter, defaultdict
from contextlib import contextmanager
from functools import partial
from itertools import chain
from typing import TYPE_CHECKING

from backupd.core.errors import TransientError
from backupd.core.times import DATE_FORM
from backupd.warehouse.columns import PARTITION
from backupd.warehouse.compacted import FILE_FORM, id_in, is_compacted
from backupd.warehouse.parquet import file_ids

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
    from io import BufferedReader
    from pathlib import Path

    from backupd.core.ports import PlaceMemory
    from backupd.core.rows import ProductionRow, RowKey
    from backupd.localfs.directory import Directory

    _Files = dict[str, Callable[[], BufferedReader]]  # by their names

PRODUCTION = "production"


def is_ours(name: str) -> bool:
    """Return whether a file of this name is a batch's, or has the rows of others."""
    return FILE_FORM.fullmatch(name) is not None


class Partitions:
    """Reads the table. All methods are for the warehouse's thread, and raise OSError."""

    def __init__(self, path: Path, columns: Mapping[str, str]) -> None:
        """`path` is what messages call the root, `columns` maps our names to the table's."""
        self._path = path
        self._column = columns["file_id"]
        self._prefix = f"{columns[PARTITION]}="

    def name(self, date: str) -> str:
        """Return the name of a date's directory."""
        return f"{self._prefix}{date}"

    def found(
        self, root: Directory, keys: Iterable[RowKey], memory: PlaceMemory | None = None
    ) -> frozenset[str]:
        """Return the ids that have a row; with a `memory`, in files of whose rows it lacks some."""
        wanted: dict[str, list[RowKey]] = defaultdict(list)
        for key in keys:
            wanted[key.file_date].append(key)
        parts = (self._found_at(root, date, of_date, memory) for date, of_date in wanted.items())
        return frozenset(chain.from_iterable(parts))

    def compacted(self, root: Directory, date: str, rows: Sequence[ProductionRow]) -> Counter[str]:
        """Count the rows that are in a file made of others: their batch must not make them again.

        This batch's own file may be one of those others: it was merged by a try that came to no
        end, or by a ledger that was put back to what it was before.
        """
        wanted = {row.file_id for row in rows}
        with self._opened(root, date) as files:
            found = self._ids_in(files, date, filter(is_compacted, files))
            return Counter(file_id for file_id in found if file_id in wanted)

    def all_ids(self, root: Directory, date: str) -> Iterator[str]:
        """Yield the id of every row of a date."""
        with self._opened(root, date) as files:
            yield from self._ids_in(files, date, files)

    def ids(self, root: Directory, name: str) -> Iterator[str]:
        """Yield the ids of one file, staged or in production."""
        with os.fdopen(root.open(name), "rb") as file:
            yield from file_ids(file, self._column, f"{self._path}/{name}")

    def sums(self, root: Directory, date: str) -> Iterator[tuple[str, str]]:
        """Yield the name below production and the SHA-256 of each Parquet file of a date."""
        with self._opened(root, date) as files:
            for name, opened in files.items():
                with opened() as file:
                    sha256 = hashlib.file_digest(file, "sha256").hexdigest()
                yield f"{self.name(date)}/{name}", sha256

    def crowded(self, root: Directory, before: str) -> list[str]:
        """Return the dates before this one whose partition has more than one file.

        Also those where something else than a directory stands.
        """
        with root.directory(PRODUCTION) as production:
            names = sorted(entry.name for entry in production.names())
            dates = [name.removeprefix(self._prefix) for name in names if self._prefix in name]
            past = [date for date in dates if DATE_FORM.fullmatch(date) and date < before]
            return [date for date in past if not _is_compact(production, self.name(date))]

    def _found_at(
        self, root: Directory, date: str, keys: Sequence[RowKey], memory: PlaceMemory | None
    ) -> set[str]:
        missing, found = {key.file_id for key in keys}, set[str]()
        with self._opened(root, date) as files:
            for name in _likely_first(self._unknown(date, files, memory), keys):
                if not missing:
                    break
                if memory and self._is_strange(files, date, name):
                    continue
                there = missing.intersection(self._ids_in(files, date, [name]))
                missing -= there
                found |= there
        return found

    def _is_strange(self, files: _Files, date: str, name: str) -> bool:
        """Return whether a file has no name of ours and cannot be read: there is no row in it."""
        if is_ours(name):
            return False
        try:
            for _ in self._ids_in(files, date, [name]):
                return False
        except TransientError:
            return True
        return False

    def _unknown(self, date: str, names: Iterable[str], memory: PlaceMemory | None) -> list[str]:
        """Return the names of files of whose rows a memory lacks some; all where there is none.

        A file that comes again after its row's file was forgotten is like one of another daemon.
        """
        if memory is None:
            return list(names)
        inside = {name: f"{self.name(date)}/{name}" for name in names}
        known, since = memory.known_files(inside.values()), memory.complete_since()
        return [name for name in inside if inside[name] not in known or id_in(name) < since]

    def _ids_in(self, files: _Files, date: str, names: Iterable[str]) -> Iterator[str]:
        for name in names:
            with files[name]() as file:
                path = f"{self._path}/{PRODUCTION}/{self.name(date)}/{name}"
                yield from file_ids(file, self._column, path)

    @contextmanager
    def _opened(self, root: Directory, date: str) -> Iterator[_Files]:
        """Open a date's directory; yield what opens each Parquet file, the oldest batch's first."""
        with root.directory(PRODUCTION) as production:
            if production.find(self.name(date)) is None:
                yield {}
                return
            with production.directory(self.name(date)) as partition:
                names = sorted(entry.name for entry in partition.names())
                parquet = [name for name in names if name.endswith(".parquet")]
                yield {name: partial(_opened, partition, name) for name in parquet}


def _opened(directory: Directory, name: str) -> BufferedReader:
    return os.fdopen(directory.open(name), "rb")


def _likely_first(names: Iterable[str], keys: Iterable[RowKey]) -> list[str]:
    """Put those files first that the batches of these keys have made."""
    likely = {f"{key.batch_id}.parquet" for key in keys}
    return sorted(names, key=lambda name: name not in likely)


def _is_compact(production: Directory, name: str) -> bool:
    if not stat.S_ISDIR(production.stat(name).st_mode):
        return False
    with production.directory(name) as partition:
        return len(list(partition.names())) <= 1
