"""Lanes on a real ledger: what a failure means, what is down, what is stopped."""

from __future__ import annotations

import asyncio
import time
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from backupd.core.errors import (
    BackupdError,
    DependencyDownError,
    LedgerError,
    LocalGoneError,
    PermanentError,
    TransientError,
    UnknownOutcomeError,
)
from backupd.core.records import Result
from backupd.core.shares import Shares
from backupd.core.stages import Awaits, Stage, Status
from backupd.ledger import files, incidents
from backupd.worker import FileLane
from support.counted_work import CountedWork
from support.files import a_file
from support.intake import a_feed, eventually
from support.ledgers import QUICK, Bench, files_of, numbered, one, opened, plant, story

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable
    from pathlib import Path

    from backupd.core.records import FileRecord, Task

FEED = a_feed("/feed")
OTHER = a_feed("/other", customer="SKYROAM")
WELL = Result(changes={}, detail="well")
DOWN = DependencyDownError("archive", "refused")


@pytest.fixture
async def bench(tmp_path: Path) -> AsyncIterator[Bench]:
    async with opened(tmp_path / "ledger.db") as ledger:
        yield Bench(ledger=ledger, feeds=[FEED, OTHER])


class Work:
    """A stage that meets these errors, one a call, and does well after them."""

    def __init__(self, *errors: BaseException, result: Result = WELL) -> None:
        self.errors = list(errors)
        self.result = result
        self.calls: list[str] = []

    async def __call__(self, task: Task) -> Result:
        self.calls.append(task.file.id)
        await asyncio.sleep(0)
        if self.errors:
            raise self.errors.pop(0)
        return self.result


class Held:
    """A stage whose files stay until they are let go, or fail with the error that is set."""

    def __init__(self) -> None:
        self.go = asyncio.Event()
        self.calls: list[str] = []
        self.error: BackupdError | None = None

    async def __call__(self, task: Task) -> Result:
        self.calls.append(task.file.id)
        await self.go.wait()
        if self.error is not None:
            raise self.error
        return WELL

    async def are_called(self, count: int) -> None:
        async def look() -> bool:
            return len(self.calls) >= count

        await eventually(look, lambda: str(self.calls))


def shipping(bench: Bench, work: Callable[[Task], object], places: int = 4) -> FileLane:
    return FileLane(bench.context, Stage.SHIP, work, Shares(places))  # type: ignore[arg-type] # both are stages


def all_at(stage: Stage, status: Status = Status.WAITING) -> Callable[[list[FileRecord]], bool]:
    return lambda files: all((file.stage, file.status) == (stage, status) for file in files)


async def test_due_files_go_through_the_stage_once_each(bench: Bench) -> None:
    files = await plant(bench.ledger, *numbered(a_file(Stage.SHIP), 300))
    work = Work()
    async with bench.at_work(shipping(bench, work).run()):
        await bench.until(all_at(Stage.CLEANUP))
    assert sorted(work.calls) == [file.id for file in files]


async def test_no_more_files_are_worked_on_at_once_than_there_are_places(bench: Bench) -> None:
    await plant(bench.ledger, *numbered(a_file(Stage.SHIP), 50))
    work = CountedWork(WELL)
    async with bench.at_work(shipping(bench, work, places=3).run()):
        await bench.until(all_at(Stage.CLEANUP))
    assert work.most == 3


async def test_a_transient_failure_is_tried_again_until_it_works(bench: Bench) -> None:
    (file,) = await plant(bench.ledger, a_file(Stage.SHIP))
    work = Work(TransientError("slow"), TransientError("slow"))
    async with bench.at_work(shipping(bench, work).run()):
        await bench.until(all_at(Stage.CLEANUP))
    assert len(work.calls) == 3
    lines = await story(bench.ledger, file.id)
    assert ("ship", "running", "started") in lines
    assert ("ship", "waiting", "slow") in lines
    assert ("ship", "running", "started again (try 3)") in lines
    assert ("cleanup", "waiting", "well") in lines


