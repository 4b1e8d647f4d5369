"""When snapshots are made, and what is said of those that fail."""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from backupd.archive.stream import SendStream
from backupd.config.sections import LedgerSection
from backupd.core.errors import (
    BackupdError,
    DependencyDownError,
    NameTakenError,
    RefusedError,
    WorkerDiedError,
)
from backupd.core.incidents import Kind
from backupd.core.snapshots import Home, LastSnapshot, Shelf, Shipped
from backupd.ledger import incidents, temporary_of
from backupd.stages import SnapshotShelf
from backupd.worker import SnapshotLane, SnapshotMaker, snapshots
from backupd.worker.snapshots import StoppingError
from support.fake_archive import FakeArchive
from support.intake import eventually
from support.ledgers import Bench, opened

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from backupd.core.incidents import Incident
    from backupd.core.ports import Published

DAY = 86_400.0
DOWN = DependencyDownError("archive", "it does not answer")


@dataclass
class FakeShelf:
    """Holds what it is given, unless it is told to fail."""

    error: BackupdError | None = None
    there: list[str] = field(default_factory=list)
    sizes: list[int] = field(default_factory=list)
    looks: int = 0
    hangs: asyncio.Event | None = None
    home: Home | None = None

    def of(self, home: Home) -> Shelf:
        self.home = home
        return self

    async def names(self) -> list[str]:
        self.looks += 1
        if self.error is not None:
            raise self.error
        return self.there

    async def add(self, path: str, name: str, kept: int) -> Shipped:
        self.sizes.append(Path(path).stat().st_size)
        if self.hangs is not None:
            self.hangs.set()
            await asyncio.Event().wait()
        self.there = [*self.there, name][-kept:]
        return Shipped(sent_bytes=1, sha256="0" * 64)


@pytest.fixture
async def bench(tmp_path: Path) -> AsyncIterator[Bench]:
    async with opened(tmp_path / "ledger.db") as ledger:
        yield Bench(ledger=ledger, feeds=[])


@pytest.fixture
def shelf() -> FakeShelf:
    return FakeShelf()


def a_lane(bench: Bench, shelf: FakeShelf, every: float = DAY, kept: int = 7) -> SnapshotLane:
    section = LedgerSection(
        path=bench.ledger.path, keep=1, remember=1, backup_every=every, backups_kept=kept
    )
    return SnapshotLane(bench.context, SnapshotMaker(bench.ledger, section, shelf.of), every)


async def last_made(bench: Bench, shelf: FakeShelf, ago: float) -> None:
    """Have the ledger know a snapshot of so many seconds ago."""
    a_lane(bench, shelf)
    assert shelf.home is not None
    last = LastSnapshot(name="earlier", at=time.time() - ago)
    await bench.ledger.note_snapshot(shelf.home.directory, last)


async def open_incidents(bench: Bench) -> list[Incident]:
    return await bench.ledger.ask(incidents.all_open)


async def tried(shelf: FakeShelf, times: int = 1) -> None:
    async def enough() -> bool:
        return shelf.looks >= times

    await eventually(enough, lambda: f"{shelf.looks} tries")


async def incident(bench: Bench) -> Incident:
    found: list[Incident] = []

    async def one() -> bool:
        found[:] = await open_incidents(bench)
        return len(found) == 1

    await eventually(one, lambda: str(found))
    return found[0]


async def none_open(bench: Bench) -> None:
    async def closed() -> bool:
        return not await open_incidents(bench)

    await eventually(closed, lambda: "still open")


async def test_the_first_is_due_when_its_time_has_passed_since_the_first_start(
    bench: Bench, shelf: FakeShelf
) -> None:
    lane = a_lane(bench, shelf)
    async with bench.at_work(lane.run()):
        await eventually(lambda: _true(lane.last), lambda: "never begun")
        assert not lane.is_at_work
    assert shelf.looks == 0
    bench.context.stop.clear()
    bench.ahead = DAY
    again = a_lane(bench, shelf)
    async with bench.at_work(again.run()):
        await eventually(lambda: _true(shelf.there), lambda: "none made")
    assert len(shelf.there) == 1
    assert not temporary_of(bench.ledger.path).exists()


async def _true(what: object) -> bool:
    return bool(what)


