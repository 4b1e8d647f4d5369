"""Merge "files": a Parquet file a date, made here, moved into its partition by LOAD DATA.

`partition_files` has each file there once. Another daemon may have registered the same backup file,
though. Where a partition has files that no batch of this ledger made, its rows are looked for
before a file is moved there, and counted afterwards if others came meanwhile.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from io import BytesIO
from typing import TYPE_CHECKING

from backupd.core.dependencies import Dependency
from backupd.core.errors import DependencyDownError, RewindError
from backupd.core.stages import Stage
from backupd.warehouse.columns import by_date
from backupd.warehouse.hive.rows import keys_of
from backupd.warehouse.hive.sql import is_id
from backupd.warehouse.hive.table import describe, not_shared, unfit_for_files, unlike
from backupd.warehouse.parquet import encode, file_ids

if TYPE_CHECKING:
    from collections.abc import Collection, Container, Iterable, Iterator, Mapping, Sequence

    from backupd.core.rows import ProductionRow
    from backupd.warehouse.hive.batch_statements import BatchStatements
    from backupd.warehouse.hive.connection import Connection
    from backupd.warehouse.hive.partition_files import PartitionFiles
    from backupd.warehouse.hive.rows import HiveRows
    from backupd.warehouse.hive.sql import TableSql
    from backupd.warehouse.hive.staging import BatchFolders, Files, Staging


@dataclass(frozen=True, slots=True)
class FilesMerge:
    """The production table, whose columns are called as `columns` says. Blocks."""

    execution: BatchStatements
    partition_files: PartitionFiles
    production: HiveRows
    columns: Mapping[str, str]
    located: dict[str, dict[str, str]] = field(default_factory=dict)  # by load, for the next merge

    def load(self, batch_id: str, rows: Sequence[ProductionRow]) -> str:
        """Put the batch's files into the staging folder, those that are not in production."""
        contents = {
            date: bytes(encode(those, self.columns, int96=True))
            for date, those in by_date(rows).items()
        }
        self.check()
        self.located[batch_id] = self.partition_files.stage(batch_id, contents)
        return self.folders.of(batch_id)

    def merge(self, batch_id: str, rows: Sequence[ProductionRow]) -> Counter[str]:
        """Have what is staged moved into production, read it back, clear the staging folder."""
        self.execution.settle()  # an INSERT, from when the config had the other merge
        dates = by_date(rows)
        self.partition_files.add_partitions(batch_id, dates)
        targets = self.located.pop(batch_id, None)
        if targets is None or targets.keys() != dates.keys():
            targets = self.partition_files.targets(batch_id, dates)
        with self._staging.files() as files:
            others = self._of_others(files, targets)
            if others:
                self._refuse_registered(files, batch_id, targets, rows)
            failure = self.partition_files.move(files, batch_id, targets)
            seen = Counter(self._ids_in(files, targets.values()))
            if self._of_others(files, targets) - others or _lacking(rows, seen):
                seen = self.production.count(keys_of(rows))
            if lacking := _lacking(rows, seen):
                raise failure or _nowhere(batch_id, lacking)
            self.partition_files.clear(files, batch_id, targets)
        return seen

    def moved(self, date: str) -> None:
        """Forget where this date's files belong: its partition lies elsewhere now."""
        for batch_id, targets in list(self.located.items()):
            if date in targets:
                del self.located[batch_id]

    def discard(self, batch_id: str) -> None:
        """Remove what is staged."""
        self.located.pop(batch_id, None)
        self.folders.discard(batch_id)

    def sweep(self, live: Collection[str]) -> list[str]:
        """Remove what batches that are not `live` left in the staging folder."""
        return self.folders.sweep(live)

    def statements(self, batch_id: str, rows: Sequence[ProductionRow]) -> list[str]:
        """Return what a merge of this batch runs."""
        dates = sorted(by_date(rows))
        if not dates:
            return []
        return [
            self._sql.add_partitions(dates),
            *(self.partition_files.load_sql(batch_id, date) for date in dates),
        ]

    def check(self) -> None:
        """Raise DependencyDownError unless the table can take our files."""
        found = describe(self.connection.run(self._sql.describe()))
        unfit = [*unfit_for_files(found), *not_shared(found, self._staging)]
        if reasons := [*unfit, *unlike(found, self.columns)]:
            hint = "`backupd check --ddl` prints the table that this config wants"
            if unfit:
                hint += '; warehouse.hive.merge = "insert" takes tables of any format'
            message = f"the table {self._sql.name} does not fit: {'; '.join(reasons)}"
            raise DependencyDownError(Dependency.WAREHOUSE, message, hint=hint)

    # ------------------------------------------------------------------ source and target

    @property
    def _sql(self) -> TableSql:
        return self.production.sql

    @property
    def connection(self) -> Connection:
        """What runs the statements."""
        return self.execution.connection

    @property
    def folders(self) -> BatchFolders:
        """Where batches are staged."""
        return self.partition_files.folders

    @property
    def _staging(self) -> Staging:
        return self.folders.staging

    def _of_others(self, files: Files, targets: Mapping[str, str]) -> set[str]:
        """Return the files in these partitions that may have rows which this ledger does not know.

        No batch of it made them, or files of the batch may have been forgotten.
        """
        folders = [target.rpartition("/")[0] for target in targets.values()]
        found = {f"{folder}/{name}": name for folder in folders for name in files.names(folder)}
        batch_ids = {path: name.removesuffix(".parquet") for path, name in found.items()}
        log = self.execution.log
        ours = log.known_batches(list(filter(is_id, batch_ids.values())))
        since = log.complete_since()
        return {path for path, id_ in batch_ids.items() if id_ not in ours or id_ < since}

    def _refuse_registered(
        self,
        files: Files,
        batch_id: str,
        targets: Mapping[str, str],
        rows: Iterable[ProductionRow],
    ) -> None:
        """Raise RewindError to load, which leaves them out, where staged rows are there by now."""
        unmoved = {date for date, target in targets.items() if not files.exists(target)}
        there = self.production.count(keys_of(row for row in rows if row.file_date in unmoved))
        sources = (self.partition_files.source(batch_id, date) for date in unmoved) if there else ()
        if again := there.keys() & set(self._ids_in(files, sources)):
            message = (
                f"{len(again)} rows of batch {batch_id} were made by another backupd meanwhile"
            )
            raise RewindError(Stage.LOAD, message)

    def _ids_in(self, files: Files, targets: Iterable[str]) -> Iterator[str]:
        """Yield the ids in those of the files that are there."""
        for path in filter(files.exists, targets):
            yield from file_ids(BytesIO(files.read(path)), self.columns["file_id"], path)


def _lacking(rows: Iterable[ProductionRow], seen: Container[str]) -> list[str]:
    """Return the dates of those that were not seen."""
    return sorted({row.file_date for row in rows if row.file_id not in seen})


def _nowhere(batch_id: str, dates: Sequence[str]) -> RewindError:
    message = f"batch {batch_id} is neither staged nor merged: {', '.join(dates)}"
    return RewindError(Stage.LOAD, message)