@pytest.mark.parametrize("error", [TransientError("slow"), ZeroDivisionError("a bug")], ids=repr)
async def test_a_failure_that_stays_parks_its_file_alone(bench: Bench, error: Exception) -> None:
    await plant(bench.ledger, *numbered(a_file(Stage.SHIP), 6))
    bad = f"{3:020x}"
    tries = 0

    async def work(task: Task) -> Result:
        nonlocal tries
        if task.file.id == bad:
            tries += 1
            raise error
        return WELL

    async with bench.at_work(shipping(bench, work).run()):
        await bench.until(
            lambda files: all(
                file.status is Status.PARKED if file.id == bad else file.stage is Stage.CLEANUP
                for file in files
            )
        )
    parked = await one(bench.ledger, bad)
    assert tries == parked.attempts == QUICK.attempts
    assert "gave up after 3 attempts" in parked.reason


async def test_what_cannot_be_helped_is_parked_at_the_first_try(bench: Bench) -> None:
    (file,) = await plant(bench.ledger, a_file(Stage.SHIP))
    work = Work(LocalGoneError("vanished"))
    async with bench.at_work(shipping(bench, work).run()):
        await bench.until(all_at(Stage.SHIP, Status.PARKED))
    assert not (await one(bench.ledger, file.id)).local
    assert len(work.calls) == 1


async def test_an_outage_pauses_the_stage_burns_no_attempt_and_heals_by_itself(
    bench: Bench,
) -> None:
    files = await plant(bench.ledger, *numbered(a_file(Stage.SHIP), 20))
    work = Work(*[DOWN] * 8)
    async with bench.at_work(shipping(bench, work).run()):
        await bench.until(all_at(Stage.CLEANUP))
    assert not bench.context.breakers.open
    assert await bench.ledger.ask(incidents.outages) == []
    for file in files:
        lines = await story(bench.ledger, file.id)
        assert ("ship", "parked") not in {line[:2] for line in lines}


async def test_a_lost_answer_counts_against_the_dependency_and_not_the_file(bench: Bench) -> None:
    await plant(bench.ledger, a_file(Stage.SHIP))
    work = Work(*[UnknownOutcomeError("no answer")] * (QUICK.attempts + 2))
    async with bench.at_work(shipping(bench, work).run()):
        await bench.until(all_at(Stage.CLEANUP))
    assert len(work.calls) == QUICK.attempts + 3


async def test_while_it_is_down_one_file_at_a_time_finds_out_whether_it_is_back(
    bench: Bench,
) -> None:
    await plant(bench.ledger, *numbered(a_file(Stage.SHIP), 40))
    held = Held()
    held.error = DOWN
    async with bench.at_work(shipping(bench, held, places=4).run()):
        await eventually(lambda: _true(len(held.calls) == 4), lambda: str(held.calls))
        held.go.set()
        await eventually(lambda: _true(len(held.calls) >= 7), lambda: str(held.calls))
        (outage,) = await bench.ledger.ask(incidents.outages)
        assert outage.cause == "archive"
        assert outage.trials >= 2
        # Those that were claimed with the first four are given back without a try of their own.
        assert len(held.calls) <= 4 + outage.trials + 1
        held.error = None
        await bench.until(all_at(Stage.CLEANUP))


async def test_a_trial_that_takes_long_holds_up_nothing_else(bench: Bench) -> None:
    await plant(bench.ledger, *numbered(a_file(Stage.SHIP), 3))
    trial = Held()
    first = Work(DOWN, DOWN, DOWN)

    async def work(task: Task) -> Result:
        return await (first if first.errors else trial)(task)

    async with bench.at_work(shipping(bench, work).run()):
        await eventually(lambda: _true(trial.calls), lambda: "no trial")
        bench.ahead = 3600  # the breaker's pause is long over
        assert await bench.take_turns() <= 2
        trial.go.set()
        await bench.until(all_at(Stage.CLEANUP))


@pytest.mark.parametrize("turns", range(5))
async def test_a_sleeping_lane_that_is_woken_and_ended_at_once_ends(
    bench: Bench, turns: int
) -> None:
    wake, looked_at = asyncio.Event(), time.monotonic() + 3600
    sleeping = asyncio.create_task(bench.context.sleep(wake, None, looked_at))
    for _ in range(5):  # until it sleeps
        await asyncio.sleep(0)
    wake.set()
    for _ in range(turns):
        await asyncio.sleep(0)
    sleeping.cancel()
    await asyncio.wait([sleeping], timeout=5)
    assert sleeping.cancelled()