async def test_one_that_was_missed_while_no_daemon_ran_is_made_at_once_and_no_second(
    bench: Bench, shelf: FakeShelf
) -> None:
    await last_made(bench, shelf, ago=5 * DAY)
    lane = a_lane(bench, shelf)
    async with bench.at_work(lane.run()):
        await eventually(lambda: _true(lane.last and lane.last.name in shelf.there), lambda: "none")
        await bench.take_turns()
    assert len(shelf.there) == 1


async def test_a_clock_that_was_set_back_makes_one_due(bench: Bench, shelf: FakeShelf) -> None:
    await last_made(bench, shelf, ago=-300 * DAY)
    async with bench.at_work(a_lane(bench, shelf).run()):
        await eventually(lambda: _true(shelf.there), lambda: "none")


async def test_never_is_never_but_by_hand(bench: Bench, shelf: FakeShelf) -> None:
    await last_made(bench, shelf, ago=500 * DAY)
    lane = a_lane(bench, shelf, every=0)
    async with bench.at_work(lane.run()):
        await eventually(lambda: _true(lane.last), lambda: "never begun")
        assert not lane.is_at_work
        made, _ = await lane.make_now()
    assert shelf.there == [made.name]


async def test_two_in_one_second_have_two_names(bench: Bench, shelf: FakeShelf) -> None:
    lane = a_lane(bench, shelf)
    await asyncio.gather(lane.make_now(), lane.make_now())
    assert len(set(shelf.there)) == 2


REFUSED = RefusedError("may not create x: permission denied", hint="let it")


