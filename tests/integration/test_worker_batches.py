"""Batches on a real ledger: formed, loaded, merged, split until the bad file is alone."""

from __future__ import annotations

import asyncio
import sqlite3
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
from sqlalchemy.exc import DatabaseError

from backupd.config.sections import BatchSection
from backupd.core import moves
from backupd.core.errors import DependencyDownError, RewindError, TransientError
from backupd.core.stages import UNSHIPPED, Stage, Status
from backupd.ledger import batches, files, incidents
from backupd.worker import BatchFormer, BatchLane
from support.fake_warehouse import FakeWarehouse
from support.files import COUNTED, a_file
from support.intake import a_feed
from support.ledgers import (
    QUICK,
    Bench,
    files_of,
    numbered,
    one,
    open_batches,
    opened,
    plant,
    story,
)

if TYPE_CHECKING:
    from collections import Counter
    from collections.abc import AsyncIterator, Coroutine, Sequence
    from pathlib import Path
    from typing import Any

    from backupd.core.records import Batch, FileRecord
    from backupd.core.rows import ProductionRow


@pytest.fixture
async def bench(tmp_path: Path) -> AsyncIterator[Bench]:
    async with opened(tmp_path / "ledger.db") as ledger:
        yield Bench(ledger=ledger, feeds=[a_feed("/feed")])


def to_load(count: int) -> list[FileRecord]:
    return numbered(a_file(Stage.LOAD, **COUNTED), count)


async def _yes() -> bool:
    return True


async def _no() -> bool:
    return False


def lanes(
    bench: Bench, warehouse: FakeWarehouse, *, max_files: int = 16
) -> Sequence[Coroutine[Any, Any, None]]:
    section = BatchSection(max_files=max_files, max_wait=3600)
    return (
        BatchFormer(bench.context, section, _yes).run(),
        BatchLane(bench.context, Stage.LOAD, warehouse).run(),
        BatchLane(bench.context, Stage.MERGE, warehouse).run(),
    )


def rows_in(warehouse: FakeWarehouse) -> list[str]:
    return sorted(row.file_id for rows in warehouse.production.values() for row in rows)


def shipped_or_parked(files: Sequence[FileRecord]) -> bool:
    return all(file.stage is UNSHIPPED[0] or file.status is Status.PARKED for file in files)


async def test_every_file_gets_one_row_in_batches_of_the_size_allowed(bench: Bench) -> None:
    files = await plant(bench.ledger, *to_load(40))
    warehouse = FakeWarehouse()
    async with bench.at_work(*lanes(bench, warehouse)):
        after = await bench.until(lambda files: all(f.stage is UNSHIPPED[0] for f in files))
    assert rows_in(warehouse) == [file.id for file in files]
    assert sorted(len(rows) for rows in warehouse.production.values()) == [8, 16, 16]
    assert all(file.row_seen_at is not None for file in after)
    assert await bench.ledger.ask(batches.open_batches) == []


@pytest.mark.parametrize("bad", [0, 7, 15])
async def test_one_bad_file_in_a_batch_is_parked_alone_and_the_others_go_on(
    bench: Bench, bad: int
) -> None:
    files = await plant(bench.ledger, *to_load(16))
    culprit = files[bad].id
    warehouse = FakeWarehouse(rejected={culprit})
    async with bench.at_work(*lanes(bench, warehouse)):
        after = await bench.until(shipped_or_parked)
    parked = [file for file in after if file.status is Status.PARKED]
    assert [file.id for file in parked] == [culprit]
    assert "no row can be made" in parked[0].reason
    assert rows_in(warehouse) == [file.id for file in files if file.id != culprit]
    assert not warehouse.staged
    assert any("its batch was split" in line[2] for line in await story(bench.ledger, culprit))


async def test_several_bad_files_are_all_found(bench: Bench) -> None:
    files = await plant(bench.ledger, *to_load(16))
    culprits = {files[0].id, files[1].id, files[9].id}
    warehouse = FakeWarehouse(rejected=culprits)
    async with bench.at_work(*lanes(bench, warehouse)):
        after = await bench.until(shipped_or_parked)
    assert {file.id for file in after if file.status is Status.PARKED} == culprits


