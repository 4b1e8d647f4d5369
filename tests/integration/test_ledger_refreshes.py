"""What Impala is owed: remembered with the merge, paid once for many, never forgotten too early."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest

from backupd.core import moves
from backupd.core.errors import DependencyDownError
from backupd.core.rows import TouchedTable
from backupd.core.stages import Stage
from backupd.worker import RefreshLane
from support.files import NOW, a_file
from support.intake import a_feed, eventually
from support.ledgers import Bench, files_of, numbered, opened, plant

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence
    from pathlib import Path

    from backupd.ledger import Ledger

TABLE = "`mnaas`.`t`"


@pytest.fixture
async def bench(tmp_path: Path) -> AsyncIterator[Bench]:
    async with opened(tmp_path / "ledger.db") as ledger:
        yield Bench(ledger=ledger, feeds=[a_feed("/feed")])


class FakeImpala:
    """`core.ports.Refresher`, with what it was asked and how often it fails first."""

    table = TABLE

    def __init__(self, ledger: Ledger, down_for: int = 0) -> None:
        self.asked: list[str] = []
        self.dates: list[tuple[str, ...]] = []
        self.merge_meanwhile = False
        self._ledger = ledger
        self._down_for = down_for

    async def refresh(self, table: str, dates: Sequence[str]) -> None:
        self.asked.append(table)
        self.dates.append(tuple(dates))
        if self.merge_meanwhile:
            self.merge_meanwhile = False
            await merged(self._ledger)
        if self._down_for > 0:
            self._down_for -= 1
            raise DependencyDownError("impala", "Impala is away")

    async def aclose(self) -> None:
        pass


async def merged(ledger: Ledger, table: str = TABLE, dates: tuple[str, ...] = ()) -> None:
    """Take a batch of one more file through load and merge."""
    known: dict[str, Any] = {"size_bytes": 1, "record_count": 1, "sha256": "ab" * 32}
    count = len(await files_of(ledger))
    await plant(ledger, numbered(a_file(Stage.LOAD, **known), count + 1)[-1])
    await ledger.form_batch(1, NOW)
    loading = await ledger.claim_batch(Stage.LOAD, NOW)
    assert loading
    await ledger.move_batch(moves.batch_advanced(loading, "staged", NOW))
    merging = await ledger.claim_batch(Stage.MERGE, NOW)
    assert merging
    touched = TouchedTable(name=table, dates=dates) if table else None
    await ledger.move_batch(replace(moves.batch_merged(merging, NOW), refresh=touched))


async def paid(bench: Bench, impala: FakeImpala) -> None:
    """Let the lane work until nothing is owed."""

    async def nothing_owed() -> bool:
        return not await bench.ledger.owed_refreshes()

    async with bench.at_work(RefreshLane(bench.context, impala).run()):
        await eventually(nothing_owed, lambda: str(impala.asked))


async def test_many_merges_are_owed_as_one(bench: Bench) -> None:
    for _ in range(3):
        await merged(bench.ledger)
    (owed,) = await bench.ledger.owed_refreshes()
    assert (owed.name, owed.since, owed.merges) == (TABLE, NOW, 3)


async def test_the_partitions_of_all_merges_are_owed_together(bench: Bench) -> None:
    for dates in (("2026-11-23", "2026-11-24"), ("2026-11-22", "2026-11-23")):
        await merged(bench.ledger, dates=dates)
    impala = FakeImpala(bench.ledger)
    await paid(bench, impala)
    assert impala.dates == [("2026-11-22", "2026-11-23", "2026-11-24")]


async def test_what_is_owed_is_paid_once(bench: Bench) -> None:
    await merged(bench.ledger)
    await merged(bench.ledger)
    impala = FakeImpala(bench.ledger)
    await paid(bench, impala)
    assert impala.asked == [TABLE]


async def test_an_impala_that_is_down_is_asked_again(bench: Bench) -> None:
    await merged(bench.ledger)
    impala = FakeImpala(bench.ledger, down_for=2)
    await paid(bench, impala)
    assert impala.asked == [TABLE] * 3
    assert not bench.context.breakers.is_down("impala")


async def test_a_merge_during_a_refresh_stays_owed(bench: Bench) -> None:
    await merged(bench.ledger)
    impala = FakeImpala(bench.ledger)
    impala.merge_meanwhile = True
    await paid(bench, impala)
    assert impala.asked == [TABLE] * 2


async def test_the_last_merge_is_paid_at_the_stop(bench: Bench) -> None:
    impala = FakeImpala(bench.ledger)
    bench.context.stop.set()
    await merged(bench.ledger)
    await RefreshLane(bench.context, impala).run()
    assert await bench.ledger.owed_refreshes() == []


async def test_a_merge_that_owes_nothing_leaves_nothing(bench: Bench) -> None:
    await merged(bench.ledger, table="")
    assert await bench.ledger.owed_refreshes() == []
