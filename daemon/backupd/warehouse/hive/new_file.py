"""The one file with the rows of a partition's many, in a table of its own. Blocks.

Merge "files": the rows are read here, written, and compared row by row. Merge "insert": Hive reads,
writes and compares them, because only it knows how it wrote its timestamps.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from io import BytesIO
from typing import TYPE_CHECKING

from backupd.core.errors import TransientError, UnknownOutcomeError
from backupd.warehouse.columns import in_file
from backupd.warehouse.compacted import LeftAloneError, compacted_name
from backupd.warehouse.hive.sql import (
    copy_rows,
    count_by_batch,
    count_differences,
    drop,
    make_beside,
)
from backupd.warehouse.hive.table import path_of
from backupd.warehouse.parquet import all_rows, compare_rows, schema_of, write_rows

if TYPE_CHECKING:
    import threading
    from collections.abc import Iterator, Mapping

    import pyarrow as pa

    from backupd.core.compacting import Replacement
    from backupd.warehouse.hive.partition_dirs import Partition, PartitionDirs
    from backupd.warehouse.hive.sql import TableSql
    from backupd.warehouse.hive.staging import BatchFolders, Files


@dataclass(frozen=True, slots=True)
class NewFile:
    """Makes new files: `maker.fill` has the partition's rows written into another table, as one.

    It returns how many, and raises LeftAloneError where they cannot be there, or are not the same.
    """

    dirs: PartitionDirs
    maker: MadeHere | MadeByHive

    def make(self, beside: TableSql, replacement: Replacement, old: Partition) -> tuple[int, int]:
        """Return how many rows and bytes it has. Raises LeftAloneError.

        The table is gone again then, and the file is seen where it is.
        """
        run, date = self.dirs.connection.run, old.date
        parent = replacement.new.rpartition("/")[0]
        run(make_beside(beside.name, self.dirs.sql, parent))
        run(beside.add_partitions([date]))
        rows = self.maker.fill(beside, replacement, old)
        self._demand_same_ids(beside, date, rows)
        made = self._only(replacement)
        run(drop(beside.name))
        if self._only(replacement) != made:
            raise LeftAloneError("the new file went with the table that it was made in")
        return rows, made

    def _demand_same_ids(self, beside: TableSql, date: str, rows: int) -> None:
        """Have Hive read both: what it does not read at its place must not become production."""
        column = self.dirs.columns["file_id"]
        ids = [
            Counter(str(row[0]) for row in self.dirs.connection.run(table.select_ids(column, date)))
            for table in (self.dirs.sql, beside)
        ]
        if ids[0] != ids[1] or ids[0].total() != rows:
            raise LeftAloneError(
                f"Hive reads {ids[0].total():,} rows in it and {ids[1].total():,} in the new file,"
                f" which has {rows:,}"
            )

    def _only(self, replacement: Replacement) -> int:
        """Return the size of the one file in the new directory."""
        there = list(self.dirs.entries(replacement.new).values())
        if len(there) != 1 or not there[0].is_file:
            raise LeftAloneError(f"{len(there)} files were made in place of one")
        return there[0].size


@dataclass(frozen=True, slots=True)
class MadeHere:
    """Merge "files": Parquet in, Parquet out; `gave_up` ends it between two files."""

    dirs: PartitionDirs
    folders: BatchFolders
    gave_up: threading.Event

    def fill(self, beside: TableSql, replacement: Replacement, old: Partition) -> int:
        """Write the file, have it moved there by LOAD DATA, compare what is read back."""
        name = compacted_name(replacement.id)
        with self.folders.staging.files() as files:
            contents = {each: self._read(files, f"{old.path}/{each}") for each in sorted(old.files)}
            try:
                rows, content = self._written(contents)
            except TransientError as error:
                raise LeftAloneError(str(error)) from error
            part = self.folders.part(files, replacement.id, {name: content})
            try:
                source = self.folders.staging.for_hive(f"{part}/{name}")
                self.dirs.connection.run(beside.load(source, old.date))
            finally:
                files.remove(part)
            written = files.read(f"{path_of(replacement.new)}/{name}")
        if not _have_same_rows(contents, {name: written}):
            raise LeftAloneError("what was written is not what is read back")
        return rows

    def _read(self, files: Files, path: str) -> bytes:
        if self.gave_up.is_set():
            raise UnknownOutcomeError("backupd stops")
        return files.read(path)

    def _written(self, contents: Mapping[str, bytes]) -> tuple[int, bytes]:
        """Return how many rows there are, and the file with all of them."""
        schemas = {name: schema_of(BytesIO(content), name) for name, content in contents.items()}
        first, wanted = next(iter(schemas.items()))
        if wanted.names != list(in_file(self.dirs.columns).values()):
            raise LeftAloneError(f"{first} has other columns than the table")
        if others := [name for name, schema in schemas.items() if not schema.equals(wanted)]:
            raise LeftAloneError(f"{others[0]} has other columns than {first}")
        target = BytesIO()
        rows = sum(write_rows(target, wanted, _rows_of(contents), int96=True))
        return rows, target.getvalue()


def _rows_of(contents: Mapping[str, bytes]) -> Iterator[pa.RecordBatch]:
    """Yield the rows of all files, in their order."""
    for name, content in contents.items():
        yield from all_rows(BytesIO(content), name)


def _have_same_rows(contents: Mapping[str, bytes], others: Mapping[str, bytes]) -> bool:
    comparison = compare_rows(_rows_of(contents), _rows_of(others))
    while True:
        try:
            next(comparison)
        except StopIteration as end:
            return bool(end.value)


@dataclass(frozen=True, slots=True)
class MadeByHive:
    """Merge "insert"."""

    dirs: PartitionDirs

    def fill(self, beside: TableSql, replacement: Replacement, old: Partition) -> int:  # noqa: ARG002 - as `MadeHere`
        """Have Hive copy the rows, and count what differs."""
        dirs, run = self.dirs, self.dirs.connection.run
        by_batch = run(count_by_batch(dirs.sql, dirs.columns["batch_id"], old.date))
        made_by = [str(row[0]) for row in by_batch]
        if others := set(made_by) - dirs.log.known_batches(made_by):
            raise LeftAloneError(f"batch {min(others)} in it is not one of this backupd's")
        run(copy_rows(dirs.sql, beside, dirs.columns, old.date))
        ((differing,),) = run(count_differences(dirs.sql, beside, dirs.columns, old.date))
        if int(differing):
            raise LeftAloneError(f"{differing} rows of the new file are not those of the old ones")
        return sum(int(row[1]) for row in by_batch)
