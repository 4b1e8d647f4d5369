"""What every warehouse that can be compacted promises, over the fake and each real one."""

from __future__ import annotations

from collections import Counter
from contextlib import ExitStack
from dataclasses import replace
from typing import TYPE_CHECKING, Protocol

import pytest

from backupd.config.sections import WarehouseSection
from backupd.core.compacting import Compacting
from backupd.core.errors import RewindError
from backupd.core.ports import Warehouse
from backupd.core.rows import RowKey
from backupd.warehouse import open_warehouse
from support.fake_warehouse import FakeWarehouse
from support.hives import hive_section, running_hive
from support.rows import COLUMNS, new_batch
from support.warehouse_memory import Memory

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence
    from pathlib import Path

    from backupd.core.records import Batch
    from backupd.core.rows import ProductionRow

FIRST, SECOND, LATER = "2026-11-23", "2026-11-24", "2026-11-25"


class CompactingWarehouse(Warehouse, Compacting, Protocol):
    """Both ports of one warehouse."""


@pytest.fixture(params=["fake", "embedded", "hive files", "hive insert"])
async def warehouse(
    request: pytest.FixtureRequest, tmp_path: Path
) -> AsyncIterator[CompactingWarehouse]:
    with ExitStack() as stack:
        opened = open_one(request.param, tmp_path, stack)
        assert isinstance(opened, Compacting)
        yield opened
        await opened.aclose()


def open_one(kind: str, directory: Path, stack: ExitStack) -> Warehouse:
    if kind == "fake":
        return FakeWarehouse()
    if kind == "embedded":
        root = directory / "warehouse"
        section = WarehouseSection(kind="embedded", columns=COLUMNS, embedded_root=root)
        return open_warehouse(section, place=Memory())
    server = stack.enter_context(running_hive(directory / "hive"))
    return open_warehouse(hive_section(server, merge=kind.partition(" ")[2]))


async def merged(warehouse: Warehouse, days: int = 2) -> tuple[Batch, list[ProductionRow]]:
    batch, rows = new_batch(4, days=days)
    await warehouse.load(batch, rows)
    await warehouse.merge(batch, rows)
    return batch, rows


async def merged_again(
    warehouse: Warehouse, batch: Batch, rows: Sequence[ProductionRow]
) -> Counter[str]:
    """Merge it as the worker does: what is sent back is loaded once more."""
    try:
        return await warehouse.merge(batch, rows)
    except RewindError:
        await warehouse.load(replace(batch, staged_at="there"), rows)
        return await warehouse.merge(batch, rows)


async def in_production(warehouse: Warehouse) -> Counter[RowKey]:
    return Counter([key async for key in warehouse.rows([FIRST, SECOND, LATER])])


async def test_only_dates_with_many_files_are_to_be_compacted(
    warehouse: CompactingWarehouse,
) -> None:
    assert await warehouse.dates_to_compact(LATER) == []
    await merged(warehouse)
    assert await warehouse.dates_to_compact(LATER) == []
    await merged(warehouse)
    assert await warehouse.dates_to_compact(LATER) == [FIRST, SECOND]
    assert await warehouse.dates_to_compact(SECOND) == [FIRST]


async def test_a_compacted_date_has_one_file_and_the_same_rows(
    warehouse: CompactingWarehouse,
) -> None:
    for _ in range(3):
        await merged(warehouse)
    before = await in_production(warehouse)
    for times in range(2):
        outcome = await warehouse.compact(FIRST)
        assert (outcome.date, outcome.left) == (FIRST, "")
        assert (outcome.files_before, outcome.files_after) == (1 if times else 3, 1)
    assert await in_production(warehouse) == before
    assert await warehouse.dates_to_compact(LATER) == [SECOND]


@pytest.mark.parametrize("steps", [["merge"], ["load", "merge"], ["load", "merge", "merge"]])
async def test_what_is_repeated_after_it_makes_no_row_again(
    warehouse: CompactingWarehouse, steps: list[str]
) -> None:
    batch, rows = await merged(warehouse)
    await merged(warehouse)
    before = await in_production(warehouse)
    await warehouse.compact(FIRST)
    answer: Counter[str] = Counter()
    for step in steps:
        if step == "load":
            await warehouse.load(batch, rows)
        else:
            answer = await merged_again(warehouse, batch, rows)
    ids = {row.file_id for row in rows}
    assert set(answer.values()) <= {1}
    assert answer.keys() <= ids  # rows of other files may lack: merge looks for them
    assert await in_production(warehouse) == before
    assert await warehouse.find([RowKey(row.file_id, row.file_date) for row in rows]) == ids


async def test_a_batch_that_comes_late_makes_another_file(warehouse: CompactingWarehouse) -> None:
    await merged(warehouse)
    await merged(warehouse)
    await warehouse.compact(FIRST)
    _, rows = await merged(warehouse, days=1)
    assert FIRST in await warehouse.dates_to_compact(LATER)
    assert (await warehouse.compact(FIRST)).files_before == 2
    seen = await in_production(warehouse)
    assert {seen[RowKey(row.file_id, FIRST)] for row in rows} == {1}
