"""What compaction in Hive leaves as it is: all that is not ours, or not understood."""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING

import pytest
from pyarrow import parquet as pq

from backupd.core.records import new_id
from backupd.warehouse.hive import partition_dirs
from backupd.warehouse.hive.replaced_dirs import ReplacementMemory
from support.hive_compaction import (
    DATE,
    each_once,
    files_of,
    left_tables,
    open_one,
    production,
    read_rows,
    some_batches,
    usual_place,
)
from support.rows import NOON

if TYPE_CHECKING:
    from pathlib import Path

    from backupd.core.rows import ProductionRow
    from backupd.warehouse.hive.warehouse import HiveWarehouse
    from support.hive_server import HiveServer


def a_note(place: Path) -> None:
    (place / "notes.txt").write_text("mine")


def a_hidden_file(place: Path) -> None:
    (place / ".hive-staging_1").write_text("mine")


def a_directory(place: Path) -> None:
    (place / "more").mkdir()


def a_rivals_batch(place: Path) -> None:
    shutil.copy(next(place.iterdir()), place / f"{new_id(NOON)}.parquet")


def an_unknown_compacted_file(place: Path) -> None:
    shutil.copy(next(place.iterdir()), place / f"compacted-{new_id(NOON)}.parquet")


FOREIGN = [a_note, a_hidden_file, a_directory, a_rivals_batch, an_unknown_compacted_file]


@pytest.mark.parametrize("put", FOREIGN, ids=lambda each: each.__name__)
async def test_a_date_in_which_anything_is_not_ours_is_left_as_it_is(
    server: HiveServer, warehouse: HiveWarehouse, rows: list[ProductionRow], put: object
) -> None:
    assert rows
    put(usual_place(server))  # type: ignore[operator]
    before = files_of(server)
    outcome = await warehouse.compact(DATE)
    assert "is not a file that this backupd made" in outcome.left
    assert files_of(server) == before
    assert "SET LOCATION" not in "".join(server.statements)


async def test_rows_of_another_backupd_are_left_as_they_are(server: HiveServer) -> None:
    ours, theirs = (open_one(server, "insert", ReplacementMemory()) for _ in range(2))
    await some_batches(ours)
    await some_batches(theirs, 1)
    before = files_of(server)
    assert "is not one of this backupd's" in (await ours.compact(DATE)).left
    assert files_of(server) == before
    assert not left_tables(server)
    await ours.aclose()
    await theirs.aclose()


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"columns": {"more": "string"}}, "column 12 is more string"),
        ({"parameters": {"transactional": "true"}}, "transactional"),
        ({"input_format": "org.apache.hadoop.hive.ql.io.orc.OrcInputFormat"}, "not stored as"),
    ],
)
async def test_a_table_that_is_not_understood_is_left_as_it_is(
    server: HiveServer,
    warehouse: HiveWarehouse,
    rows: list[ProductionRow],
    change: dict[str, object],
    reason: str,
) -> None:
    assert rows
    table = production(server)
    for name, value in change.items():
        whole = getattr(table, name) | value if isinstance(value, dict) else value
        setattr(table, name, whole)
    before = files_of(server)
    assert reason in (await warehouse.compact(DATE)).left
    assert files_of(server) == before


async def test_a_partition_that_somebody_put_elsewhere_is_left_as_it_is(
    server: HiveServer, warehouse: HiveWarehouse, rows: list[ProductionRow], tmp_path: Path
) -> None:
    assert rows
    elsewhere = shutil.copytree(usual_place(server), tmp_path / "elsewhere")
    production(server).locations[DATE] = elsewhere
    assert "which is not where backupd or Hive puts it" in (await warehouse.compact(DATE)).left
    assert len(list(elsewhere.iterdir())) == 3


async def test_files_with_other_columns_are_left_as_they_are(server: HiveServer) -> None:
    warehouse = open_one(server, "files", ReplacementMemory())
    await some_batches(warehouse)
    path = max(files_of(server))
    pq.write_table(pq.read_table(path, partitioning=None).drop_columns(["sha256"]), path)
    assert "has other columns than" in (await warehouse.compact(DATE)).left
    assert len(files_of(server)) == 3
    await warehouse.aclose()


async def test_files_that_are_too_large_together_are_left_as_they_are(
    server: HiveServer,
    warehouse: HiveWarehouse,
    rows: list[ProductionRow],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    assert rows
    monkeypatch.setattr(partition_dirs, "_MOST_BYTES", 100)
    assert "100 are compacted at most" in (await warehouse.compact(DATE)).left
    assert len(files_of(server)) == 3


async def test_a_place_that_hive_does_not_read_never_becomes_production(
    server: HiveServer, warehouse: HiveWarehouse, rows: list[ProductionRow]
) -> None:
    select = server.tables._known

    def hidden(table: str, column: str, date: str | None) -> list[tuple[str | None, ...]]:
        return [] if "compaction" in table else server.tables._select(table, column, date)

    for pattern, work in select.items():
        if work == server.tables._select:
            select[pattern] = hidden
    assert "Hive reads 6 rows in it and 0 in the new file" in (await warehouse.compact(DATE)).left
    assert read_rows(server) == each_once(rows)
