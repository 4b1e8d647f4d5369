"""Merge "insert": one INSERT at a time, and what is done about those whose end nobody knows."""

from __future__ import annotations

import asyncio
from collections import Counter
from contextlib import suppress
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
from pyarrow import parquet as pq

from backupd.core.errors import BackupdError, DependencyDownError, RewindError
from backupd.core.records import new_id
from backupd.warehouse import open_warehouse
from backupd.warehouse.hive import earlier_statements
from backupd.warehouse.hive.batch_statements import StatementMemory
from support.hives import DATABASE, STAGING_TABLE, TABLE, hive_section, running_hive
from support.merging import assert_once, merged_once_though_cut, until_merged
from support.rows import EVIL, NOON, batch_of, new_batch, production_row

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterator
    from pathlib import Path

    from backupd.core.ports import Warehouse
    from support.hive_server import Fault, HiveServer

    Opened = Callable[..., Warehouse]


@pytest.fixture
def server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[HiveServer]:
    monkeypatch.setattr(earlier_statements, "_DIES_WITHIN", 0.01)
    with running_hive(tmp_path / "hive") as started:
        yield started


@pytest.fixture
def log() -> StatementMemory:
    """What outlives a process that is killed."""
    return StatementMemory()


@pytest.fixture
async def opened(server: HiveServer, log: StatementMemory) -> AsyncIterator[Opened]:
    """Opens warehouses as one process after the other does, over one log of statements."""
    warehouses: list[Warehouse] = []

    def open_one(**changes: object) -> Warehouse:
        options = {"merge": "insert", "statement_timeout": 1.0} | changes
        warehouses.append(open_warehouse(hive_section(server, **options), log))
        return warehouses[-1]

    yield open_one
    for each in warehouses:
        await each.aclose()


@pytest.fixture
def warehouse(opened: Opened) -> Warehouse:
    return opened()


def staged(server: HiveServer) -> list[str]:
    folder = server.tables.directory.parent / "staging"
    partitions = server.tables.tables[f"{DATABASE}.{STAGING_TABLE}"].place
    return [
        *(path.name for path in partitions.iterdir()),
        *(path.name for path in folder.iterdir()),
    ]


def inserts(server: HiveServer) -> list[str]:
    return [each for each in server.statements if each.startswith("INSERT")]


@pytest.mark.parametrize(
    "fault", ["cut before", "cut after", "hang", "fail", "forget", "orphan", "linger"]
)
@pytest.mark.parametrize("statement", ["LOAD DATA", "INSERT", "DROP"])
async def test_a_statement_that_goes_wrong_makes_each_row_once(
    server: HiveServer, warehouse: Warehouse, statement: str, fault: Fault
) -> None:
    batch, rows = new_batch(6, days=3)
    server.on(statement, fault)
    await until_merged(warehouse, batch, rows)
    server.release()
    await assert_once(warehouse, rows)
    await warehouse.sweep([])
    assert staged(server) == []


CALLS = ["OpenSession", "ExecuteStatement", "GetOperationStatus", "CloseOperation", "CloseSession"]


@pytest.mark.parametrize("call", [*CALLS, "GetResultSetMetadata", "FetchResults"])
async def test_a_connection_that_is_cut_at_any_call_makes_each_row_once(
    server: HiveServer, warehouse: Warehouse, call: str
) -> None:
    await merged_once_though_cut(server, warehouse, call)


async def test_an_insert_whose_answer_was_lost_is_not_repeated_when_its_rows_are_there(
    server: HiveServer, warehouse: Warehouse
) -> None:
    batch, rows = new_batch()
    await warehouse.load(batch, rows)
    server.on("INSERT", "cut after")
    with pytest.raises(DependencyDownError, match="the connection broke"):
        await warehouse.merge(batch, rows)
    assert await warehouse.merge(batch, rows) == Counter(row.file_id for row in rows)
    assert len(inserts(server)) == 1


