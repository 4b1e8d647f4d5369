"""Directories of the archive that are down: what waits for them, who tries them, how it ends."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from backupd.core.errors import (
    BackupdError,
    DependencyDownError,
    NoRoomError,
    TransientError,
    WorkerDiedError,
)
from backupd.core.incidents import NO_ROOM, Kind
from backupd.core.records import Result
from backupd.core.shares import Shares
from backupd.core.stages import Stage, Status
from backupd.ledger import files as ledger_files
from backupd.ledger import incidents as ledger_incidents
from backupd.worker import ArchiveTrials, Breakers, FileLane
from support.files import a_file
from support.intake import a_feed, eventually
from support.ledgers import QUICK, Bench, numbered, one, opened, plant

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from backupd.core.incidents import Incident
    from backupd.core.records import Feed, FileRecord, Task

HOMES = {"A": "pair/a", "B": "pair/b", "C": "c"}


def a_home(customer: str) -> Feed:
    return replace(a_feed("/feed", customer=customer), archive_directory=HOMES[customer])


FEEDS = [a_home(customer) for customer in HOMES]
A, B, C = (feed.name for feed in FEEDS)


def down(directory: str) -> DependencyDownError:
    return DependencyDownError(f"archive:{directory}" if directory else "archive", "refused")


class Archive:
    """What is down there just now; ships files to all else, and is asked by trials."""

    def __init__(self) -> None:
        self.down: dict[str, str] = {}  # by archive directory of a feed, or by what is demanded
        self.error: BackupdError | None = None
        self.shipped: list[str] = []
        self.refused: list[str] = []
        self.demanded: list[str] = []

    async def ship(self, task: Task) -> Result:
        await asyncio.sleep(0)
        home = task.feed.archive_directory
        if home in self.down:
            self.refused.append(task.file.id)
            raise down(self.down[home])
        self.shipped.append(task.file.id)
        return Result(changes={}, detail="shipped")

    async def demand(self, directory: str) -> None:
        self.demanded.append(directory)
        if self.error is not None:
            raise self.error
        if directory in self.down:
            raise down(self.down[directory])


@pytest.fixture
async def bench(tmp_path: Path) -> AsyncIterator[Bench]:
    async with opened(tmp_path / "ledger.db") as ledger:
        bench = Bench(ledger=ledger, feeds=FEEDS)
        bench.context.breakers = Breakers(ledger, QUICK, bench.now, FEEDS)
        yield bench


def files(feed: str, count: int) -> list[FileRecord]:
    made = numbered(a_file(Stage.SHIP, feed=feed), count)
    start = 1000 * (1 + [A, B, C].index(feed))
    return [
        replace(file, id=f"{start + n:020x}", path=f"{file.path}{start}")
        for n, file in enumerate(made)
    ]


def lanes(bench: Bench, archive: Archive) -> tuple[FileLane, ArchiveTrials]:
    lane = FileLane(bench.context, Stage.SHIP, archive.ship, Shares(4))
    return lane, ArchiveTrials(bench.context, archive.demand)


async def incidents(bench: Bench) -> list[Incident]:
    return [case.incident for case in await bench.ledger.ask(ledger_incidents.all_cases)]


def through(feed: str) -> object:
    return lambda found: all(f.stage is Stage.CLEANUP for f in found if f.feed == feed)


async def test_feeds_of_a_directory_wait_untouched_and_all_others_go_on(bench: Bench) -> None:
    await plant(bench.ledger, *files(A, 50), *files(B, 50), *files(C, 50))
    archive = Archive()
    archive.down = {"pair/a": "pair", "pair/b": "pair", "pair": "pair"}
    lane, trials = lanes(bench, archive)
    async with bench.at_work(lane.run(), trials.run()):
        await bench.until(through(C))  # type: ignore[arg-type] # a predicate
        await eventually(lambda: _true(len(archive.demanded) > 3), lambda: str(archive.demanded))
        assert len(archive.refused) <= 4  # those that were at work when it began
        found = await bench.until(lambda all_: all(f.status is not Status.RUNNING for f in all_))
        assert {file.attempts for file in found} == {0}
        (told,) = await incidents(bench)
        assert (told.kind, told.cause) == (Kind.ARCHIVE, "archive:pair")
        held = await bench.ledger.ask(ledger_incidents.held_up, told)
        assert held.files == 100
        archive.down = {}
        await bench.until(lambda all_: all(f.stage is Stage.CLEANUP for f in all_))
        await eventually(lambda: _true(not bench.context.breakers.open), lambda: "still down")
    assert len(await incidents(bench)) == 1


@pytest.mark.parametrize(
    ("first", "then"),
    [("pair", "pair/a"), ("pair/a", "pair"), ("pair/a", ""), ("pair", "")],
)
async def test_when_another_directory_is_down_than_before_that_one_is_told_instead(
    bench: Bench, first: str, then: str
) -> None:
    archive = Archive()
    archive.down = {first: then, then: then}
    await bench.context.breakers.failed(down(first))
    _, trials = lanes(bench, archive)
    async with bench.at_work(trials.run()):
        await eventually(
            lambda: _true(list(bench.context.breakers.open) == [down(then).dependency]),
            lambda: str(bench.context.breakers.open),
        )
        await eventually(lambda: _ended(bench, first), lambda: "both are open")
    assert [each.cause for each in await incidents(bench) if each.closed_at is None] == [
        down(then).dependency
    ]


async def _ended(bench: Bench, directory: str) -> object:
    causes = {each.cause: each.closed_at for each in await incidents(bench)}
    return len(causes) == 2 and causes[f"archive:{directory}"]


async def test_what_is_within_what_is_down_is_no_incident_of_its_own(bench: Bench) -> None:
    for directory in ("pair", "pair/a", "", "c", "pair"):
        await bench.context.breakers.failed(down(directory))
    open_ = [each.cause for each in await incidents(bench) if each.closed_at is None]
    assert open_ == ["archive"]
    assert list(bench.context.breakers.open) == ["archive"]


async def test_what_was_refused_before_the_heal_opens_nothing_anew(bench: Bench) -> None:
    """The verdict on a file may come later than the trial that saw the directory mended."""
    await plant(bench.ledger, *files(A, 1))
    begun, go = asyncio.Event(), asyncio.Event()
    shipped = []

    async def work(task: Task) -> Result:
        if not begun.is_set():
            begun.set()
            await go.wait()
            raise down("pair/a")
        shipped.append(task.file.id)
        return Result(changes={}, detail="shipped")

    lane = FileLane(bench.context, Stage.SHIP, work, Shares(4))
    async with bench.at_work(lane.run()):
        await begun.wait()
        await bench.context.breakers.failed(down("pair/a"))
        await bench.context.breakers.succeeded("archive:pair/a")
        go.set()
        await bench.until(through(A))  # type: ignore[arg-type] # a predicate
    assert len(await incidents(bench)) == 1
    assert len(shipped) == 1


@pytest.mark.parametrize("name", ["archive", "warehouse"])
async def test_what_could_not_be_written_is_not_well_for_what_can_be_looked_at(
    bench: Bench, name: str
) -> None:
    breakers, full = bench.context.breakers, DependencyDownError(name, "its disk is full")
    await breakers.failed(full)
    await breakers.succeeded(name, looked=True)
    assert breakers.is_down(name)
    await breakers.succeeded(name)
    assert not breakers.is_down(name)
    await breakers.failed(full, looked=True)
    await breakers.succeeded(name, looked=True)
    assert not breakers.is_down(name)


@pytest.mark.parametrize("error", [WorkerDiedError("killed"), TransientError("odd")], ids=repr)
async def test_a_trial_that_finds_out_nothing_is_made_again(
    bench: Bench, error: BackupdError
) -> None:
    archive = Archive()
    archive.error = error
    await bench.context.breakers.failed(down("c"))
    _, trials = lanes(bench, archive)
    async with bench.at_work(trials.run()):
        await eventually(lambda: _true(len(archive.demanded) > 2), lambda: str(archive.demanded))
        assert bench.context.breakers.is_down("archive:c")
        archive.error = None
        await eventually(lambda: _true(not bench.context.breakers.open), lambda: "still down")


async def test_it_is_taken_up_by_the_next_process_unless_no_feed_needs_it(bench: Bench) -> None:
    for directory in ("c", "elsewhere"):
        await bench.context.breakers.failed(down(directory))
    breakers = Breakers(bench.ledger, QUICK, bench.now, FEEDS)
    breakers.resume(await bench.ledger.ask(ledger_incidents.outages))
    bench.context.breakers = breakers
    archive = Archive()
    archive.down = {"c": "c", "elsewhere": "elsewhere"}
    lane, trials = lanes(bench, archive)
    await plant(bench.ledger, *files(C, 3))
    async with bench.at_work(lane.run(), trials.run()):
        await eventually(lambda: _true(archive.demanded), lambda: "not tried")
        assert archive.refused == []
        archive.down = {}
        await bench.until(through(C))  # type: ignore[arg-type] # a predicate
    assert set(archive.demanded) == {"c"}
    assert all(each.closed_at for each in await incidents(bench))


async def test_a_file_without_room_waits_alone_and_is_tried_again(bench: Bench) -> None:
    large, small = files(A, 2)
    await plant(bench.ledger, large, small)
    room = asyncio.Event()

    async def work(task: Task) -> Result:
        if task.file.id == large.id and not room.is_set():
            raise NoRoomError("no room for it")
        return Result(changes={}, detail="shipped")

    async with bench.at_work(FileLane(bench.context, Stage.SHIP, work, Shares(4)).run()):
        await bench.until(lambda found: found[1].stage is Stage.CLEANUP and found[0].claims > 5)
        waiting = await one(bench.ledger, large.id)
        assert (waiting.trouble, waiting.stage) == (NO_ROOM, Stage.SHIP)
        assert waiting.attempts == (1 if waiting.status is Status.RUNNING else 0)
        assert (await bench.ledger.ask(ledger_incidents.troubles)).room == "no room for it"
        room.set()
        await bench.until(lambda found: found[0].stage is Stage.CLEANUP)
    assert (await bench.ledger.ask(ledger_incidents.troubles)).room == ""
    assert await bench.ledger.ask(ledger_files.not_done) == 2


async def _true(value: object) -> object:
    return value
