"""Merge "files": every row once, whatever dies, hangs or comes late."""

from __future__ import annotations

import asyncio
from collections import Counter
from typing import TYPE_CHECKING

import pytest
from pyarrow import parquet as pq

from backupd.core.errors import DependencyDownError, RewindError
from backupd.core.records import new_id
from backupd.warehouse import open_warehouse
from support.hives import DATABASE, TABLE, hive_section, running_hive, staged
from support.merging import assert_once, merged_once_though_cut, until_merged
from support.rows import EVIL, NOON, batch_of, new_batch, production_row

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator
    from pathlib import Path

    from backupd.core.ports import Warehouse
    from support.hive_server import Fault, HiveServer


@pytest.fixture
def server(tmp_path: Path) -> Iterator[HiveServer]:
    with running_hive(tmp_path / "hive") as started:
        yield started


@pytest.fixture
async def warehouse(server: HiveServer) -> AsyncIterator[Warehouse]:
    opened = open_warehouse(hive_section(server, statement_timeout=1.0))
    yield opened
    await opened.aclose()


@pytest.mark.parametrize("fault", ["cut before", "cut after", "zombie", "hang", "fail", "forget"])
async def test_a_load_data_that_goes_wrong_makes_each_row_once(
    server: HiveServer, warehouse: Warehouse, fault: Fault
) -> None:
    batch, rows = new_batch(6, days=3)
    server.on("LOAD DATA", fault)
    await until_merged(warehouse, batch, rows)
    assert all("No files matching" in end for end in server.release())
    await assert_once(warehouse, rows)
    assert staged(server) == []


async def test_a_lost_answer_is_no_failure_when_the_file_is_seen_in_its_partition(
    server: HiveServer, warehouse: Warehouse
) -> None:
    batch, rows = new_batch()
    server.on("LOAD DATA", "cut after")
    assert await until_merged(warehouse, batch, rows) == []


CALLS = ["OpenSession", "ExecuteStatement", "GetOperationStatus", "CloseOperation"]


@pytest.mark.parametrize("call", [*CALLS, "GetResultSetMetadata", "FetchResults"])
async def test_a_connection_that_is_cut_at_any_call_makes_each_row_once(
    server: HiveServer, warehouse: Warehouse, call: str
) -> None:
    await merged_once_though_cut(server, warehouse, call)


async def test_a_zombie_that_wakes_before_the_next_try_makes_each_row_once(
    server: HiveServer, warehouse: Warehouse
) -> None:
    batch, rows = new_batch(4, days=2)
    await warehouse.load(batch, rows)
    server.on("LOAD DATA", "zombie")
    with pytest.raises(DependencyDownError):
        await warehouse.merge(batch, rows)
    assert server.release() == [""]
    await warehouse.load(batch, rows)
    await warehouse.merge(batch, rows)
    await assert_once(warehouse, rows)


async def test_three_rivals_on_one_batch_make_each_row_once(server: HiveServer) -> None:
    rivals = [open_warehouse(hive_section(server)) for _ in range(3)]
    for _ in range(10):
        batch, rows = new_batch(4, days=2)
        day = {row.file_id for row in rows}
        await asyncio.gather(*(until_merged(rival, batch, rows) for rival in rivals))
        found = Counter([key async for key in rivals[0].rows({row.file_date for row in rows})])
        assert {found[key] for key in found if key.file_id in day} == {1}
        assert staged(server) == []
    for rival in rivals:
        await rival.aclose()


async def test_rows_that_changed_since_they_were_staged_are_staged_anew(
    server: HiveServer, warehouse: Warehouse
) -> None:
    batch, rows = new_batch(4, days=2)
    await warehouse.load(batch, rows)
    await warehouse.load(batch, rows[:1])
    assert await warehouse.merge(batch, rows[:1]) == Counter([rows[0].file_id])
    await assert_once(warehouse, rows[:1])
    assert staged(server) == []


async def test_names_come_back_as_they_are_and_stand_in_no_statement(
    server: HiveServer, warehouse: Warehouse
) -> None:
    batch_id = new_id(NOON)
    rows = [production_row(batch_id, name=name) for name in EVIL]
    batch = batch_of(rows)
    await warehouse.load(batch, rows)
    await warehouse.merge(batch, rows)

    (file,) = (server.tables.directory / f"{DATABASE}.{TABLE}").rglob("*.parquet")
    assert pq.read_table(file, partitioning=None)["file_name"].to_pylist() == EVIL
    assert not [each for each in server.statements for name in EVIL if name in each]