async def test_a_failure_is_an_incident_until_one_is_made(
    bench: Bench, shelf: FakeShelf, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(snapshots, "_FIRST_PAUSE", 0.01)
    await last_made(bench, shelf, ago=DAY + 60)
    shelf.error = REFUSED
    lane = a_lane(bench, shelf)
    async with bench.at_work(lane.run()):
        told = await incident(bench)
        assert told.kind is Kind.BACKUP
        assert told.reason.startswith("the last snapshot is of 2")
        assert told.reason.endswith(
            "the next one failed: may not create x: permission denied (let it)"
        )
        assert not lane.is_at_work
        await tried(shelf, 2)
        assert [each.id for each in await open_incidents(bench)] == [told.id]
        shelf.error = None
        await none_open(bench)


async def test_what_is_down_has_an_incident_of_its_own(bench: Bench, shelf: FakeShelf) -> None:
    await last_made(bench, shelf, ago=DAY + 60)
    shelf.error = DOWN
    async with bench.at_work(a_lane(bench, shelf).run()):
        await tried(shelf)
        await bench.take_turns()
        assert await open_incidents(bench) == []
    assert shelf.sizes == []  # nothing is copied for an archive that is down


async def test_one_that_is_overdue_by_a_whole_day_is_told_all_the_same(
    bench: Bench, shelf: FakeShelf
) -> None:
    await last_made(bench, shelf, ago=2 * DAY + 60)
    shelf.error = DOWN
    async with bench.at_work(a_lane(bench, shelf).run()):
        told = await incident(bench)
    assert "it does not answer" in told.reason


@pytest.mark.parametrize("error", [WorkerDiedError("killed"), NameTakenError("taken")], ids=repr)
async def test_whatever_fails_the_lane_goes_on(
    bench: Bench, shelf: FakeShelf, monkeypatch: pytest.MonkeyPatch, error: BackupdError
) -> None:
    monkeypatch.setattr(snapshots, "_FIRST_PAUSE", 0.01)
    await last_made(bench, shelf, ago=DAY + 60)
    shelf.error = error
    async with bench.at_work(a_lane(bench, shelf).run()):
        await tried(shelf, 2)


async def test_by_hand_the_reason_comes_back_and_a_success_ends_the_incident(
    bench: Bench, shelf: FakeShelf
) -> None:
    await last_made(bench, shelf, ago=DAY + 60)
    shelf.error = REFUSED
    lane = a_lane(bench, shelf)
    async with bench.at_work(lane.run()):
        await incident(bench)
        with pytest.raises(RefusedError, match="permission denied"):
            await lane.make_now()
        shelf.error = None
        await lane.make_now()
        assert await open_incidents(bench) == []


async def test_a_stop_ends_one_that_is_under_way(bench: Bench, shelf: FakeShelf) -> None:
    await last_made(bench, shelf, ago=DAY + 60)
    shelf.hangs = asyncio.Event()
    lane = a_lane(bench, shelf)
    async with bench.at_work(lane.run()):
        await shelf.hangs.wait()
        by_hand = asyncio.ensure_future(lane.make_now())
        await asyncio.sleep(0)
    with pytest.raises(StoppingError):
        await by_hand
    assert not temporary_of(bench.ledger.path).exists()


# -- on the shelf --------------------------------------------------------------------------------


@dataclass
class Scene:
    """An archive that was identified, and a file to be shipped as a snapshot."""

    archive: FakeArchive
    path: Path
    home: Home = field(default_factory=lambda: Home(directory=".backupd/edge1", owner="ab" * 10))

    @property
    def shelf(self) -> SnapshotShelf:
        return SnapshotShelf(self.archive, _stream, self.home)

    async def add(self, at: float, kept: int = 7) -> Shipped:
        return await self.shelf.add(str(self.path), self.home.name(at), kept)


def _stream(fd: int, run: object, *, compress: bool) -> SendStream:
    return SendStream(fd, run, compress=compress, level=1)  # type: ignore[arg-type] # a RunStep


@pytest.fixture
async def scene(tmp_path: Path) -> Scene:
    archive = FakeArchive()
    await archive.identify(None, ())
    (tmp_path / "copy").write_bytes(b"a ledger" * 1000)
    return Scene(archive, tmp_path / "copy")


async def test_the_same_ledger_gives_the_same_bytes(scene: Scene) -> None:
    one, other = await scene.add(0.0), await scene.add(1.0)
    assert one.sha256 == other.sha256
    assert scene.archive.files[scene.home.name(0.0)][4:8] == bytes(4)  # no time in it


async def test_the_newest_are_kept_and_nothing_else_is_removed(scene: Scene) -> None:
    others = {".backupd/edge1/notes.txt": b"", ".backupd/edge2/ledger-20251201T120000Z.db.gz": b""}
    scene.archive.files |= others
    before = set(scene.archive.files)
    for at in range(5):
        await scene.add(float(at), kept=2)
    assert set(scene.archive.files) - before == {scene.home.name(3.0), scene.home.name(4.0)}
    assert before <= set(scene.archive.files)


async def test_a_snapshot_counts_although_older_ones_cannot_be_removed(scene: Scene) -> None:
    await scene.add(0.0)
    scene.archive.fail_next("remove_snapshot", REFUSED)
    shipped = await scene.add(1.0, kept=1)
    assert "permission denied" in shipped.kept_more
    assert (await scene.add(2.0, kept=1)).kept_more == ""
    assert await scene.shelf.names() == [scene.home.name(2.0)]


async def test_one_that_is_not_there_as_it_was_sent_is_not_left_there(scene: Scene) -> None:
    class Rotten(FakeArchive):
        def publish(self, name: str, part_id: str) -> Published:
            self.parts[name, part_id][100:110] = b"rotten now"
            return super().publish(name, part_id)

    rotten = replace(scene, archive=Rotten())
    rotten.archive.files[scene.home.name(-1.0)] = b"before"
    with pytest.raises(BackupdError, match="other bytes"):
        await rotten.add(0.0)
    assert await rotten.shelf.names() == [scene.home.name(-1.0)]


async def test_a_taken_name_stays_whose_it_is(scene: Scene) -> None:
    scene.archive.files[scene.home.name(0.0)] = b"of others"
    with pytest.raises(NameTakenError):
        await scene.add(0.0)
    assert scene.archive.files[scene.home.name(0.0)] == b"of others"
    assert scene.archive.parts == {}


async def test_what_a_killed_process_left_is_removed_with_the_next_look(scene: Scene) -> None:
    other = replace(scene, home=replace(scene.home, owner="cd" * 10))
    for each in (scene, other):
        scene.archive.parts[each.home.name(0.0), each.home.part_id] = bytearray(b"half")
    assert await scene.shelf.names() == []
    assert list(scene.archive.parts) == [(other.home.name(0.0), other.home.part_id)]
