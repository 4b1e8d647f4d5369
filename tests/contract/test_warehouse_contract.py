"""What every warehouse promises to the pipeline, over the fake and each real one."""

from __future__ import annotations

from collections import Counter
from contextlib import ExitStack
from typing import TYPE_CHECKING

import pytest

from backupd.config.sections import WarehouseSection
from backupd.core.errors import PermanentError, RewindError
from backupd.core.records import new_id
from backupd.core.rows import RowKey
from backupd.core.stages import Stage
from backupd.warehouse import open_warehouse
from support.fake_warehouse import FakeWarehouse
from support.hadoop_tables import new_table
from support.hives import hive_section, running_hive
from support.rows import COLUMNS, NOON, batch_of, new_batch, production_row

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence
    from pathlib import Path

    from backupd.core.ports import Warehouse
    from backupd.core.rows import ProductionRow
    from support.hadoop import Transport


HADOOP = [
    pytest.param(name, marks=pytest.mark.hadoop)
    for name in (
        *("plain_hadoop", "plain_hadoop insert"),
        *("secure_hadoop", "secure_hadoop insert", "secure_hadoop http"),
    )
]


@pytest.fixture(params=["fake", "embedded", "hive", "hive insert", *HADOOP])
async def warehouse(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Warehouse]:
    with ExitStack() as stack:
        opened = open_one(request, tmp_path, stack)
        yield opened
        await opened.aclose()


def open_one(request: pytest.FixtureRequest, directory: Path, stack: ExitStack) -> Warehouse:
    match request.param:
        case "fake":
            return FakeWarehouse()
        case "embedded":
            root = directory / "warehouse"
            section = WarehouseSection(kind="embedded", columns=COLUMNS, embedded_root=root)
        case "hive" | "hive insert":
            server = stack.enter_context(running_hive(directory / "hive"))
            section = hive_section(server, merge=_merge_of(request.param))
        case _:
            name, *words = request.param.split()
            hadoop = request.getfixturevalue(name)
            transport: Transport = "http" if "http" in words else "binary"
            section = new_table(hadoop, transport=transport, merge=_merge_of(request.param))
    return open_warehouse(section)


def _merge_of(param: str) -> str:
    return "insert" if param.endswith("insert") else "files"


def ids(rows: Sequence[ProductionRow]) -> frozenset[str]:
    return frozenset(row.file_id for row in rows)


def once(rows: Sequence[ProductionRow]) -> Counter[str]:
    return Counter(row.file_id for row in rows)


def keys(rows: Sequence[ProductionRow]) -> set[RowKey]:
    return {RowKey(row.file_id, row.file_date) for row in rows}


async def in_production(warehouse: Warehouse, rows: Sequence[ProductionRow]) -> Counter[RowKey]:
    return Counter([key async for key in warehouse.rows({row.file_date for row in rows})])


async def test_a_loaded_batch_does_not_show_in_production(warehouse: Warehouse) -> None:
    batch, rows = new_batch()
    assert await warehouse.load(batch, rows)
    assert await warehouse.find(keys(rows)) == frozenset()
    assert not await in_production(warehouse, rows)


async def test_a_merged_batch_is_seen_whole(warehouse: Warehouse) -> None:
    batch, rows = new_batch(7, days=3)
    await warehouse.load(batch, rows)
    assert await warehouse.merge(batch, rows) == once(rows)
    assert await warehouse.find(keys(rows)) == ids(rows)
    assert await in_production(warehouse, rows) == Counter(keys(rows))


@pytest.mark.parametrize(
    "steps",
    [
        ["load", "merge", "merge"],
        ["load", "load", "merge"],
        ["load", "merge", "load", "merge"],
        ["load", "merge", "load", "load", "merge", "merge"],
    ],
    ids=" ".join,
)
async def test_whatever_is_repeated_makes_each_row_once(
    warehouse: Warehouse, steps: list[str]
) -> None:
    batch, rows = new_batch(5, days=2)
    for step in steps:
        answer = await (warehouse.load if step == "load" else warehouse.merge)(batch, rows)
    assert answer == once(rows)
    assert await in_production(warehouse, rows) == Counter(keys(rows))


async def test_batches_leave_each_other_alone(warehouse: Warehouse) -> None:
    first, rows_of_first = new_batch()
    second, rows_of_second = new_batch()
    await warehouse.load(first, rows_of_first)
    await warehouse.load(second, rows_of_second)
    assert await warehouse.merge(second, rows_of_second) == once(rows_of_second)
    assert await warehouse.find(keys([*rows_of_first, *rows_of_second])) == ids(rows_of_second)
    assert await warehouse.merge(first, rows_of_first) == once(rows_of_first)


async def test_a_batch_that_is_nowhere_goes_back_to_load(warehouse: Warehouse) -> None:
    batch, rows = new_batch()
    with pytest.raises(RewindError, match=batch.id) as caught:
        await warehouse.merge(batch, rows)
    assert caught.value.stage is Stage.LOAD