async def test_a_lane_sleeps_while_its_dependency_is_down_and_nothing_is_due(
    bench: Bench,
) -> None:
    await bench.context.breakers.failed(DOWN)
    async with bench.at_work(shipping(bench, Work()).run()):
        bench.ahead = 3600  # its pause is long over
        assert await bench.take_turns() <= 2


async def test_a_feed_that_came_back_is_up_again(bench: Bench) -> None:
    await plant(bench.ledger, a_file(Stage.SHIP))
    work = Work(DependencyDownError(f"feed:{FEED.name}", "unmounted"))
    async with bench.at_work(shipping(bench, work).run()):
        await bench.until(all_at(Stage.CLEANUP))
        await eventually(lambda: _true(not bench.context.breakers.open), lambda: "still down")
    assert await bench.ledger.ask(incidents.outages) == []


async def test_a_duplicate_whose_copy_was_seen_shows_that_the_archive_is_up(bench: Bench) -> None:
    first = a_file(Stage.CLEANUP, Status.DONE, id="f0", path="/feed/0", done_at=1.0)
    await plant(bench.ledger, first, a_file(Stage.CLEANUP, duplicate_of="f0"))
    work = Work(DOWN, result=replace(WELL, leaned_on=("archive",)))
    lane = FileLane(bench.context, Stage.CLEANUP, work, Shares(4))
    async with bench.at_work(lane.run()):
        await bench.until(all_at(Stage.CLEANUP, Status.DONE))
        await eventually(lambda: _true(not bench.context.breakers.open), lambda: "still down")


@pytest.mark.parametrize(
    ("changes", "proven"),
    [
        ({}, True),
        ({"proven_at": None}, False),
        ({"row_seen_at": None}, False),
        ({"duplicate_of": "f0"}, False),
        ({"proven_at": -61.0}, False),
        ({"row_seen_at": -61.0}, False),
        ({"proven_at": 10.0}, False),
    ],
    ids=["fresh", "no copy", "no row", "duplicate", "old copy", "old row", "clock set back"],
)
async def test_a_proof_is_fresh_for_a_minute_where_nothing_came_in_between(
    bench: Bench, changes: dict[str, object], proven: bool
) -> None:
    now = bench.now()
    bench.context.since = now - 1000
    ages = {"proven_at": 0.0, "row_seen_at": -1.0, **changes}
    times = {name: now + age if isinstance(age, float) else age for name, age in ages.items()}
    file = a_file(Stage.CLEANUP, Status.WAITING, **times)
    assert bench.context.is_proven(file) is proven


async def test_no_proof_is_fresh_that_an_earlier_process_had(bench: Bench) -> None:
    now = bench.now()
    bench.context.since = now - 1
    file = a_file(Stage.CLEANUP, proven_at=now, row_seen_at=now - 2)
    assert not bench.context.is_proven(file)


async def test_files_of_an_away_feed_are_left_alone_until_it_is_back(bench: Bench) -> None:
    away, here = numbered(a_file(Stage.SHIP), 2)
    here = a_file(Stage.SHIP, id=here.id, path=here.path, feed=OTHER.name)
    await plant(bench.ledger, away, here)
    bench.away[FEED.name] = "unmounted"
    work = Work()
    async with bench.at_work(shipping(bench, work).run()):
        await bench.until(lambda files: files[1].stage is Stage.CLEANUP)
        assert work.calls == [here.id]
        assert (await one(bench.ledger, away.id)).claims == 0
        bench.away.clear()
        bench.ledger.wake(Stage.SHIP)
        await bench.until(all_at(Stage.CLEANUP))


async def test_files_of_a_feed_that_the_config_does_not_have_are_left_alone(bench: Bench) -> None:
    (file,) = await plant(bench.ledger, a_file(Stage.SHIP, feed="gone/feed"))
    await plant(bench.ledger, a_file(Stage.SHIP, id="f2", path="/feed/2"))
    async with bench.at_work(shipping(bench, Work()).run()):
        await bench.until(lambda files: files[1].stage is Stage.CLEANUP)
    assert await one(bench.ledger, file.id) == file


