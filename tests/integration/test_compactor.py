"""Compaction as the daemon does it: alone, and given up at the stop."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest

from backupd.config.sections import WarehouseSection
from backupd.core.errors import BackupdError
from backupd.warehouse.embedded import compaction
from backupd.warehouse.embedded.warehouse import EmbeddedWarehouse
from backupd.worker import Compactor
from support.rows import COLUMNS, new_batch
from support.warehouse_memory import Memory

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

DATE = "2026-11-23"
BATCHES = 20


@pytest.fixture
async def warehouse(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[EmbeddedWarehouse]:
    """A date of many files, compacted in the smallest steps."""
    monkeypatch.setattr(compaction, "_TURN", 0.0)
    root = tmp_path / "warehouse"
    section = WarehouseSection(kind="embedded", columns=COLUMNS, embedded_root=root)
    opened = EmbeddedWarehouse(section, Memory())
    for _ in range(BATCHES):
        batch, rows = new_batch()
        await opened.load(batch, rows)
        await opened.merge(batch, rows)
    yield opened
    await opened.aclose()


async def test_the_stop_ends_it_and_changes_nothing(warehouse: EmbeddedWarehouse) -> None:
    stop = asyncio.Event()
    work = asyncio.create_task(Compactor(warehouse, stop).compact(DATE))
    await warehouse.dates_to_compact(DATE)  # by the same thread: the work has begun
    stop.set()
    with pytest.raises(BackupdError, match="stopping"):
        await work
    assert len(await warehouse.file_sums(DATE)) == BATCHES


async def test_none_is_begun_after_the_stop(warehouse: EmbeddedWarehouse) -> None:
    stop = asyncio.Event()
    stop.set()
    with pytest.raises(BackupdError, match="stopping"):
        await Compactor(warehouse, stop).compact(DATE)
    assert len(await warehouse.file_sums(DATE)) == BATCHES


async def test_who_asks_twice_waits_for_the_first(warehouse: EmbeddedWarehouse) -> None:
    compactor = Compactor(warehouse, asyncio.Event())
    first, second = await asyncio.gather(compactor.compact(DATE), compactor.compact(DATE))
    assert (first.files_before, first.files_after) == (BATCHES, 1)
    assert (second.files_before, second.files_after) == (1, 1)
    assert await compactor.dates_to_compact("2026-11-24") == []
