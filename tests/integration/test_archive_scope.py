"""What a refusal concerns: found out by real files beside each other."""

from __future__ import annotations

import asyncio
import os
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING
from unittest.mock import AsyncMock

import pytest

from backupd.archive import canary, open_archive
from backupd.archive.canary import Canary
from backupd.archive.scope import Scope
from backupd.carrier.outbound import OutboundStages
from backupd.carrier.wire import CarrierConfig
from backupd.core.errors import (
    DependencyDownError,
    NoRoomError,
    RefusedError,
)
from backupd.core.records import Result
from backupd.core.shares import Shares
from backupd.core.stages import Stage, Status
from backupd.ledger import incidents
from backupd.localfs.roots import find_root
from backupd.stages import CleanupRules, ShipRules
from backupd.worker import FileLane
from support.archives import archive_section
from support.files import registered
from support.intake import a_feed, eventually
from support.ledgers import Bench, opened, plant, story
from support.odd_sftp import ROOMY, OddServer, serving

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from backupd.core.ports import Archive
    from backupd.core.records import Feed, FileRecord

WELL = Result(changes={}, detail="well")
HOMES = ("pair/a", "pair/b", "c")


def a_home(number: int) -> Feed:
    feed = a_feed(f"/feed{number}", customer=f"C{number}")
    return replace(feed, archive_directory=HOMES[number])


FEEDS = [a_home(number) for number in range(len(HOMES))]


# -- the verdict -----------------------------------------------------------------------------------


@pytest.fixture
async def archive(tmp_path: Path) -> AsyncIterator[Archive]:
    root = tmp_path / "root"
    for home in HOMES:
        (root / home).mkdir(parents=True)
    opened = open_archive(archive_section(root))
    yield opened
    await opened.aclose()


class Refused:
    """Work that is refused so often, and counts how often it was tried."""

    def __init__(self, times: int, error: RefusedError) -> None:
        self.left, self.error, self.tries = times, error, 0

    async def __call__(self) -> str:
        self.tries += 1
        if self.left:
            self.left -= 1
            raise self.error
        return "done"


PLAIN, LARGE, BUSY = (
    RefusedError("no"),
    RefusedError("no", room=True),
    RefusedError("no", load=True),
)


@pytest.mark.parametrize("error", [PLAIN, BUSY], ids=["plain", "busy"])
async def test_what_was_mended_meanwhile_costs_nothing(
    archive: Archive, error: RefusedError
) -> None:
    assert await Scope(archive, HOMES).within("c", Refused(2, error)) == "done"


@pytest.mark.parametrize("error", [PLAIN, BUSY], ids=["plain", "busy"])
async def test_a_file_that_is_refused_where_others_are_taken_is_at_fault_itself(
    archive: Archive, error: RefusedError
) -> None:
    work = Refused(9, error)
    with pytest.raises(RefusedError) as caught:
        await Scope(archive, HOMES).within("c", work)
    assert caught.value is error
    assert work.tries == 3


async def test_a_large_file_where_small_ones_are_taken_has_no_room(archive: Archive) -> None:
    work = Refused(9, LARGE)
    with pytest.raises(NoRoomError):
        await Scope(archive, HOMES).within("c", work)
    assert work.tries == 2


async def test_where_room_was_made_meanwhile_a_large_file_goes_through(archive: Archive) -> None:
    assert await Scope(archive, HOMES).within("c", Refused(1, LARGE)) == "done"


@pytest.mark.parametrize(
    ("place", "error", "down"),
    [
        ("c", PLAIN, "archive:c"),
        ("c", LARGE, "archive:c"),
        ("c", BUSY, "archive:c"),
        ("pair", PLAIN, "archive:pair"),
        ("pair/a", PLAIN, "archive:pair/a"),
        ("", PLAIN, "archive"),
    ],
)
async def test_a_directory_that_takes_nothing_is_down(
    archive: Archive, tmp_path: Path, place: str, error: RefusedError, down: str
) -> None:
    there = tmp_path / "root" / place
    there.rename(tmp_path / "aside")
    there.write_text("in the way")
    directory = next(each for each in HOMES if each.startswith(place))
    found = Scope(archive, HOMES)
    with pytest.raises(DependencyDownError) as caught:
        await found.within(directory, Refused(9, error))
    assert caught.value.dependency == down
    if place:
        with pytest.raises(DependencyDownError) as caught:
            await found.demand(place)
        assert caught.value.dependency == down
        there.unlink()
        (tmp_path / "aside").rename(there)
        await found.demand(place)