async def test_a_warehouse_that_is_down_pauses_and_heals_without_burning_attempts(
    bench: Bench,
) -> None:
    await plant(bench.ledger, *to_load(3))
    warehouse = FakeWarehouse(down_for=2 * QUICK.attempts)
    async with bench.at_work(*lanes(bench, warehouse)):
        await bench.until(lambda files: all(f.stage is UNSHIPPED[0] for f in files))
    assert not bench.context.breakers.open
    assert await bench.ledger.ask(incidents.outages) == []


@pytest.mark.parametrize("when", ["before commit", "after commit"])
async def test_a_lost_answer_to_a_merge_makes_no_second_row_and_loses_none(
    bench: Bench, when: str
) -> None:
    files = await plant(bench.ledger, *to_load(5))
    warehouse = FakeWarehouse(answer_lost=when)  # type: ignore[arg-type] # one of its two
    async with bench.at_work(*lanes(bench, warehouse)):
        await bench.until(lambda files: all(f.stage is UNSHIPPED[0] for f in files))
    assert rows_in(warehouse) == [file.id for file in files]


async def test_lost_staging_is_made_again(bench: Bench) -> None:
    files = await plant(bench.ledger, *to_load(5))

    class Forgetful(FakeWarehouse):
        forgot = False

        async def merge(self, batch: Batch, rows: Sequence[ProductionRow]) -> Counter[str]:
            if not self.forgot:
                self.forgot = True
                self.staged.clear()
            return await super().merge(batch, rows)

    warehouse = Forgetful()
    async with bench.at_work(*lanes(bench, warehouse)):
        await bench.until(lambda files: all(f.stage is UNSHIPPED[0] for f in files))
    assert rows_in(warehouse) == [file.id for file in files]


async def test_staging_that_is_lost_every_time_parks_the_batch_in_the_end(bench: Bench) -> None:
    await plant(bench.ledger, *to_load(5))

    class Lossy(FakeWarehouse):
        async def merge(self, *_: object) -> Counter[str]:
            raise RewindError(Stage.LOAD, "neither staged nor merged")

    async with bench.at_work(*lanes(bench, Lossy())):
        after = await bench.until(lambda files: all(f.status is Status.PARKED for f in files))
    assert {file.reason for file in after} == {
        "gave up after 3 attempts: neither staged nor merged"
    }


async def test_a_requeued_file_whose_row_is_there_gets_no_second_one(bench: Bench) -> None:
    (file,) = await plant(bench.ledger, *to_load(1))
    warehouse = FakeWarehouse()
    async with bench.at_work(*lanes(bench, warehouse)):
        (merged,) = await bench.until(lambda files: files[0].stage is UNSHIPPED[0])
    again = Bench(ledger=bench.ledger, feeds=[a_feed("/feed")])
    await bench.ledger._writer.apply(_put_back, [merged.id])
    async with again.at_work(*lanes(again, warehouse)):
        (after,) = await again.until(lambda files: files[0].stage is UNSHIPPED[0])
    assert after.batch_id != merged.batch_id
    assert rows_in(warehouse) == [file.id]


def _put_back(connection: Any, ids: Sequence[str]) -> list[None]:  # noqa: ANN401 - SQLAlchemy's, which only the ledger names
    for file_id in ids:
        connection.exec_driver_sql(
            "UPDATE files SET stage = 'load', batch_id = NULL WHERE id = ?", (file_id,)
        )
    return [None] * len(ids)


async def test_a_lane_sleeps_while_the_warehouse_is_down_and_no_batch_is_due(
    bench: Bench,
) -> None:
    await bench.context.breakers.failed(DependencyDownError("warehouse", "refused"))
    warehouse = FakeWarehouse()
    merge = BatchLane(bench.context, Stage.MERGE, warehouse)
    async with bench.at_work(merge.run()):
        bench.ahead = 3600  # its pause is long over
        assert await bench.take_turns() <= 2