async def test_a_batch_without_rows_is_merged_with_nothing(warehouse: Warehouse) -> None:
    batch = batch_of([], new_id(NOON))
    await warehouse.load(batch, [])
    assert await warehouse.merge(batch, []) == Counter()


async def test_a_row_that_is_not_acceptable_is_named_and_nothing_of_its_batch_shows(
    warehouse: Warehouse,
) -> None:
    batch, rows = new_batch()
    bad = production_row(batch.id, name="caf\udce9.csv")
    with pytest.raises(PermanentError, match="caf"):
        await warehouse.load(batch, [*rows, bad])
    assert await warehouse.find(keys([*rows, bad])) == frozenset()


async def test_a_row_is_looked_for_in_its_own_partition_alone(warehouse: Warehouse) -> None:
    batch, rows = new_batch()
    await warehouse.load(batch, rows)
    await warehouse.merge(batch, rows)
    elsewhere = [RowKey(row.file_id, "1999-12-31") for row in rows]
    assert await warehouse.find(elsewhere) == frozenset()
    assert [key async for key in warehouse.rows(["1999-12-31"])] == []


async def test_find_returns_only_what_was_asked_for(warehouse: Warehouse) -> None:
    batch, rows = new_batch()
    await warehouse.load(batch, rows)
    await warehouse.merge(batch, rows)
    stranger = production_row(batch.id)
    assert await warehouse.find(keys([rows[0], stranger])) == ids(rows[:1])
    assert await warehouse.find([]) == frozenset()


async def test_rows_that_were_left_out_of_a_load_may_be_merged_with_it(
    warehouse: Warehouse,
) -> None:
    first, rows = new_batch(2, days=2)
    await warehouse.load(first, rows)
    await warehouse.merge(first, rows)
    old, fresh = rows[0], [production_row(first.id, at=row.file_timestamp) for row in rows]
    batch = batch_of([old, *fresh], new_id(NOON))
    await warehouse.load(batch, fresh)
    for _ in range(2):
        seen = await warehouse.merge(batch, [old, *fresh])
        assert {row.file_id: seen[row.file_id] for row in fresh} == once(fresh)
    assert await in_production(warehouse, rows) == Counter(keys([*rows, *fresh]))


async def test_a_batch_of_rows_that_are_all_there_is_merged_without_a_load(
    warehouse: Warehouse,
) -> None:
    batch, rows = new_batch(2, days=2)
    await warehouse.load(batch, rows)
    await warehouse.merge(batch, rows)
    await warehouse.merge(batch_of(rows, new_id(NOON)), rows)
    assert await in_production(warehouse, rows) == Counter(keys(rows))


async def test_a_row_that_two_batches_bring_is_told_as_often_as_it_is_there(
    warehouse: Warehouse, request: pytest.FixtureRequest
) -> None:
    row = production_row(new_id(NOON))
    for _ in range(2):
        batch = batch_of([row], new_id(NOON))
        await warehouse.load(batch, [row])
        await warehouse.merge(batch, [row])
    # INSERT looks into the table for each row; a file is moved there as it is.
    rows = 1 if "insert" in request.node.callspec.id else 2
    assert await in_production(warehouse, [row]) == Counter(
        {RowKey(row.file_id, row.file_date): rows}
    )


async def test_a_discarded_batch_is_staged_no_more(warehouse: Warehouse) -> None:
    batch, rows = new_batch()
    await warehouse.load(batch, rows)
    await warehouse.discard(batch.id)
    await warehouse.discard(batch.id)
    with pytest.raises(RewindError):
        await warehouse.merge(batch, rows)


async def test_discarding_a_merged_batch_leaves_production(warehouse: Warehouse) -> None:
    batch, rows = new_batch()
    await warehouse.load(batch, rows)
    await warehouse.merge(batch, rows)
    await warehouse.discard(batch.id)
    assert await warehouse.find(keys(rows)) == ids(rows)


async def test_sweeping_removes_what_no_live_batch_left(warehouse: Warehouse) -> None:
    live, rows_of_live = new_batch()
    dead, rows_of_dead = new_batch()
    await warehouse.load(live, rows_of_live)
    await warehouse.load(dead, rows_of_dead)
    (removed,) = await warehouse.sweep([live.id])
    assert dead.id in removed
    assert await warehouse.sweep([live.id]) == []
    assert await warehouse.merge(live, rows_of_live) == once(rows_of_live)
    with pytest.raises(RewindError):
        await warehouse.merge(dead, rows_of_dead)


async def test_there_is_nothing_to_sweep_in_a_new_warehouse(warehouse: Warehouse) -> None:
    assert await warehouse.sweep([]) == []


async def test_a_probe_of_a_healthy_warehouse_is_well_and_leaves_nothing(
    warehouse: Warehouse,
) -> None:
    probes = await warehouse.probe()
    assert probes
    assert all(probe.ok and probe.subject and probe.detail for probe in probes)
    assert await warehouse.sweep([]) == []


async def test_statements_are_sentences(warehouse: Warehouse) -> None:
    assert all(warehouse.statements(*new_batch()))
