"""Who runs into the limits of this host waits, and is not at fault."""

from __future__ import annotations

import asyncio
import errno
import os
import threading
from collections import Counter
from typing import TYPE_CHECKING

import pytest

from backupd.carrier import Carrier, CarrierConfig
from backupd.config.sections import BatchSection
from backupd.core.dependencies import Dependency
from backupd.core.errors import DependencyDownError, PermanentError, TransientError
from backupd.core.host import host_fault
from backupd.core.records import Result
from backupd.core.shares import Shares
from backupd.core.stages import UNSHIPPED, Stage, Status
from backupd.intake.service import Intake
from backupd.ledger import incidents as ledger_incidents
from backupd.stages import CleanupRules, ShipRules
from backupd.worker import BatchFormer, BatchLane, FileLane, HostWatch, host
from support.archives import FirstUse, archive_section
from support.fake_warehouse import FakeWarehouse
from support.files import COUNTED, a_file, registered, task_of
from support.intake import a_feed, a_section, eventually
from support.ledgers import QUICK, Bench, files_of, numbered, opened, plant
from support.limits import descriptors_left
from support.processes import descendants

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence
    from pathlib import Path
    from typing import Any

    from backupd.core.incidents import Incident
    from backupd.core.records import Batch, FileRecord, Task
    from backupd.core.rows import ProductionRow

WELL = Result(changes={}, detail="well")


def exhausted() -> Exception:
    """Return what an adapter makes of it."""
    error = PermanentError("cannot be opened")
    error.__cause__ = OSError(errno.EMFILE, "Too many open files")
    return error


@pytest.fixture
async def bench(tmp_path: Path) -> AsyncIterator[Bench]:
    async with opened(tmp_path / "ledger.db") as ledger:
        yield Bench(ledger=ledger, feeds=[a_feed("/feed")])


async def incidents(bench: Bench) -> list[Incident]:
    return await bench.ledger.ask(ledger_incidents.all_open)


def watching(bench: Bench) -> HostWatch:
    return HostWatch(bench.context.breakers, bench.context.stop)


class Short:
    """A stage that runs into limits so many times; `most` were at it at once, once it had."""

    def __init__(self, bench: Bench, times: int, error: Exception) -> None:
        self.breakers = bench.context.breakers
        self.times, self.error = times, error
        self.trials, self.most = 0, 0

    async def __call__(self, _: Task) -> Result:
        is_trial = self.breakers.is_down(Dependency.HOST)
        self.trials += is_trial
        self.most = max(self.most, self.trials)
        try:
            await asyncio.sleep(0.001)
            if self.times:
                self.times -= 1
                raise self.error
            return WELL
        finally:
            self.trials -= is_trial


class ShortWarehouse(FakeWarehouse):
    """A warehouse whose calls run into limits so many times, by verb."""

    def __init__(self) -> None:
        super().__init__()
        self.short_for: Counter[str] = Counter()

    async def load(self, batch: Batch, rows: Sequence[ProductionRow]) -> str:
        self._run_into_limits("load")
        return await super().load(batch, rows)

    async def merge(self, batch: Batch, rows: Sequence[ProductionRow]) -> Counter[str]:
        self._run_into_limits("merge")
        return await super().merge(batch, rows)

    def _run_into_limits(self, verb: str) -> None:
        if self.short_for[verb]:
            self.short_for[verb] -= 1
            raise exhausted()


@pytest.mark.parametrize("stage", [Stage.MANIFEST, Stage.SHIP, Stage.CLEANUP])
@pytest.mark.parametrize(
    "error", [MemoryError(), RuntimeError("can't start new thread"), exhausted()], ids=repr
)
async def test_a_file_waits_until_the_host_is_well_again(
    bench: Bench, stage: Stage, error: Exception
) -> None:
    await plant(bench.ledger, *numbered(a_file(stage), 16))
    work = Short(bench, 12, error)
    lane = FileLane(bench.context, stage, work, Shares(8))
    async with bench.at_work(lane.run()):
        files = await bench.until(
            lambda files: all(f.stage is not stage or f.status is Status.DONE for f in files)
        )
        (incident,) = await incidents(bench)
    assert {file.status for file in files} <= {Status.WAITING, Status.DONE}
    assert {file.attempts for file in files} <= {0, 1}  # 1: of the try that went well
    assert (incident.cause, incident.title) == (Dependency.HOST, "this host is at its limits")
    assert work.most == 1


@pytest.mark.parametrize("verb", ["load", "merge"])
async def test_a_batch_waits_until_the_host_is_well_again(bench: Bench, verb: str) -> None:
    await plant(bench.ledger, *numbered(a_file(Stage.LOAD, **COUNTED), 3))
    warehouse = ShortWarehouse()
    warehouse.short_for[verb] = 9
    section = BatchSection(max_files=3, max_wait=3600)

    async def no() -> bool:
        return False

    parts = [
        BatchFormer(bench.context, section, no).run(),
        BatchLane(bench.context, Stage.LOAD, warehouse).run(),
        BatchLane(bench.context, Stage.MERGE, warehouse).run(),
    ]
    async with bench.at_work(*parts):
        await bench.until(lambda files: all(file.stage is UNSHIPPED[0] for file in files))
        assert [each.cause for each in await incidents(bench)] == [Dependency.HOST]


async def test_the_incident_ends_by_itself_when_nothing_runs_into_limits(bench: Bench) -> None:
    fault = host_fault(exhausted())
    assert fault is not None

    async def over() -> bool:
        return not await incidents(bench)

    async with bench.at_work(watching(bench).run()):
        await bench.context.breakers.failed(fault)
        assert [each.cause for each in await incidents(bench)] == [Dependency.HOST]
        await eventually(over, lambda: "it is not over")
    assert not bench.context.breakers.is_down(Dependency.HOST)


