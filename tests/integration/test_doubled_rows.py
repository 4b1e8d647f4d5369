"""Rows that are in production more than once: an incident until they are not."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from backupd.alerts.meaning import meaning, next_command
from backupd.config.sections import BatchSection
from backupd.core.incidents import Kind
from backupd.core.stages import UNSHIPPED, Stage
from backupd.ledger import incidents as ledger_incidents
from backupd.worker import BatchFormer, BatchLane, DuplicateRowLane
from backupd.worker.batches import LATE
from support.fake_warehouse import FakeWarehouse
from support.files import COUNTED, a_file
from support.intake import a_feed, eventually
from support.ledgers import Bench, numbered, opened, plant

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Coroutine, Sequence
    from pathlib import Path
    from typing import Any

    from backupd.core.incidents import Incident
    from backupd.core.rows import ProductionRow


COPIES = "a copy of all"


@pytest.fixture
async def bench(tmp_path: Path) -> AsyncIterator[Bench]:
    async with opened(tmp_path / "ledger.db") as ledger:
        yield Bench(ledger=ledger, feeds=[a_feed("/feed")])


class Doubling(FakeWarehouse):
    """Makes every row twice."""

    def _commit(self, batch_id: str, rows: Sequence[ProductionRow]) -> None:
        super()._commit(batch_id, rows)
        copies = self.production.setdefault(COPIES, [])
        copies += self.production[batch_id]


async def _yes() -> bool:
    return True


def lanes(bench: Bench, warehouse: FakeWarehouse) -> tuple[Coroutine[Any, Any, None], ...]:
    return (
        BatchFormer(bench.context, BatchSection(max_files=8, max_wait=3600), _yes).run(),
        BatchLane(bench.context, Stage.LOAD, warehouse).run(),
        BatchLane(bench.context, Stage.MERGE, warehouse).run(),
        DuplicateRowLane(bench.context, warehouse).run(),
    )


async def incidents(bench: Bench) -> list[Incident]:
    return await bench.ledger.ask(ledger_incidents.all_open)


async def doubled(bench: Bench, warehouse: FakeWarehouse) -> Incident:
    """Take files through a merge that makes each row twice; return the incident."""
    await plant(bench.ledger, *numbered(a_file(Stage.LOAD, **COUNTED), 20))
    async with bench.at_work(*lanes(bench, warehouse)):
        await bench.until(lambda files: all(file.stage is UNSHIPPED[0] for file in files))
    (incident,) = await incidents(bench)
    return incident


async def test_one_incident_tells_them_and_how_to_repair_them_and_the_files_go_on(
    bench: Bench,
) -> None:
    incident = await doubled(bench, Doubling())
    assert incident.kind is Kind.DOUBLED
    assert "file ids 00000000000000000000, 00000000000000000001" in incident.reason
    assert "and 15 more in the partitions 20" in incident.reason
    assert "leave one row each of 20" in next_command(incident)
    assert "more than once" in meaning(incident)
    assert await bench.ledger.ask(ledger_incidents.outages) == []


async def test_it_is_over_when_each_is_there_once(bench: Bench) -> None:
    warehouse = Doubling()
    await doubled(bench, warehouse)
    del warehouse.production[COPIES]
    bench.context.stop.clear()

    async def is_over() -> bool:
        return not await incidents(bench)

    async with bench.at_work(DuplicateRowLane(bench.context, warehouse).run()):
        await eventually(is_over, lambda: "the incident is open still")
    assert await bench.ledger.doubled_rows() == []


async def test_what_is_still_doubled_stays_told(bench: Bench) -> None:
    warehouse = Doubling()
    first = await doubled(bench, warehouse)
    kept = warehouse.production[COPIES][3]
    warehouse.production[COPIES] = [kept]
    bench.context.stop.set()
    await DuplicateRowLane(bench.context, warehouse).run()
    (left,) = await incidents(bench)
    assert left.id == first.id
    assert left.reason.startswith(f"file ids {kept.file_id} in the partitions")
    assert [key.file_id for key in await bench.ledger.doubled_rows()] == [kept.file_id]


async def test_a_warehouse_that_is_away_leaves_it_as_it_is(bench: Bench) -> None:
    warehouse = Doubling()
    first = await doubled(bench, warehouse)
    warehouse.down_for = 1
    await DuplicateRowLane(bench.context, warehouse).run()
    assert [each.id for each in await incidents(bench)] == [first.id]


async def test_rows_of_a_merge_that_was_tried_twice_are_counted_again_later(bench: Bench) -> None:
    """What the first try had begun comes to its end when all seems over."""
    await plant(bench.ledger, *numbered(a_file(Stage.LOAD, **COUNTED), 8))
    warehouse = FakeWarehouse(answer_lost="before commit")
    async with bench.at_work(*lanes(bench, warehouse)):
        await bench.until(lambda files: all(file.stage is UNSHIPPED[0] for file in files))
    assert await incidents(bench) == []
    (rows,) = warehouse.production.values()
    warehouse.production[COPIES] = rows[:2]

    bench.ahead += LATE
    await DuplicateRowLane(bench.context, warehouse).run()
    (incident,) = await incidents(bench)
    assert incident.reason.startswith(f"file ids {rows[0].file_id}, {rows[1].file_id} in")
    assert await bench.ledger.due_row_counts(bench.now(), 1) == []


async def test_rows_of_a_merge_that_went_through_are_not_counted_again(bench: Bench) -> None:
    await plant(bench.ledger, *numbered(a_file(Stage.LOAD, **COUNTED), 8))
    async with bench.at_work(*lanes(bench, FakeWarehouse())):
        await bench.until(lambda files: all(file.stage is UNSHIPPED[0] for file in files))
    assert await bench.ledger.due_row_counts(bench.now() + LATE, 1) == []
