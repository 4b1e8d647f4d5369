"""What happened to done files takes fewer bytes after a while, and is told as before."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from backupd.core import moves
from backupd.core.records import Move, Result
from backupd.core.stages import Stage, Status
from backupd.ledger import Ledger, LedgerReader, places, reports, stories
from backupd.worker import FoldingLane
from support.done_files import a_receipt
from support.files import COUNTED, NOW, a_file, claimed
from support.intake import eventually
from support.ledgers import FEED, Bench, numbered, one, opened, plant, story
from support.older_ledgers import make_older

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
    from pathlib import Path

    import sqlalchemy as sa

    from backupd.core.records import FileRecord, Receipt

LATER = NOW + 3600


@pytest.fixture
async def ledger(tmp_path: Path) -> AsyncIterator[Ledger]:
    async with opened(tmp_path / "ledger.db") as ledger:
        yield ledger


def shipping(count: int) -> list[FileRecord]:
    return numbered(a_file(Stage.SHIP, path="/feed/a", relative_path="a", **COUNTED), count)


async def finish(ledger: Ledger, files: list[FileRecord]) -> dict[str, Receipt]:
    """Take planted files from ship to their end; return their receipts."""
    sent = Result(changes={}, detail="in the archive")
    receipts = {file.id: a_receipt(file) for file in files}
    running = await ledger.claim(Stage.SHIP, len(files), NOW, [FEED.name])
    await ledger.move(
        [replace(moves.advance(f, sent, NOW), receipt=receipts[f.id]) for f in running]
    )
    running = await ledger.claim(Stage.CLEANUP, len(files), NOW, [FEED.name])
    await ledger.move([moves.advance(f, Result(changes={}, detail="gone"), NOW) for f in running])
    return receipts


async def fold(ledger: Ledger, before: float, limit: int) -> int:
    """Fold what can be; return how many were found."""
    found = await ledger.ask(stories.foldings, before, limit)
    await ledger.past.fold(found)
    return len(found)


def rows(path: Path, table: str) -> int:
    with closing(sqlite3.connect(path)) as connection:
        found: int = connection.execute(
            f"SELECT count(*) FROM {table}"  # noqa: S608 -- a table of ours
        ).fetchone()[0]
    return found


async def test_a_done_file_is_told_after_folding_as_before(ledger: Ledger) -> None:
    files = await plant(ledger, *shipping(3))
    receipts = await finish(ledger, files)
    before = [await ledger.ask(reports.history, file.id) for file in files]
    assert await fold(ledger, LATER, 10) == 3
    assert rows(ledger.path, "events") == rows(ledger.path, "receipts") == 0
    assert [await ledger.ask(reports.history, file.id) for file in files] == before
    assert await ledger.receipts([file.id for file in files]) == receipts
    assert await ledger.ask(stories.with_receipt, [*receipts, "x"]) == set(receipts)
    assert await fold(ledger, LATER, 10) == 0


async def test_open_files_and_those_done_just_now_stay_as_they_are(ledger: Ledger) -> None:
    await finish(ledger, await plant(ledger, *shipping(1)))
    (still_open,) = await plant(ledger, a_file(Stage.SHIP, id="z", path="/feed/z", **COUNTED))
    await ledger.claim(Stage.SHIP, 1, NOW, [FEED.name])
    assert await fold(ledger, NOW - 1, 10) == 0
    assert await fold(ledger, LATER, 10) == 1
    assert [line[:2] for line in await story(ledger, still_open.id)] == [("ship", "running")]


async def test_a_file_that_goes_on_is_folded_again_when_it_is_done(ledger: Ledger) -> None:
    (file,) = await plant(ledger, *shipping(1))
    await finish(ledger, [file])
    await fold(ledger, LATER, 10)
    before = await story(ledger, file.id)
    await ledger.move([moves.requeued(await one(ledger, file.id), Stage.SHIP, LATER)])
    assert await fold(ledger, LATER, 10) == 0, "it is not done"
    assert (await story(ledger, file.id))[: len(before)] == before
    again = replace(a_receipt(file), named_by="rename")
    (running,) = await ledger.claim(Stage.SHIP, 1, LATER, [FEED.name])
    sent = Result(changes={}, detail="in the archive again")
    await ledger.move([replace(moves.advance(running, sent, LATER), receipt=again)])
    assert await ledger.receipts([file.id]) == {file.id: again}
    (running,) = await ledger.claim(Stage.CLEANUP, 1, LATER, [FEED.name])
    await ledger.move([moves.advance(running, Result(changes={}, detail="gone"), LATER)])
    whole = await story(ledger, file.id)
    assert await fold(ledger, LATER, 10) == 1
    assert await story(ledger, file.id) == whole
    assert await ledger.receipts([file.id]) == {file.id: again}


async def test_what_happens_while_a_story_is_made_is_not_lost(ledger: Ledger) -> None:
    (file,) = await plant(ledger, *shipping(1))
    await finish(ledger, [file])
    (made,) = await ledger.ask(stories.foldings, LATER, 10)
    await ledger.move([_noted(await one(ledger, file.id))])
    assert await ledger._writer.apply(stories.write, [made]) == [False]
    assert (await story(ledger, file.id))[-1][2] == "looked at by hand"
    assert await fold(ledger, LATER, 10) == 1
    assert (await story(ledger, file.id))[-1][2] == "looked at by hand"


def _noted(file: FileRecord) -> Move:
    return Move(
        file=file,
        stage=Stage.CLEANUP,
        status=Status.DONE,
        changes={},
        at=NOW,
        detail="looked at by hand",
    )


async def test_the_newest_copies_are_known_folded_or_not(ledger: Ledger) -> None:
    files = await plant(ledger, *shipping(4))
    await finish(ledger, files)
    before = await ledger.ask(places.witnesses, 3)
    assert len(before) == 3
    await fold(ledger, LATER, 2)
    assert await ledger.ask(places.witnesses, 3) == before
    await fold(ledger, LATER, 2)
    assert await ledger.ask(places.witnesses, 3) == before


async def test_a_lane_folds_what_is_done(ledger: Ledger) -> None:
    bench = Bench(ledger=ledger, feeds=[FEED])
    await finish(ledger, await plant(ledger, *shipping(5)))
    lane = FoldingLane(bench.context)
    assert lane.is_at_work
    async with bench.at_work(lane.run()):
        await eventually(_true(lambda: rows(ledger.path, "stories") == 5), lambda: "not folded")
    assert not lane.is_at_work


async def test_files_are_found_by_name_whether_or_not_it_is_their_whole_path(
    ledger: Ledger,
) -> None:
    await plant(
        ledger,
        a_file(Stage.SHIP, id="top", path="/feed/a.csv", relative_path="a.csv"),
        a_file(Stage.SHIP, id="sub", path="/feed/sub/b.csv", relative_path="sub/b.csv"),
    )
    for name, id_ in (
        ("a.csv", "top"),
        ("b.csv", "sub"),
        ("/feed/sub/b.csv", "sub"),
        ("top", "top"),
    ):
        assert [f.id for f in await ledger.ask(reports.matching, name)] == [id_]
    assert await ledger.ask(reports.matching, "sub/b.csv") == []


# -- space ---------------------------------------------------------------------------------------


async def test_freed_space_is_given_back_beside_the_work(tmp_path: Path) -> None:
    path = tmp_path / "ledger.db"
    async with opened(path) as ledger:
        await _fill(ledger)
    full = path.stat().st_size
    async with opened(path) as ledger:
        await ledger._writer.apply(_forget_events, [None])
        await eventually(
            _true(lambda: _pages(path) * 4096 < full / 2), lambda: f"{_pages(path)} pages"
        )
        assert await ledger.see([]) == []
    assert path.stat().st_size < full / 2


async def test_an_older_ledger_is_written_anew_once_so_that_it_can_shrink(tmp_path: Path) -> None:
    path = tmp_path / "ledger.db"
    async with opened(path) as ledger:
        await plant(ledger, *shipping(100))
    make_older(path, 7)
    assert _vacuuming(path) == 0
    async with opened(path) as ledger:
        assert len(await ledger.ask(reports.select, reports.Wanted())) == 100
    assert _vacuuming(path) == 2


async def test_one_without_room_for_that_stays_as_it_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "ledger.db"
    async with opened(path) as ledger:
        await plant(ledger, *shipping(100))
    make_older(path, 7)
    monkeypatch.setattr("backupd.ledger.reclaiming._LARGEST", 1000)
    async with opened(path) as ledger:
        files = await ledger.ask(reports.select, reports.Wanted())
        await ledger.move([_noted(claimed(files[0]))])
    assert _vacuuming(path) == 0


async def test_files_of_an_older_ledger_are_found_by_name(tmp_path: Path) -> None:
    path = tmp_path / "ledger.db"
    async with opened(path) as ledger:
        await plant(ledger, *shipping(2))
    make_older(path, 7)
    async with opened(path):
        pass
    reader = LedgerReader(path)
    assert len(reader.ask(reports.matching, "a00001")) == 1
    reader.close()


async def _fill(ledger: Ledger) -> None:
    await ledger._writer.apply(_many_events, [None])


def _true(check: Callable[[], bool]) -> Callable[[], Awaitable[bool]]:
    async def look() -> bool:
        return check()

    return look


def _many_events(connection: sa.Connection, items: Sequence[None]) -> Sequence[None]:
    connection.exec_driver_sql(
        "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 60000)"
        " INSERT INTO events (file_id, at, stage, status, detail)"
        " SELECT 'x', i, 'ship', 'waiting', printf('%0200d', i) FROM n"
    )
    return items


def _forget_events(connection: sa.Connection, items: Sequence[None]) -> Sequence[None]:
    connection.exec_driver_sql("DELETE FROM events")
    return items


def _pages(path: Path) -> int:
    return _pragma(path, "page_count")


def _vacuuming(path: Path) -> int:
    return _pragma(path, "auto_vacuum")


def _pragma(path: Path, name: str) -> int:
    with closing(sqlite3.connect(path)) as connection:
        found: int = connection.execute(f"PRAGMA {name}").fetchone()[0]
    return found
