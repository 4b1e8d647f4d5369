"""`check --probe` of Hive: log in, compare the table, have a file moved for real."""

from __future__ import annotations

import time
from contextlib import suppress
from io import BytesIO
from typing import TYPE_CHECKING

from backupd.core.errors import BackupdError, DependencyDownError
from backupd.core.ports import Probe
from backupd.warehouse.hive_sql import drop_probe, load_probe, make_probe, select_probe
from backupd.warehouse.parquet import encode, file_ids
from backupd.warehouse.partitions import probe_row

if TYPE_CHECKING:
    from collections.abc import Callable

    from backupd.core.records import ProductionRow
    from backupd.warehouse.hive_files import FilesMerge


def probes(merge: FilesMerge) -> list[Probe]:
    """Try each thing that a batch needs; what failed is told in the answer. Blocks."""
    row = probe_row(time.time())
    tried = [
        _tried(f"warehouse {merge.sql.name}", "as the config wants it", merge.check),
        _tried(
            f"staging {merge.staging.root}",
            f"written, read back, removed as user {merge.staging.user}",
            lambda: _stage(merge, row),
        ),
    ]
    if all(probe.ok for probe in tried):
        done = "a staged file was moved into a temporary table and read there"
        tried.append(_tried("Hive's LOAD DATA", done, lambda: _move(merge, row)))
    with suppress(BackupdError):
        merge.discard(row.batch_id)  # its id is like a batch's: a sweep finds what a kill leaves
    return tried


def _tried(subject: str, done: str, attempt: Callable[[], None]) -> Probe:
    try:
        attempt()
    except BackupdError as error:
        return Probe(subject, ok=False, detail=str(error), hint=error.hint)
    return Probe(subject, ok=True, detail=done)


def _path(merge: FilesMerge, row: ProductionRow) -> str:
    return merge.staging.place(f"{row.batch_id}/probe/{row.batch_id}.parquet")


def _stage(merge: FilesMerge, row: ProductionRow) -> None:
    """Write, rename and read back as `load` does; what was written stays for `_move`."""
    path = _path(merge, row)
    folder = path.rpartition("/")[0]
    with merge.staging.files() as files:
        files.make_directory(folder)
        files.write(f"{path}.part", bytes(encode([row], merge.columns, int96=True)))
        files.rename(f"{path}.part", path)
        found = list(file_ids(BytesIO(files.read(path)), merge.columns["file_id"]))
    _same(found, row)


def _move(merge: FilesMerge, row: ProductionRow) -> None:
    run, table = merge.connection.run, f"backupd_probe_{row.batch_id}"
    run(make_probe(table, merge.columns["file_id"]))
    try:
        run(load_probe(table, merge.staging.for_hive(_path(merge, row))))
        found = [str(cells[0]) for cells in run(select_probe(table, merge.columns["file_id"]))]
    finally:
        run(drop_probe(table))
    _same(found, row)


def _same(found: list[str], row: ProductionRow) -> None:
    if found != [row.file_id]:
        raise DependencyDownError("warehouse", "what was written is not what is read back")