async def test_a_batch_that_is_cancelled_is_given_back(bench: Bench) -> None:
    await plant(bench.ledger, *to_load(3))
    started = asyncio.Event()

    class Hanging(FakeWarehouse):
        async def load(self, *_: object) -> str:
            started.set()
            await asyncio.Event().wait()
            return ""

    await bench.ledger.form_batch(16, bench.now())
    lane = asyncio.create_task(BatchLane(bench.context, Stage.LOAD, Hanging()).run())
    await started.wait()
    lane.cancel()
    with pytest.raises(asyncio.CancelledError):
        await lane
    (batch,) = await open_batches(bench.ledger)
    assert (batch.status, batch.attempts) == (Status.WAITING, 0)
    assert {(f.status, f.attempts) for f in await files_of(bench.ledger)} == {(Status.WAITING, 0)}


async def test_a_small_batch_waits_for_company_until_its_time_is_over(bench: Bench) -> None:
    now = bench.now()
    await plant(bench.ledger, *numbered(a_file(Stage.LOAD, stage_since=now, **COUNTED), 3))
    former = BatchFormer(bench.context, BatchSection(max_files=16, max_wait=3600), _no)
    async with bench.at_work(former.run()):
        await bench.take_turns()
        assert await bench.ledger.ask(batches.open_batches) == []
        bench.ahead = 3601
        bench.ledger.wake(Stage.LOAD)
        await bench.until(lambda files: all(file.batch_id for file in files))
    (batch,) = await open_batches(bench.ledger)
    assert len(batch.members) == 3


async def test_a_full_batch_waits_for_nothing(bench: Bench) -> None:
    now = bench.now()
    await plant(bench.ledger, *numbered(a_file(Stage.LOAD, stage_since=now, **COUNTED), 20))
    former = BatchFormer(bench.context, BatchSection(max_files=16, max_wait=3600), _no)
    async with bench.at_work(former.run()):
        await bench.until(lambda files: sum(file.batch_id is not None for file in files) == 16)


async def test_few_batches_are_formed_ahead_and_one_that_failed_counts_for_none(
    bench: Bench,
) -> None:
    await plant(bench.ledger, *to_load(20))
    former = BatchFormer(bench.context, BatchSection(max_files=4, max_wait=3600), _no)
    async with bench.at_work(former.run()):
        await bench.until(lambda files: sum(file.batch_id is not None for file in files) == 8)
        await bench.take_turns()
        assert len(await open_batches(bench.ledger)) == 2
        claimed = await bench.ledger.claim_batch(Stage.LOAD, bench.now())
        assert claimed is not None
        failed = moves.batch_failed(claimed, TransientError("no"), bench.now(), QUICK)
        later = replace(failed, changes={**failed.changes, "next_attempt_at": bench.now() + 3600})
        await bench.ledger.move_batch(later)
        await bench.until(lambda files: sum(file.batch_id is not None for file in files) == 12)
        await bench.take_turns()
    assert len(await open_batches(bench.ledger)) == 3


async def test_a_ledger_that_cannot_be_read_stops_the_lane_and_burns_no_attempt(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    (file,) = await plant(bench.ledger, *to_load(1))
    await bench.ledger.form_batch(16, bench.now())
    lane = BatchLane(bench.context, Stage.LOAD, FakeWarehouse())
    monkeypatch.setattr(files, "by_ids", _broken)
    with pytest.raises(Exception, match="malformed") as caught:
        await lane.run()
    assert type(caught.value).__name__ == "LedgerError"
    monkeypatch.undo()
    assert (await one(bench.ledger, file.id)).status is Status.RUNNING


def _broken(*_: object) -> object:
    raise DatabaseError("SELECT", None, sqlite3.DatabaseError("database disk image is malformed"))


async def test_a_warehouse_that_answers_slowly_is_tried_again(bench: Bench) -> None:
    files = await plant(bench.ledger, *to_load(2))

    class Slow(FakeWarehouse):
        failures = 2

        async def load(self, batch: Batch, rows: Sequence[ProductionRow]) -> str:
            if self.failures:
                self.failures -= 1
                raise TransientError("timed out")
            return await super().load(batch, rows)

    warehouse = Slow()
    async with bench.at_work(*lanes(bench, warehouse)):
        await bench.until(lambda files: all(f.stage is UNSHIPPED[0] for f in files))
    assert rows_in(warehouse) == [file.id for file in files]