async def test_the_statements_are_those_that_are_run(
    server: HiveServer, warehouse: Warehouse
) -> None:
    batch, rows = new_batch(4, days=2)
    told = warehouse.statements(batch, rows)
    await warehouse.load(batch, rows)
    await warehouse.merge(batch, rows)
    assert len(told) == 3
    assert [each for each in server.statements if each in told][-2:] == told[-2:]
    assert set(told) <= set(server.statements)


async def test_a_table_that_does_not_fit_is_refused_column_by_column(
    server: HiveServer, warehouse: Warehouse
) -> None:
    table = server.tables.tables[f"{DATABASE}.{TABLE}"]
    table.columns |= {"record_count": "int"}
    del table.columns["batch_id"]
    with pytest.raises(DependencyDownError, match="column 6 is record_count int") as caught:
        await warehouse.load(*new_batch())
    assert "column 11 is missing, the config wants batch_id string" in str(caught.value)
    assert "--ddl" in caught.value.hint


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"parameters": {"transactional": "true"}}, "it is transactional"),
        ({"input_format": "org.apache.hadoop.hive.ql.io.orc.OrcInputFormat"}, "not stored as Par"),
        ({"partition": "day"}, "partition column 1 is day string"),
    ],
)
async def test_a_table_of_another_kind_is_refused_by_the_probe(
    server: HiveServer, warehouse: Warehouse, change: dict[str, object], reason: str
) -> None:
    for name, value in change.items():
        setattr(server.tables.tables[f"{DATABASE}.{TABLE}"], name, value)
    (first, *_) = [each for each in await warehouse.probe() if not each.ok]
    assert not first.ok
    assert reason in first.detail
    assert first.hint


async def test_a_table_on_another_file_system_is_refused(server: HiveServer) -> None:
    elsewhere = open_warehouse(hive_section(server, staging_url="webhdfs://127.0.0.1:1/staging"))
    with pytest.raises(DependencyDownError, match="where no file of the staging folder can be"):
        await elsewhere.load(*new_batch())
    await elsewhere.aclose()


async def test_a_missing_table_is_told_by_the_probe(
    server: HiveServer, warehouse: Warehouse
) -> None:
    server.tables.tables[f"{DATABASE}.other"] = server.tables.tables.pop(f"{DATABASE}.{TABLE}")
    (first, *_) = [each for each in await warehouse.probe() if not each.ok]
    assert "Table not found" in first.detail


@pytest.mark.parametrize(
    ("ahead", "ok", "told"),
    [(0, True, " s "), (-50, True, "s behind"), (7200, False, "s ahead of"), (-90, False, "s beh")],
)
async def test_hives_clock_is_compared_with_ours(
    server: HiveServer, warehouse: Warehouse, ahead: float, ok: bool, told: str
) -> None:
    server.tables.clock_ahead = ahead
    clock = (await warehouse.probe())[-1]
    assert (clock.subject, clock.ok) == ("Hive's clock", ok)
    assert told in clock.detail


async def test_the_sweep_leaves_what_is_not_ours(server: HiveServer, warehouse: Warehouse) -> None:
    batch, rows = new_batch()
    await warehouse.load(batch, rows)
    folder = server.tables.directory.parent / "staging"
    (folder / "somebody-else").mkdir()
    (folder / f"{batch.id}.0a1b2c3d.part").mkdir()
    removed = await warehouse.sweep([batch.id])
    assert removed == [str(folder / f"{batch.id}.0a1b2c3d.part")]
    assert staged(server) == [batch.id]
    assert (folder / "somebody-else").exists()


async def test_a_file_that_somebody_took_out_of_staging_is_staged_again(
    server: HiveServer, warehouse: Warehouse
) -> None:
    batch, rows = new_batch()
    await warehouse.load(batch, rows)
    for path in (server.tables.directory.parent / "staging").rglob("*.parquet"):
        path.unlink()
    with pytest.raises(RewindError):
        await warehouse.merge(batch, rows)
    assert await until_merged(warehouse, batch, rows) == []
