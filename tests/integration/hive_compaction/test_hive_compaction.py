"""Partitions in Hive become one file each; whoever reads sees each row once at any moment."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from pyarrow import parquet as pq

from backupd.core.compacting import Step
from backupd.core.rows import Compaction
from backupd.warehouse.hive import compaction
from support.hive_compaction import (
    DATE,
    NEXT,
    at_every_statement,
    each_once,
    files_of,
    left_tables,
    production,
    read_rows,
    some_batches,
    usual_place,
    was_cleared,
)

if TYPE_CHECKING:
    from backupd.core.rows import ProductionRow
    from backupd.warehouse.hive.replaced_dirs import ReplacementMemory
    from backupd.warehouse.hive.warehouse import HiveWarehouse
    from support.hive_server import HiveServer


def steps(memory: ReplacementMemory, server: HiveServer) -> list[Step]:
    table = next(name for name in server.tables.tables if "records" in name)
    database, _, name = table.partition(".")
    return [each.step for each in memory.all(f"`{database}`.`{name}`")]


async def test_a_date_becomes_one_file_by_one_statement(
    server: HiveServer, warehouse: HiveWarehouse, rows: list[ProductionRow]
) -> None:
    outcome = await warehouse.compact(DATE)
    assert outcome.left == ""
    assert (outcome.files_before, outcome.files_after, outcome.rows) == (3, 1, 6)
    (file,) = files_of(server)
    assert outcome.size_bytes == file.stat().st_size
    assert len(files_of(server, NEXT)) == 3
    assert read_rows(server) == each_once(rows)
    assert len([each for each in server.statements if "SET LOCATION" in each]) == 1
    assert not left_tables(server)


async def test_all_values_stay_as_they_are(
    server: HiveServer, warehouse: HiveWarehouse, rows: list[ProductionRow]
) -> None:
    def values() -> list[str]:
        tables = [pq.read_table(path, partitioning=None) for path in files_of(server)]
        return sorted(str(row) for table in tables for row in table.to_pylist())

    before = values()
    await warehouse.compact(DATE)
    assert values() == before
    assert len(before) == len([row for row in rows if row.file_date == DATE])


@pytest.mark.usefixtures("a_day_later")
async def test_at_any_moment_each_row_is_read_once(
    server: HiveServer, warehouse: HiveWarehouse, rows: list[ProductionRow]
) -> None:
    seen = []
    at_every_statement(server, lambda: seen.append(read_rows_without_hook()))
    look = server.tables._select

    def read_rows_without_hook() -> int:
        return sum(
            len(look("mnaas.customers_files_records_count", "file_id", d)) for d in (DATE, NEXT)
        )

    await warehouse.compact(DATE)
    await warehouse.compact(NEXT)
    await warehouse.finish_compactions()
    assert set(seen) == {len(rows)}


async def test_dates_with_more_files_than_asked_for_are_found(
    warehouse: HiveWarehouse, rows: list[ProductionRow]
) -> None:
    assert rows
    assert await warehouse.dates_to_compact("2026-11-25", 2) == [DATE, NEXT]
    assert await warehouse.dates_to_compact("2026-11-25", 3) == []
    assert await warehouse.dates_to_compact(NEXT, 2) == [DATE]
    assert await warehouse.dates_to_compact("2026-11-25") == [DATE, NEXT]
    await warehouse.compact(DATE)
    assert await warehouse.dates_to_compact("2026-11-25") == [NEXT]
    await some_batches(warehouse, 1, days=1)
    assert await warehouse.dates_to_compact("2026-11-25") == [DATE, NEXT]


async def test_one_file_is_left_as_it_is(server: HiveServer, warehouse: HiveWarehouse) -> None:
    await some_batches(warehouse, 1)
    before = files_of(server)
    assert await warehouse.compact(DATE) == Compaction(date=DATE, files_before=1, files_after=1)
    assert files_of(server) == before


async def test_what_is_no_date_is_refused(warehouse: HiveWarehouse) -> None:
    with pytest.raises(ValueError, match="not a date"):
        await warehouse.compact("' OR 1=1")


async def test_the_old_files_go_a_day_later(
    server: HiveServer,
    warehouse: HiveWarehouse,
    rows: list[ProductionRow],
    memory: ReplacementMemory,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    await warehouse.compact(DATE)
    assert await warehouse.finish_compactions() == []
    assert len(list(usual_place(server).iterdir())) == 3
    assert steps(memory, server) == [Step.REPLACED]

    monkeypatch.setattr(compaction, "KEPT_FOR", 0.0)
    assert await warehouse.finish_compactions() == []
    assert was_cleared(server)
    (said,) = usual_place(server).iterdir()
    assert str(files_of(server)[0].parent) in said.read_text()
    assert steps(memory, server) == [Step.DONE]
    assert read_rows(server) == each_once(rows)
    assert not left_tables(server)


@pytest.mark.usefixtures("a_day_later")
async def test_a_date_is_compacted_again_when_more_came_in(
    server: HiveServer,
    warehouse: HiveWarehouse,
    rows: list[ProductionRow],
    memory: ReplacementMemory,
) -> None:
    await warehouse.compact(DATE)
    rows += await some_batches(warehouse, 2)
    assert (await warehouse.compact(DATE)).files_before == 3
    for _ in range(2):
        assert await warehouse.finish_compactions() == []
    assert steps(memory, server) == [Step.DONE]
    assert [path.parent.name for path in files_of(server)] == [f"file_date={DATE}"]
    assert len(list((production(server).place / ".compacted").iterdir())) == 1
    assert read_rows(server) == each_once(rows)


@pytest.mark.usefixtures("a_day_later")
async def test_impala_is_waited_for_before_the_old_directory_goes(
    server: HiveServer,
    warehouse: HiveWarehouse,
    rows: list[ProductionRow],
    memory: ReplacementMemory,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    assert rows
    monkeypatch.setattr(memory, "owes_refresh", lambda _table, date: date == DATE)
    await warehouse.compact(DATE)
    assert await warehouse.finish_compactions() == []
    assert usual_place(server).exists()
    monkeypatch.setattr(memory, "owes_refresh", lambda _table, _date: False)
    await warehouse.finish_compactions()
    assert was_cleared(server)