async def test_an_insert_that_still_runs_after_a_crash_is_ended_before_it_is_repeated(
    server: HiveServer, opened: Opened
) -> None:
    """The next process knows it by its session alone: the answer never came."""
    batch, rows = new_batch()
    first = opened()
    await first.load(batch, rows)
    server.on("INSERT", "orphan")
    with pytest.raises(DependencyDownError):
        await first.merge(batch, rows)

    assert await opened().merge(batch, rows) == Counter(row.file_id for row in rows)
    assert server.release() == []  # it was cancelled, and never made a row
    await assert_once(first, rows)


async def test_an_insert_that_still_runs_is_waited_for_where_its_operation_is_known(
    server: HiveServer, opened: Opened
) -> None:
    batch, rows = new_batch()
    first, second = opened(), opened(statement_timeout=60.0)
    await first.load(batch, rows)
    server.on("INSERT", "linger")
    with pytest.raises(DependencyDownError):
        await first.merge(batch, rows)

    merging = asyncio.create_task(second.merge(batch, rows))
    await asyncio.to_thread(server.wait_for_poll, "INSERT")
    assert server.release() == [""]
    assert await merging == Counter(row.file_id for row in rows)
    assert len(inserts(server)) == 1


async def test_another_batch_waits_too_for_an_insert_whose_end_is_not_known(
    server: HiveServer, opened: Opened, log: StatementMemory
) -> None:
    lost, rows_of_lost = new_batch()
    other, rows_of_other = new_batch()
    warehouse = opened()
    await warehouse.load(lost, rows_of_lost)
    await warehouse.load(other, rows_of_other)
    server.on("INSERT", "orphan")
    with pytest.raises(DependencyDownError):
        await warehouse.merge(lost, rows_of_lost)
    (known,) = log.possibly_running()
    assert known.batch_id == lost.id
    assert known.session
    assert not known.operation

    await warehouse.merge(other, rows_of_other)
    assert log.possibly_running() == []
    assert server.release() == []


async def test_while_nobody_can_tell_whether_an_insert_ended_none_is_begun(
    server: HiveServer, warehouse: Warehouse
) -> None:
    batch, rows = new_batch()
    await warehouse.load(batch, rows)
    server.on("INSERT", "orphan")
    with pytest.raises(DependencyDownError):
        await warehouse.merge(batch, rows)
    for _ in range(3):
        server.cut_at = "CloseSession"
        with pytest.raises(DependencyDownError, match=r"the connection broke|cannot be reached"):
            await warehouse.merge(batch, rows)
    assert len(inserts(server)) == 1
    await warehouse.merge(batch, rows)
    await assert_once(warehouse, rows)


async def test_a_restarted_server_has_forgotten_what_ran(
    server: HiveServer, warehouse: Warehouse
) -> None:
    batch, rows = new_batch()
    await warehouse.load(batch, rows)
    server.on("INSERT", "linger")
    with pytest.raises(DependencyDownError):
        await warehouse.merge(batch, rows)
    server.stop()
    server.start()
    await warehouse.merge(batch, rows)
    await assert_once(warehouse, rows)


async def test_rows_that_come_a_second_time_all_the_same_are_counted(
    server: HiveServer, warehouse: Warehouse
) -> None:
    """A statement that outlives its cancelling: nothing on our side can keep it from its commit."""
    batch, rows = new_batch(4, days=2)
    await warehouse.load(batch, rows)
    server.on("INSERT", "zombie")
    with pytest.raises(DependencyDownError):
        await warehouse.merge(batch, rows)
    await warehouse.merge(batch, rows)
    assert server.release() == [""]
    assert await warehouse.merge(batch, rows) == Counter({row.file_id: 2 for row in rows})
    repair, _ = warehouse.repairs({row.file_date for row in rows})
    assert repair.startswith(f"INSERT OVERWRITE TABLE `{DATABASE}`.`{TABLE}`")


