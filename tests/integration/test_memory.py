"""Memory does not grow with the rows, batches and directories that there are."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest
import sqlalchemy as sa

from backupd.cli.comparing import Comparison
from backupd.core.rows import RowCount, RowKey
from backupd.core.stages import Stage, Status
from backupd.intake.observer import Observer, PendingHints
from backupd.ledger import LedgerReader, schema
from backupd.localfs.directory import Directory
from backupd.supervisor import Supervisor
from backupd.worker import DuplicateRowLane
from support.configs import loaded
from support.fake_archive import FakeArchive
from support.fake_warehouse import FakeWarehouse
from support.files import NOW, a_file
from support.intake import PATIENCE
from support.ledgers import Bench, opened
from support.memory import MIB, measured

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Collection, Sequence
    from pathlib import Path

pytestmark = pytest.mark.slow

DATE = "2026-11-23"


async def test_batches_that_wait_for_the_warehouse_are_not_loaded_at_the_start(
    tmp_path: Path,
) -> None:
    changes = {"warehouse.embedded.root": '"TMP/unmounted/warehouse"', "retry.attempts": "1"}
    config = loaded(tmp_path, {"control.socket": '"TMP/control.sock"', **changes})
    async with opened(tmp_path / "ledger.db") as ledger:
        await ledger._writer.apply(_batches_of_500, range(500))
        with measured() as taken:
            async with asyncio.timeout(10 * PATIENCE):
                await Supervisor(config, ledger).run(once=True)
    assert taken.peak < 15 * MIB  # 5 without any batch; all of these loaded are 43


class Full(FakeWarehouse):
    """Has so many rows of one date."""

    COUNT = 100_000

    async def rows(self, dates: Collection[str]) -> AsyncIterator[RowKey]:
        for date in dates:
            for number in range(self.COUNT):
                yield RowKey(f"{number:020x}", date)


async def test_of_a_partition_whose_rows_are_counted_again_nothing_is_kept(tmp_path: Path) -> None:
    async with opened(tmp_path / "ledger.db") as ledger:
        bench = Bench(ledger=ledger, feeds=[])
        keys = [RowKey(f"{number:020x}", DATE) for number in range(10_000)]
        due = [RowCount(key=key, doubled=False, due_at=NOW) for key in keys]
        await ledger.note_row_counts(due)
        bench.context.stop.set()
        with measured() as taken:
            await DuplicateRowLane(bench.context, Full()).run()
        assert await ledger.due_row_counts(NOW, 1) == []
    assert taken.peak < 15 * MIB  # 5,000 keys and what is written of them; all rows took 24


async def test_reconcile_keeps_a_few_bytes_of_each_row_of_a_partition(tmp_path: Path) -> None:
    async with opened(tmp_path / "ledger.db"):
        pass
    reader = LedgerReader(tmp_path / "ledger.db")
    file = a_file(Stage.SHIP, id=f"{7:020x}", file_timestamp=NOW, row_seen_at=NOW)
    comparison = Comparison(reader, Full(), FakeArchive(), all_feeds=False)
    with measured() as taken:
        assert [each async for each in comparison.page([file])] == []
    reader.close()
    assert taken.peak / Full.COUNT < 30  # bytes


def test_a_watched_directory_takes_little(tmp_path: Path) -> None:
    directories = [tmp_path / f"exchange_{number:06d}" for number in range(10_000)]
    observer = Observer(PendingHints(lambda: None))
    with measured() as taken:
        for directory in directories:
            directory.mkdir()
            with Directory.at(str(directory)) as opened_one:
                assert observer.watch(str(directory), opened_one)
    observer.stop()
    assert taken.kept / len(directories) < 600  # bytes


def _batches_of_500(connection: sa.Connection, numbers: Sequence[int]) -> list[None]:
    for number in numbers:
        batch_id = f"{number:020x}"
        connection.execute(sa.insert(schema.batches), _WAITING | {"id": batch_id})
        members = [
            {"batch_id": batch_id, "position": n, "file_id": f"{number:015x}{n:05x}"}
            for n in range(500)
        ]
        connection.execute(sa.insert(schema.batch_members), members)
    return [None] * len(numbers)


_WAITING: dict[str, Any] = {
    "stage": Stage.LOAD,
    "status": Status.WAITING,
    "reason": "",
    "attempts": 0,
    "interruptions": 0,
    "claims": 0,
    "next_attempt_at": NOW,
    "created_at": NOW,
    "done_at": None,
    "staged_at": "",
}
