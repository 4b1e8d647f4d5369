"""Merge "insert": a manifest for the staging table, and INSERT ... SELECT from there.

    <staging>/<batch id>/<batch id>.parquet      the manifest: every row of the batch
    staging table, partition of the batch        the same, by LOAD DATA ... OVERWRITE
    production table                             by INSERT, those whose file ids are not there

Two INSERTs of one batch at the same time would both find nothing and double its rows. So there is
one at a time: what the server knows it by is remembered before it is sent, and no other one is
begun until the server was asked, and has ended or forgotten it. Then rows are looked for, the
missing ones inserted, and all of them counted.
"""

from __future__ import annotations

from collections import Counter
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING

from backupd.core.dependencies import Dependency
from backupd.core.errors import BackupdError, DependencyDownError, RewindError
from backupd.core.stages import Stage
from backupd.warehouse.columns import STAGING_PARTITION, by_date
from backupd.warehouse.hive.rows import keys_of
from backupd.warehouse.hive.sql import insert_missing, is_id
from backupd.warehouse.hive.table import (
    describe,
    not_shared,
    unfit_for_insert,
    unfit_for_staging,
    unlike,
)
from backupd.warehouse.parquet import encode

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence

    from backupd.core.rows import ProductionRow
    from backupd.warehouse.hive.batch_statements import BatchStatements
    from backupd.warehouse.hive.connection import Connection
    from backupd.warehouse.hive.rows import HiveRows
    from backupd.warehouse.hive.sql import StagingSql
    from backupd.warehouse.hive.staging import BatchFolders

_DDL = "`backupd check --ddl` prints the tables that this config wants"


@dataclass(frozen=True, slots=True)
class InsertMerge:
    """The tables by `sql` and `staging_sql`, whose columns are called as `columns` says. Blocks."""

    execution: BatchStatements
    folders: BatchFolders
    production: HiveRows
    staging_sql: StagingSql
    columns: Mapping[str, str]
    settings: Mapping[str, str]

    def load(self, batch_id: str, rows: Sequence[ProductionRow]) -> str:
        """Put the batch's rows into its partition of the staging table."""
        by_date(rows)
        content = bytes(encode(rows, self.columns, partition=STAGING_PARTITION, int96=True))
        self.check()
        self._upload(batch_id, content)
        try:
            self._run(batch_id, self.staging_sql.add_partition(batch_id))
            self._run(batch_id, self._load_sql(batch_id))
        except DependencyDownError:
            # It may have worked all the same; what lies there is this batch's, whichever try's.
            if self._staged(batch_id) != Counter(row.file_id for row in rows):
                raise
        self.folders.discard(batch_id)
        return f"{self.staging_sql.name}, {self.staging_sql.of(batch_id)}"

    def merge(self, batch_id: str, rows: Sequence[ProductionRow]) -> Counter[str]:
        """Insert the rows that are not in production, count them all, clear the partition."""
        keys = keys_of(rows)
        seen = self.production.count(keys)
        if {row.file_id for row in rows} - seen.keys():
            self.execution.settle()
            seen = self.production.count(keys)
        if missing := {row.file_id for row in rows} - seen.keys():
            staged = self._staged(batch_id)
            if lacking := [file_id for file_id in missing if staged[file_id] != 1]:
                message = f"batch {batch_id} is neither staged nor merged: {len(lacking)} rows lack"
                raise RewindError(Stage.LOAD, message)
            self.execution.run_alone(batch_id, self._insert_sql(batch_id, rows))
            seen = self.production.count(keys)
        with suppress(BackupdError):  # another statement may have it locked: the sweep takes it
            self._run(batch_id, self.staging_sql.drop(batch_id))
        return seen

    def moved(self, date: str) -> None:
        """Do nothing: it is Hive that knows where a partition lies."""

    def discard(self, batch_id: str) -> None:
        """Remove what is staged."""
        self.folders.discard(batch_id)
        self.connection.run(self.staging_sql.drop(batch_id))

    def sweep(self, live: Collection[str]) -> list[str]:
        """Remove folders and partitions of batches that are not `live`."""
        swept = self.folders.sweep(live)
        for (name,) in self.connection.run(self.staging_sql.batches()):
            batch_id = str(name).partition("=")[2]
            if is_id(batch_id) and batch_id not in live:
                self.connection.run(self.staging_sql.drop(batch_id))
                swept.append(f"{self.staging_sql.name}, {self.staging_sql.of(batch_id)}")
        return swept

    def statements(self, batch_id: str, rows: Sequence[ProductionRow]) -> list[str]:
        """Return what load and merge of this batch run, after the settings of their session."""
        if not rows:
            return []
        settings = [f"SET {name}={value}" for name, value in self.settings.items()]
        add, load = self.staging_sql.add_partition(batch_id), self._load_sql(batch_id)
        drop = self.staging_sql.drop(batch_id)
        return [*settings, add, load, self._insert_sql(batch_id, rows), drop]

    def check(self) -> None:
        """Raise DependencyDownError unless both tables can take our rows."""
        self.check_production()
        self.check_staging()

    def check_production(self) -> None:
        """Raise DependencyDownError unless the production table can."""
        found = describe(self.connection.run(self.production.sql.describe()))
        reasons = [*unfit_for_insert(found), *unlike(found, self.columns)]
        _refuse(self.production.sql.name, reasons)

    def check_staging(self) -> None:
        """Raise DependencyDownError unless the staging table can."""
        found = describe(self.connection.run(self.staging_sql.describe()))
        reasons = [
            *unfit_for_staging(found),
            *not_shared(found, self.folders.staging),
            *unlike(found, self.columns, STAGING_PARTITION),
        ]
        _refuse(self.staging_sql.name, reasons)

    # ------------------------------------------------------------------ steps

    @property
    def connection(self) -> Connection:
        """What runs the statements."""
        return self.production.connection

    def _run(self, batch_id: str, text: str) -> None:
        self.execution.run(batch_id, text)

    def _upload(self, batch_id: str, content: bytes) -> None:
        folder = self.folders.of(batch_id)
        with self.folders.staging.files() as files:
            files.remove(folder)
            part = self.folders.part(files, batch_id, {f"{batch_id}.parquet": content})
            files.rename(part, folder)

    def _staged(self, batch_id: str) -> Counter[str]:
        query = self.staging_sql.select_ids(self.columns["file_id"], batch_id)
        return Counter(str(row[0]) for row in self.connection.run(query))

    def _load_sql(self, batch_id: str) -> str:
        source = f"{self.folders.of(batch_id)}/{batch_id}.parquet"
        return self.staging_sql.load(self.folders.staging.for_hive(source), batch_id)

    def _insert_sql(self, batch_id: str, rows: Sequence[ProductionRow]) -> str:
        dates = by_date(rows)
        return insert_missing(self.production.sql, self.staging_sql, self.columns, batch_id, dates)


def _refuse(name: str, reasons: Sequence[str]) -> None:
    if reasons:
        message = f"the table {name} does not fit: {'; '.join(reasons)}"
        raise DependencyDownError(Dependency.WAREHOUSE, message, hint=_DDL)