async def test_an_insert_that_came_half_way_is_finished(
    server: HiveServer, warehouse: Warehouse
) -> None:
    """It brings one date in after the other: killed between two, it leaves the first."""
    batch, rows = new_batch(6, days=3)
    first, rest = rows[0].file_date, [row for row in rows if row.file_date != rows[0].file_date]
    early = batch_of([row for row in rows if row not in rest], new_id(NOON))
    await until_merged(warehouse, early, [row for row in rows if row.file_date == first])
    await warehouse.load(batch, rows)
    assert await warehouse.merge(batch, rows) == Counter(row.file_id for row in rows)
    await assert_once(warehouse, rows)
    assert len(inserts(server)) == 2


async def test_rows_of_a_requeued_file_are_not_made_again(warehouse: Warehouse) -> None:
    batch, rows = new_batch()
    await until_merged(warehouse, batch, rows)
    again = batch_of(rows, new_id(NOON))
    await until_merged(warehouse, again, rows)
    await assert_once(warehouse, rows)


async def test_a_partition_that_was_dropped_meanwhile_is_staged_again(
    warehouse: Warehouse,
) -> None:
    batch, rows = new_batch()
    await warehouse.load(batch, rows)
    await warehouse.discard(batch.id)
    with pytest.raises(RewindError, match="neither staged nor merged: 3 rows lack"):
        await warehouse.merge(batch, rows)
    await until_merged(warehouse, batch, rows)


@pytest.mark.parametrize("fault", ["cut before", "cut after", "orphan", "linger"])
@pytest.mark.parametrize("ways", [("insert", "files"), ("files", "insert")], ids="-".join)
async def test_a_batch_may_be_begun_by_one_merge_and_ended_by_the_other(
    server: HiveServer, opened: Opened, ways: tuple[str, str], fault: Fault
) -> None:
    first, second = (opened(merge=way) for way in ways)
    batch, rows = new_batch(6, days=3)
    batch = replace(batch, staged_at=await first.load(batch, rows))
    server.on("INSERT" if ways[0] == "insert" else "LOAD DATA", fault)
    with suppress(BackupdError):
        await first.merge(batch, rows)

    with suppress(RewindError):
        await second.merge(batch, rows)
    await second.load(batch, rows)
    await second.merge(batch, rows)
    server.release()
    await assert_once(second, rows)


async def test_a_partition_that_somebody_filled_twice_is_staged_again(
    server: HiveServer, warehouse: Warehouse
) -> None:
    batch, rows = new_batch()
    await warehouse.load(batch, rows)
    place = server.tables.tables[f"{DATABASE}.{STAGING_TABLE}"].place / f"batch_id={batch.id}"
    (file,) = place.iterdir()
    file.with_name("copy.parquet").write_bytes(file.read_bytes())
    with pytest.raises(RewindError):
        await warehouse.merge(batch, rows)
    await until_merged(warehouse, batch, rows)
    await assert_once(warehouse, rows)


async def test_names_come_back_as_they_are_and_stand_in_no_statement(
    server: HiveServer, warehouse: Warehouse
) -> None:
    rows = [production_row("0" * 20, name=name) for name in EVIL]
    await until_merged(warehouse, batch_of(rows), rows)
    (file,) = (server.tables.directory / f"{DATABASE}.{TABLE}").glob("*=*/*")
    assert pq.read_table(file, partitioning=None)["file_name"].to_pylist() == EVIL
    assert not [each for each in server.statements for name in EVIL if name in each]


async def test_the_statements_are_those_that_are_run_after_the_sessions_settings(
    server: HiveServer, opened: Opened
) -> None:
    warehouse = opened(settings={"hive.exec.max.dynamic.partitions": "7"})
    batch, rows = new_batch(4, days=2)
    told = warehouse.statements(batch, rows)
    await until_merged(warehouse, batch, rows)
    settings = [each.removeprefix("SET ").split("=") for each in told if each.startswith("SET")]
    assert server.settings[0].items() >= dict(settings).items()
    assert dict(settings)["hive.exec.max.dynamic.partitions"] == "7"
    assert [each for each in server.statements if each in told] == told[len(settings) :]
    assert len(told) == len(settings) + 4


