"""`check --probe` of Hive: log in, compare the tables, have a row staged and merged for real.

The production table itself is only looked at: what would be merged into it goes into a temporary
table of the session. A probe's id is like a batch's: a sweep finds what a kill leaves.
"""

from __future__ import annotations

import time
from contextlib import suppress
from io import BytesIO
from typing import TYPE_CHECKING

from backupd.core.clocks import compared
from backupd.core.dependencies import Dependency
from backupd.core.errors import BackupdError, DependencyDownError
from backupd.core.ports import Probe
from backupd.warehouse.columns import probe_row
from backupd.warehouse.hive.sql import (
    drop_probe,
    insert_probe,
    load_probe,
    make_probe,
    now_probe,
    select_probe,
)
from backupd.warehouse.parquet import encode, file_ids

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from backupd.core.rows import ProductionRow
    from backupd.warehouse.hive.connection import Connection
    from backupd.warehouse.hive.history_table import HistoryTable
    from backupd.warehouse.hive.merge_by_files import FilesMerge
    from backupd.warehouse.hive.merge_by_insert import InsertMerge
    from backupd.warehouse.hive.staging import BatchFolders

_FITS = "as the config wants it"


def probe_files(merge: FilesMerge) -> list[Probe]:
    """Try each thing that a batch needs; failures are reported in the answer. Blocks."""
    row = probe_row(time.time())
    tried = [
        _tried(f"warehouse {merge.production.sql.name}", _FITS, merge.check),
        _try_folder(merge.folders, merge.columns, row),
    ]
    if all(probe.ok for probe in tried):
        done = "a staged file was moved into a temporary table and read there"
        tried.append(_tried("Hive's LOAD DATA", done, lambda: _move(merge, row)))
    with suppress(BackupdError):
        merge.discard(row.batch_id)
    return [*tried, *_clock(merge.connection)]


def probe_insert(merge: InsertMerge) -> list[Probe]:
    """The same where rows are inserted from the staging table."""
    row = probe_row(time.time())
    tried = [
        _tried(f"warehouse {merge.production.sql.name}", _FITS, merge.check_production),
        _tried(f"staging table {merge.staging_sql.name}", _FITS, merge.check_staging),
        _try_folder(merge.folders, merge.columns, row),
    ]
    if all(probe.ok for probe in tried):
        done = "a row went into the staging table, and by a job into a temporary one"
        tried.append(_tried("Hive's LOAD DATA and INSERT", done, lambda: _insert(merge, row)))
        with suppress(BackupdError):
            merge.discard(row.batch_id)
    with suppress(BackupdError):
        merge.folders.discard(row.batch_id)
    return [*tried, *_clock(merge.connection)]


def probe_history(table: HistoryTable) -> list[Probe]:
    """Look whether stories could go there. Blocks."""
    return [_tried(f"history {table.sql.name}", _FITS, table.check)]


def _clock(connection: Connection) -> Iterator[Probe]:
    """Compare Hive's clock with ours, if Hive answers; if not, that was reported before."""
    with suppress(BackupdError):
        ((now,),) = connection.run(now_probe())
        yield compared("Hive's", float(now), time.time())


def _tried(subject: str, done: str, attempt: Callable[[], None]) -> Probe:
    try:
        attempt()
    except BackupdError as error:
        return Probe(subject, ok=False, detail=str(error), hint=error.hint)
    return Probe(subject, ok=True, detail=done)


def _try_folder(folders: BatchFolders, columns: Mapping[str, str], row: ProductionRow) -> Probe:
    staging = folders.staging
    done = f"written, read back, removed as user {staging.user}"
    return _tried(f"staging {staging.root}", done, lambda: _stage(folders, columns, row))


def _path(folders: BatchFolders, row: ProductionRow) -> str:
    return f"{folders.of(row.batch_id)}/probe/{row.batch_id}.parquet"


def _stage(folders: BatchFolders, columns: Mapping[str, str], row: ProductionRow) -> None:
    """Write, rename and read back as `load` does; what was written stays for `_move`."""
    path = _path(folders, row)
    folder = path.rpartition("/")[0]
    with folders.staging.files() as files:
        files.make_directory(folder)
        files.write(f"{path}.part", bytes(encode([row], columns, int96=True)))
        files.rename(f"{path}.part", path)
        found = list(file_ids(BytesIO(files.read(path)), columns["file_id"], path))
    _same(found, row)


def _move(merge: FilesMerge, row: ProductionRow) -> None:
    source = merge.folders.staging.for_hive(_path(merge.folders, row))
    _try_table(
        merge.connection, merge.columns["file_id"], row, lambda table: load_probe(table, source)
    )


def _insert(merge: InsertMerge, row: ProductionRow) -> None:
    column = merge.columns["file_id"]
    merge.load(row.batch_id, [row])
    _try_table(
        merge.connection,
        column,
        row,
        lambda table: insert_probe(table, merge.staging_sql, column, row.batch_id),
    )


def _try_table(
    connection: Connection, column: str, row: ProductionRow, fill: Callable[[str], str]
) -> None:
    """Bring the row into a temporary table by the statement that `fill` gives, and read it."""
    run, table = connection.run, f"backupd_probe_{row.batch_id}"
    run(make_probe(table, column))
    try:
        run(fill(table))
        found = [str(cells[0]) for cells in run(select_probe(table, column))]
    finally:
        run(drop_probe(table))
    _same(found, row)


def _same(found: list[str], row: ProductionRow) -> None:
    if found != [row.file_id]:
        raise DependencyDownError(Dependency.WAREHOUSE, "what was written is not what is read back")