async def test_the_incident_lasts_while_this_process_has_nothing_left(bench: Bench) -> None:
    fault = host_fault(exhausted())
    assert fault is not None
    breakers = bench.context.breakers

    async def tried_often() -> bool:
        return breakers.open[Dependency.HOST].trials > 5

    async def over() -> bool:
        return not breakers.is_down(Dependency.HOST)

    async with bench.at_work(watching(bench).run()):
        await breakers.failed(fault)
        with descriptors_left(0):
            await eventually(tried_often, lambda: str(breakers.open))
        await eventually(over, lambda: str(breakers.open))


async def test_what_comes_back_soon_has_to_be_well_for_longer_until_it_is_over(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(host, "_EVERY", 0.01)
    monkeypatch.setattr(host, "_SHORTEST_QUIET", 0.0)
    fault = host_fault(exhausted())
    assert fault is not None
    breakers, watch = bench.context.breakers, watching(bench)

    async def once_more() -> bool:
        await breakers.failed(fault)
        while breakers.is_down(Dependency.HOST):  # noqa: ASYNC110 - a breaker sets no event
            await asyncio.sleep(0.01)
        return watch._quiet >= 4 * QUICK.cap  # a loaded machine may be too slow to come back soon

    async with bench.at_work(watch.run()):
        await eventually(once_more, lambda: str(watch._quiet))


async def test_limits_of_the_carrier_are_no_files_fault(tmp_path: Path) -> None:
    path = tmp_path / "eLUX_1.csv"
    path.write_bytes(b"A;B\n1;2\n")
    task = task_of(registered(path))
    async with Carrier(_config(tmp_path), FirstUse()) as carrier:
        ship = carrier.stage(Stage.SHIP)
        await carrier.sign_of_life()
        (pid,) = descendants(os.getpid())
        with descriptors_left(1, pid), pytest.raises(DependencyDownError) as raised:
            await ship(task)
        assert raised.value.dependency == Dependency.HOST
        assert (await ship(task)).receipt is not None


async def test_a_carrier_that_cannot_be_started_is_started_later(tmp_path: Path) -> None:
    path = tmp_path / "eLUX_1.csv"
    path.write_bytes(b"A;B\n1;2\n")
    task = task_of(registered(path))
    with descriptors_left(3):
        carrier = await Carrier(_config(tmp_path), FirstUse()).__aenter__()
    try:
        result = await carrier.stage(Stage.SHIP)(task)
        assert result.receipt is not None
    finally:
        await carrier.__aexit__(None, None, None)


def _config(directory: Path) -> CarrierConfig:
    section = archive_section(directory / "archive")
    return CarrierConfig(
        archive=section, ship=ShipRules(compress=True), cleanup=CleanupRules(delete=True)
    )


@pytest.mark.parametrize("left", [0, 1, 2, 3, 5])
async def test_intake_takes_up_what_it_could_not_look_at(tmp_path: Path, left: int) -> None:
    directory = tmp_path / "in"
    directory.mkdir()
    told: list[DependencyDownError] = []

    async def hampered(fault: DependencyDownError) -> None:
        told.append(fault)

    async with opened(tmp_path / "ledger.db") as ledger:
        section = a_section(settle_for=0.02)
        intake = Intake(section, [a_feed(directory)], ledger, hampered)
        stop = asyncio.Event()

        async def settled() -> bool:
            files: list[FileRecord] = await files_of(ledger)
            return [file.stage for file in files] == [Stage.MANIFEST]

        running = asyncio.create_task(intake.run(stop))
        with descriptors_left(left):
            (directory / "eLUX_1.csv").write_bytes(b"A\n1\n")
            await _told_or_settled(told, settled)
        await eventually(settled, lambda: str(told))
        stop.set()
        await running
    assert {fault.dependency for fault in told} <= {Dependency.HOST}


async def test_intake_begins_when_threads_can_be_had(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    told: list[DependencyDownError] = []

    async def hampered(fault: DependencyDownError) -> None:
        told.append(fault)
        if len(told) == 2:
            refusing.undo()

    def refuse(_: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "eLUX_1.csv").write_bytes(b"A\n1\n")
    async with opened(tmp_path / "ledger.db") as ledger:
        await files_of(ledger)  # its own thread is there from the start
        intake = Intake(a_section(), [a_feed(tmp_path / "in")], ledger, hampered)
        stop = asyncio.Event()

        async def settled() -> bool:
            return [file.stage for file in await files_of(ledger)] == [Stage.MANIFEST]

        with monkeypatch.context() as refusing:
            refusing.setattr(threading.Thread, "start", refuse)
            running = asyncio.create_task(intake.run(stop))
            await eventually(settled, lambda: str(told))
        stop.set()
        await running
    assert len(told) == 2


async def _told_or_settled(told: list[DependencyDownError], settled: Any) -> None:  # noqa: ANN401 - a condition
    async def either() -> bool:
        return bool(told) or await settled()

    await eventually(either, lambda: "nothing happened")


async def test_a_transient_error_still_counts(bench: Bench) -> None:
    await plant(bench.ledger, a_file(Stage.SHIP))
    work = Short(bench, 3, TransientError("slow"))
    async with bench.at_work(FileLane(bench.context, Stage.SHIP, work, Shares(8)).run()):
        await bench.until(lambda files: files[0].status is Status.PARKED)