async def test_columns_go_by_the_names_and_the_order_of_the_table(
    server: HiveServer, log: StatementMemory
) -> None:
    section = hive_section(server, merge="insert")
    names = [*reversed(section.columns)][1:]
    columns = {name: f"their_{name}" for name in [*names, "file_date"]}
    for table, partition in ((TABLE, "file_date"), (STAGING_TABLE, "batch_id")):
        held = server.tables.tables[f"{DATABASE}.{table}"]
        held.columns = {
            theirs: held.columns[ours] for ours, theirs in columns.items() if ours != partition
        }
        held.partition = columns[partition]
    warehouse = open_warehouse(replace(section, columns=columns), log)
    batch, rows = new_batch()
    await until_merged(warehouse, batch, rows)
    (file,) = (server.tables.directory / f"{DATABASE}.{TABLE}").glob("*=*/*")
    assert pq.read_schema(file).names == [columns[name] for name in names]
    await warehouse.aclose()


@pytest.mark.parametrize(
    ("table", "change", "reason"),
    [
        (TABLE, {"partition": "day"}, "partition column 1 is day string"),
        (TABLE, {"columns": {"file_id": "int"}}, "column 1 is file_id int"),
        (TABLE, {"parameters": {"field.delim": ";"}}, "its fields end with ';'"),
        (STAGING_TABLE, {"partition": "day"}, "partition column 1 is day string"),
        (STAGING_TABLE, {"columns": {"file_id": "int"}}, "column 2 is missing"),
        (STAGING_TABLE, {"parameters": {"transactional": "true"}}, "it is transactional"),
        (STAGING_TABLE, {"parameters": {"EXTERNAL": "TRUE"}}, "external.table.purge"),
        (STAGING_TABLE, {"input_format": "TextInputFormat"}, "not stored as Parquet"),
    ],
)
async def test_a_table_that_does_not_fit_is_refused_by_the_probe_and_each_load(
    server: HiveServer, warehouse: Warehouse, table: str, change: dict[str, object], reason: str
) -> None:
    for name, value in change.items():
        setattr(server.tables.tables[f"{DATABASE}.{table}"], name, value)
    (refused,) = [probe for probe in await warehouse.probe() if not probe.ok]
    assert table in refused.subject
    assert reason in refused.detail
    with pytest.raises(DependencyDownError, match="does not fit"):
        await warehouse.load(*new_batch())


@pytest.mark.parametrize(
    "change",
    [
        {"parameters": {"transactional": "true"}},
        {"input_format": "org.apache.hadoop.hive.ql.io.orc.OrcInputFormat"},
        {"parameters": {"field.delim": "\t"}},
        {"parameters": {"field.delim": ",", "escape.delim": "\\"}},
    ],
)
async def test_a_production_table_of_any_format_fits(
    server: HiveServer, warehouse: Warehouse, change: dict[str, object]
) -> None:
    for name, value in change.items():
        setattr(server.tables.tables[f"{DATABASE}.{TABLE}"], name, value)
    assert all(probe.ok for probe in await warehouse.probe())


async def test_the_sweep_leaves_what_is_not_ours(server: HiveServer, warehouse: Warehouse) -> None:
    live, rows_of_live = new_batch()
    dead, rows_of_dead = new_batch()
    await warehouse.load(live, rows_of_live)
    await warehouse.load(dead, rows_of_dead)
    place = server.tables.tables[f"{DATABASE}.{STAGING_TABLE}"].place
    (place / "batch_id=somebody-else").mkdir()
    (swept,) = await warehouse.sweep([live.id])
    assert dead.id in swept
    left = {path.name for path in place.iterdir()}
    assert left == {f"batch_id={live.id}", "batch_id=somebody-else"}


async def test_a_large_batch_is_counted_by_whole_partitions(
    server: HiveServer, warehouse: Warehouse
) -> None:
    batch, rows = new_batch(1200, days=2)
    await until_merged(warehouse, batch, rows)
    await assert_once(warehouse, rows)
    assert not [each for each in server.statements if len(each) > 20_000]