async def test_after_the_stop_running_files_end_and_claimed_ones_are_given_back(
    bench: Bench,
) -> None:
    await plant(bench.ledger, *numbered(a_file(Stage.SHIP), 10))
    held = Held()
    async with bench.at_work(shipping(bench, held, places=2).run()):
        await eventually(lambda: _true(len(held.calls) == 2), lambda: str(held.calls))
        bench.context.stop.set()
        bench.ledger.wake(*Stage)
        held.go.set()
    files = await files_of(bench.ledger)
    assert [file.stage for file in files].count(Stage.CLEANUP) == 2
    waiting = [file for file in files if file.stage is Stage.SHIP]
    assert {(file.status, file.attempts) for file in waiting} == {(Status.WAITING, 0)}


async def test_a_lane_that_is_cancelled_gives_its_files_back(bench: Bench) -> None:
    await plant(bench.ledger, *numbered(a_file(Stage.SHIP), 10))
    held = Held()
    lane = asyncio.create_task(shipping(bench, held, places=2).run())
    await eventually(lambda: _true(len(held.calls) == 2), lambda: str(held.calls))
    lane.cancel()
    with pytest.raises(asyncio.CancelledError):
        await lane
    files = await files_of(bench.ledger)
    assert {(f.stage, f.status, f.attempts) for f in files} == {(Stage.SHIP, Status.WAITING, 0)}
    assert {f.reason for f in files} == {"stopped before it was finished"}


async def test_a_ledger_that_fails_ends_the_lane(bench: Bench) -> None:
    await plant(bench.ledger, a_file(Stage.SHIP))
    with pytest.raises(ExceptionGroup) as caught:
        await shipping(bench, Work(LedgerError("disk full"))).run()
    assert caught.group_contains(LedgerError)


async def test_a_file_that_waits_out_its_keep_time_counts_as_unfinished_once_it_is_due(
    bench: Bench,
) -> None:
    await plant(bench.ledger, a_file(Stage.CLEANUP, awaits=Awaits.KEEP))
    assert await bench.ledger.ask(files.not_done) == 0
    lane = FileLane(bench.context, Stage.CLEANUP, Work(PermanentError("no proof")), Shares(4))
    async with bench.at_work(lane.run()):
        await bench.until(all_at(Stage.CLEANUP, Status.PARKED))
    assert await bench.ledger.ask(files.not_done) == 1


async def _true(value: object) -> object:
    return value


# -- feeds share what is claimed ------------------------------------------------------------------


@pytest.mark.parametrize("stage", [Stage.MANIFEST, Stage.SHIP, Stage.CLEANUP])
async def test_a_backlog_that_does_not_move_keeps_no_other_feeds_file_unclaimed(
    bench: Bench, stage: Stage
) -> None:
    backlog = numbered(a_file(stage, feed=FEED.name), 1_000)
    work, places = Held(), Shares(2)
    async with bench.at_work(FileLane(bench.context, stage, work, places).run()):
        await plant(bench.ledger, *backlog)
        await work.are_called(2)
        later = a_file(stage, feed=OTHER.name, next_attempt_at=bench.now())
        (file,) = await plant(bench.ledger, replace(later, id="f" * 20, path="/other/later"))
        files = await bench.until(lambda files: file.id in _running(files))
        assert len(_running(files)) < 300
        await eventually(lambda: _true(OTHER.name in places._waiting), lambda: "it never waits")
        work.go.set()
        await work.are_called(10)
        assert file.id in work.calls[:5], "it has its turn as soon as there is a place"


def _running(files: list[FileRecord]) -> set[str]:
    return {file.id for file in files if file.status is Status.RUNNING}


async def test_many_feeds_with_a_backlog_go_on_side_by_side(bench: Bench) -> None:
    feeds = [a_feed(f"/feed{number}", customer=f"c{number}") for number in range(20)]
    bench = Bench(ledger=bench.ledger, feeds=feeds)
    files = [
        replace(file, id=f"{number:03x}{file.id[3:]}", feed=feed.name, path=f"{feed.directory}/{n}")
        for number, feed in enumerate(feeds)
        for n, file in enumerate(numbered(a_file(Stage.SHIP, next_attempt_at=float(number)), 50))
    ]
    work = Work()
    async with bench.at_work(shipping(bench, work, places=4).run()):
        await plant(bench.ledger, *files)
        await bench.until(all_at(Stage.CLEANUP))
    feed_of = {file.id: file.feed for file in files}
    assert len({feed_of[called] for called in work.calls[:60]}) == 20