async def test_what_is_mended_in_the_middle_of_a_look_is_not_down(
    archive: Archive, monkeypatch: pytest.MonkeyPatch
) -> None:
    looked_at, refusal = [], Canary.refusal

    async def refused_once(self: Canary, directory: str) -> RefusedError | None:
        looked_at.append(directory)
        return PLAIN if len(looked_at) == 1 else await refusal(self, directory)

    monkeypatch.setattr(Canary, "refusal", refused_once)
    assert await Scope(archive, HOMES).within("pair/a", Refused(1, PLAIN)) == "done"
    assert looked_at == ["pair/a", "pair/b", "pair/a"]


async def test_what_is_mended_between_two_looks_is_not_down(
    archive: Archive, monkeypatch: pytest.MonkeyPatch
) -> None:
    looked_at, refusal = [], Canary.refusal

    async def refused_until_the_fourth(self: Canary, directory: str) -> RefusedError | None:
        looked_at.append(directory)
        refused = directory.startswith("pair") and len(looked_at) <= 4
        return PLAIN if refused else await refusal(self, directory)

    monkeypatch.setattr(Canary, "refusal", refused_until_the_fourth)
    assert await Scope(archive, HOMES).within("pair/a", Refused(1, PLAIN)) == "done"
    assert looked_at == ["pair/a", "pair/b", "c", "pair/a", "pair/b", "pair/a"]


@pytest.mark.parametrize("left", [".canary.{0}.part", "..canary.{0}.part.{0}.part"])
async def test_a_look_leaves_nothing_behind_and_removes_what_a_killed_one_left(
    archive: Archive, tmp_path: Path, left: str
) -> None:
    (tmp_path / "root" / "c" / left.format(canary.OURS)).write_bytes(b"half")
    await Scope(archive, HOMES).demand("c")
    assert list((tmp_path / "root" / "c").iterdir()) == []


@pytest.mark.parametrize("left", [".canary.{0}.part", "..canary.{0}.part.{0}.part"])
@pytest.mark.parametrize("where", ["pair/a", "pair", ""])
async def test_what_a_killed_look_left_goes_with_the_first_file_that_is_taken_there(
    archive: Archive, tmp_path: Path, left: str, where: str
) -> None:
    there = tmp_path / "root" / where / left.format(canary.OURS)
    there.write_bytes(b"half")
    await Scope(archive, HOMES).within("pair/a/below", Refused(0, PLAIN))
    assert not there.exists()


