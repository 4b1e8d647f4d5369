"""Compaction unasked: which dates, how often, what is logged of those that stay as they are."""

from __future__ import annotations

import asyncio
import time
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
from structlog.testing import capture_logs

from backupd.core.compacting import CompactedByItself
from backupd.core.errors import DependencyDownError, LedgerError
from backupd.core.rows import Compaction
from backupd.worker import CompactionLane, Compactor, hive_compaction
from support.intake import a_feed, eventually
from support.ledgers import QUICK, Bench, opened
from support.rows import NOON

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable
    from pathlib import Path

DAY = 86_400.0
PATIENT = replace(QUICK, first=DAY, cap=DAY)  # what is down stays so


class Crowded:
    """`CompactedByItself`, with what was asked of it."""

    def __init__(self) -> None:
        self.dates = ["2026-11-20", "2026-11-21"]
        self.left: dict[str, str] = {}
        self.behind: list[str] = []
        self.error: Exception | None = None
        self.failing: set[str] = set()
        self.asked: list[tuple[str, int]] = []
        self.compacted: list[str] = []
        self.hangs = asyncio.Event()
        self.hangs.set()

    async def dates_to_compact(self, before: str, more_than: int = 1) -> list[str]:
        self.asked.append((before, more_than))
        return self.dates

    async def compact(self, date: str) -> Compaction:
        self.compacted.append(date)
        await self.hangs.wait()
        if date in self.failing:
            raise DependencyDownError("warehouse", "no such file")
        left = self.left.get(date, "")
        return Compaction(date=date, files_before=30, files_after=30 if left else 1, left=left)

    async def finish_compactions(self) -> list[str]:
        if self.error is not None:
            raise self.error
        return self.behind


async def until_so(true: Callable[[], bool]) -> None:
    async def look() -> bool:
        return true()

    await eventually(look, lambda: "never")


@pytest.fixture
async def bench(tmp_path: Path) -> AsyncIterator[Bench]:
    async with opened(tmp_path / "ledger.db") as ledger:
        yield Bench(ledger=ledger, feeds=[a_feed("/feed")], policy=PATIENT)


@pytest.fixture
async def warehouse() -> Crowded:
    return Crowded()


def lane_of(bench: Bench, warehouse: Crowded, files: int = 20) -> CompactionLane:
    compactor = Compactor(warehouse, bench.context.stop)
    return CompactionLane(bench.context, warehouse, compactor, 2 * DAY, files)


async def test_dates_are_compacted_once_they_are_longer_ago_than_asked_for(
    bench: Bench, warehouse: Crowded
) -> None:
    assert isinstance(warehouse, CompactedByItself)
    bench.ahead = NOON - time.time()
    await lane_of(bench, warehouse).look()
    assert warehouse.asked == [("2026-11-21", 20)]
    assert warehouse.compacted == warehouse.dates


async def test_with_no_files_only_what_was_begun_is_finished(
    bench: Bench, warehouse: Crowded
) -> None:
    warehouse.behind = ["old ones"]
    with capture_logs() as logs:
        await lane_of(bench, warehouse, files=0).look()
    assert warehouse.asked == []
    assert [each["reason"] for each in logs] == ["old ones"]


async def test_a_date_that_is_left_is_reported_once_and_tried_again_a_day_later(
    bench: Bench, warehouse: Crowded
) -> None:
    first, second = warehouse.dates
    warehouse.left = {first: "notes.txt is not ours"}
    warehouse.behind = ["old ones"]
    lane = lane_of(bench, warehouse)
    with capture_logs() as logs:
        for _ in range(3):
            await lane.look()
        assert warehouse.compacted == [first, second, second, second]
        bench.ahead += DAY
        await lane.look()
    assert warehouse.compacted[-2:] == [first, second]
    warnings = [each["reason"] for each in logs if each["log_level"] == "warning"]
    assert warnings == ["old ones", "notes.txt is not ours"]


async def test_a_warehouse_that_is_down_is_not_asked(bench: Bench, warehouse: Crowded) -> None:
    down = DependencyDownError("warehouse", "gone")
    await bench.context.breakers.failed(down)
    await lane_of(bench, warehouse).look()
    assert warehouse.asked == []


async def test_what_goes_wrong_is_reported_once_and_holds_nothing_up(
    bench: Bench, warehouse: Crowded
) -> None:
    warehouse.error = DependencyDownError("warehouse", "no permission")
    lane = lane_of(bench, warehouse)
    with capture_logs() as logs:
        await lane.look()
        await lane.look()
    assert [each["reason"] for each in logs] == ["no permission"]
    assert not bench.context.breakers.is_paused("warehouse")
    warehouse.error = None
    await lane.look()
    assert warehouse.compacted == warehouse.dates


async def test_a_date_that_fails_has_the_others_wait_for_one_look_at_most(
    bench: Bench, warehouse: Crowded
) -> None:
    first, second = warehouse.dates
    warehouse.failing = {first}
    lane = lane_of(bench, warehouse)
    await lane.look()
    await lane.look()
    assert warehouse.compacted == [first, second]
    bench.ahead += DAY
    warehouse.failing = set()
    await lane.look()
    assert warehouse.compacted == [first, second, first, second]


async def test_a_ledger_that_fails_ends_the_daemon(bench: Bench, warehouse: Crowded) -> None:
    warehouse.error = LedgerError("damaged")
    with pytest.raises(LedgerError):
        await lane_of(bench, warehouse).look()


async def test_the_stop_ends_it_at_once(
    bench: Bench, warehouse: Crowded, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(hive_compaction, "_FIRST_LOOK", 0.0)
    warehouse.hangs.clear()
    work = asyncio.create_task(lane_of(bench, warehouse).run())
    await until_so(lambda: bool(warehouse.compacted))
    with capture_logs() as logs:
        bench.context.stop.set()
        await work
    assert logs == []
    assert warehouse.compacted == warehouse.dates[:1]


async def test_it_looks_again_and_again(
    bench: Bench, warehouse: Crowded, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(hive_compaction, "_FIRST_LOOK", 0.0)
    monkeypatch.setattr(hive_compaction, "_LOOK_EVERY", 0.0)
    work = asyncio.create_task(lane_of(bench, warehouse).run())
    await until_so(lambda: len(warehouse.asked) > 2)
    bench.context.stop.set()
    await work