async def test_a_canary_that_cannot_be_removed_goes_with_the_next_file_that_is_taken_there(
    archive: Archive, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found, there = Scope(archive, HOMES), tmp_path / "root" / "pair" / "a"
    with monkeypatch.context() as broken:
        broken.setattr(archive, "discard_parts", AsyncMock(side_effect=PLAIN))
        with pytest.raises(DependencyDownError):
            await found.demand("pair/a")
        broken.setattr(archive, "discard_parts", AsyncMock(side_effect=[None, *[PLAIN] * 9]))
        await found.demand("pair/a/below")
        assert len(list(there.iterdir())) == 1
    await found.within("pair/a/below", Refused(0, PLAIN))
    assert list(there.iterdir()) == []


async def test_a_directory_that_is_missing_is_not_made_to_find_out(
    archive: Archive, tmp_path: Path
) -> None:
    await Scope(archive, HOMES).demand("x/y")
    assert not (tmp_path / "root" / "x").exists()


async def test_one_look_does_for_all_that_were_refused_before_it(
    archive: Archive, tmp_path: Path
) -> None:
    (tmp_path / "root" / "c").rmdir()
    (tmp_path / "root" / "c").write_text("in the way")
    looks = 0
    scope = Scope(archive, HOMES)
    find = scope._find_once

    async def counted(*args: object) -> object:
        nonlocal looks
        looks += 1
        return await find(*args)  # type: ignore[arg-type] # whatever it takes

    scope._find_once = counted  # type: ignore[assignment, method-assign] # the same, counted
    refused = [scope.within("c", Refused(9, PLAIN)) for _ in range(40)]
    answers = await asyncio.gather(*refused, return_exceptions=True)
    assert {type(each) for each in answers} == {DependencyDownError}
    assert looks <= 3


# -- a limit of the server -------------------------------------------------------------------------


@pytest.mark.parametrize("most", [4, 9, 20])
async def test_where_the_server_bears_few_open_files_all_go_through_all_the_same(
    tmp_path: Path, most: int
) -> None:
    files = _files(tmp_path / "in", 45)
    odd = type("Odd", (OddServer,), {"disk": dict(ROOMY), "most_open": most})
    async with serving(tmp_path, odd) as section, opened(tmp_path / "ledger.db") as ledger:
        bench = _bench(ledger, tmp_path / "in")
        config = CarrierConfig(
            archive=section,
            ship=ShipRules(compress=False),
            cleanup=CleanupRules(delete=False),
            directories=HOMES,
        )
        archive = open_archive(section)
        work = partial(OutboundStages(config, archive, lambda: None).do, Stage.SHIP)
        await plant(ledger, *files)
        lane = FileLane(bench.context, Stage.SHIP, work, Shares(96))  # type: ignore[arg-type] # a Result
        async with bench.at_work(lane.run()):
            await bench.until(lambda found: all(f.stage is Stage.CLEANUP for f in found))
        lines = [line for file in files for line in await story(ledger, file.id)]
        assert [line for line in lines if line[1:] != ("running", "started")] == [
            line for line in lines if line[2].startswith("in the archive as ")
        ]
        assert await ledger.ask(incidents.all_cases) == []
        await archive.aclose()


async def test_where_it_is_not_for_what_is_open_the_archive_is_down(tmp_path: Path) -> None:
    odd: type[OddServer] = type("Odd", (OddServer,), {"disk": dict(ROOMY)})
    async with serving(tmp_path, odd) as section:
        archive = open_archive(section)
        scope = Scope(archive, HOMES)
        await scope.demand("c")
        odd.most_open = 0
        at_work, go = asyncio.Event(), asyncio.Event()

        async def other() -> None:
            at_work.set()
            await go.wait()

        beside = asyncio.create_task(scope.within("c", other))
        await at_work.wait()
        work = Refused(9, BUSY)
        refused = asyncio.create_task(scope.within("pair/a", work))
        await eventually(lambda: _waits(scope), lambda: "it does not wait for the other one")
        go.set()
        await beside
        with pytest.raises(DependencyDownError) as caught:
            await refused
        assert caught.value.dependency == "archive"
        await archive.aclose()


async def _waits(scope: Scope) -> object:
    return scope._at_once._waiting


def _files(inbox: Path, count: int) -> list[FileRecord]:
    made = []
    for number in range(count):
        feed = FEEDS[number % len(FEEDS)]
        directory = inbox / feed.customer
        directory.mkdir(parents=True, exist_ok=True)
        path = directory / f"{number}.csv"
        path.write_bytes(os.urandom(20_000))
        name = f"{feed.archive_directory}/{number}.csv"
        file = registered(path, id=f"{number:020x}", feed=feed.name, archive_name=name)
        made.append(replace(file, status=Status.WAITING, attempts=0, claims=0))
    return made


def _bench(ledger: object, inbox: Path) -> Bench:
    feeds = [replace(feed, directory=str(inbox / feed.customer)) for feed in FEEDS]
    bench = Bench(ledger=ledger, feeds=feeds)  # type: ignore[arg-type] # an open one
    bench.context.roots = lambda: {feed.name: find_root(feed.directory) for feed in feeds}
    return bench
