"""What is taken for a new file, whatever happened since it was looked at. On real SQLite."""

from __future__ import annotations

import asyncio
import time
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from backupd.core import moves
from backupd.core.records import Identity, Known, Result, Seen
from backupd.core.stages import Stage, Status
from support.files import NOW, a_file, a_sighting
from support.intake import PATIENCE, a_feed, an_identity, watching
from support.ledgers import FEED, files_of, looked_at, opened, plant

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from backupd.core.records import Feed, FileRecord, Sighting
    from backupd.ledger import Ledger

PATH = "/feed/eLUX_1.csv"
SIGHTING = a_sighting(PATH, feed=FEED)
OTHER_FILE = replace(SIGHTING, identity=an_identity(ino=3))


@pytest.fixture
async def ledger(tmp_path: Path) -> AsyncIterator[Ledger]:
    async with opened(tmp_path / "ledger.db") as ledger:
        yield ledger


async def knew(ledger: Ledger, sighting: Sighting) -> Sighting:
    """The sighting of someone who asks the ledger now, and looks at the file then."""
    known = (await ledger.known([sighting.path])).get(sighting.path)
    return replace(sighting, knew=known.last_id if known else None)


async def gone(ledger: Ledger, file: FileRecord) -> None:
    """Cleanup removes the file."""
    deleted = Result(changes={"local": False}, detail="local copy deleted")
    move = moves.advance(replace(file, stage=Stage.CLEANUP), deleted, NOW)
    assert await ledger.move([replace(move, file=file)]) == [True]


async def test_a_path_without_rows_is_not_known_and_any_row_is(ledger: Ledger) -> None:
    assert await ledger.known([PATH]) == {}
    (file,) = await plant(ledger, a_file(Stage.CLEANUP, path=PATH))
    known = await ledger.known([PATH, "/feed/other"])
    assert known == {PATH: Known(file.id, file.identity)}
    await gone(ledger, file)
    after = await ledger.known([PATH])
    assert after[PATH].identity is None
    assert after[PATH].last_id != known[PATH].last_id


async def test_what_was_removed_after_it_was_looked_at_is_never_a_new_file(
    ledger: Ledger,
) -> None:
    (file,) = await plant(ledger, a_file(Stage.CLEANUP, path=PATH))
    early = [SIGHTING, replace(await knew(ledger, SIGHTING), identity=an_identity(ctime_ns=9))]
    await gone(ledger, file)
    assert await ledger.see(early) == [Seen.LOOK_AGAIN] * 2
    assert [each.id for each in await files_of(ledger)] == [file.id]


async def test_what_came_and_went_after_the_ledger_was_asked_is_looked_at_again(
    ledger: Ledger,
) -> None:
    early = await knew(ledger, SIGHTING)
    (file,) = await plant(ledger, a_file(Stage.CLEANUP, path=PATH))
    await gone(ledger, file)
    assert await ledger.see([early]) == [Seen.LOOK_AGAIN]
    assert await looked_at(ledger, SIGHTING) == [Seen.NEW]  # it lies there again


async def test_a_sighting_that_knew_an_older_row_is_looked_at_again(ledger: Ledger) -> None:
    (file,) = await plant(ledger, a_file(Stage.CLEANUP, Status.DONE, path=PATH, local=False))
    early = await knew(ledger, replace(SIGHTING, identity=an_identity(ino=4)))
    assert await looked_at(ledger, OTHER_FILE) == [Seen.NEW]
    second = next(each for each in await files_of(ledger) if each.id != file.id)
    await gone(ledger, second)
    assert await ledger.see([early]) == [Seen.LOOK_AGAIN]


async def test_two_who_saw_the_same_file_make_one_row(ledger: Ledger) -> None:
    sightings = [await knew(ledger, SIGHTING) for _ in range(2)]
    assert await ledger.see(sightings[:1]) == [Seen.NEW]
    assert await ledger.see(sightings[1:]) == [Seen.KNOWN]


async def test_a_clock_that_was_set_back_hides_no_newer_row(ledger: Ledger) -> None:
    (file,) = await plant(ledger, a_file(Stage.CLEANUP, Status.DONE, path=PATH, local=False))
    early = await knew(ledger, OTHER_FILE)
    long_ago = replace(early, seen_at=1.0)
    assert await ledger.see([long_ago]) == [Seen.NEW]
    newer = next(each for each in await files_of(ledger) if each.id != file.id)
    assert newer.id < file.id
    await gone(ledger, newer)
    assert await ledger.see([early]) == [Seen.LOOK_AGAIN]


# -- intake, against files that come and go -------------------------------------------------------


class Slow:
    """Holds up the first call of one verb of the ledger until something else has happened."""

    def __init__(self, ledger: Ledger, verb: str, monkeypatch: pytest.MonkeyPatch) -> None:
        self.came, self.go_on = asyncio.Event(), asyncio.Event()
        self._real = getattr(ledger, verb)
        monkeypatch.setattr(ledger, verb, self._held_up)

    async def _held_up(self, *arguments: object) -> object:
        if not self.came.is_set():
            self.came.set()
            await self.go_on.wait()
        return await self._real(*arguments)


async def comes_and_goes(ledger: Ledger, feed: Feed, path: Path) -> FileRecord:
    """A file is seen, goes through every stage at once, and is removed."""
    later = time.time() + 3600  # settling is to leave it alone
    seen = a_sighting(str(path), feed=feed, identity=Identity.of(path.stat()), look_at=later)
    assert await looked_at(ledger, seen) == [Seen.NEW]
    (file,) = await files_of(ledger)
    path.unlink()
    await gone(ledger, file)
    return file


@pytest.mark.parametrize("verb", ["known", "see"])
async def test_a_file_that_cleanup_removed_while_the_ledger_was_slow_makes_no_second_row(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, verb: str
) -> None:
    (tmp_path / "feed").mkdir()
    feed, path = a_feed(tmp_path / "feed"), tmp_path / "feed" / "eLUX_1.csv"
    async with watching(tmp_path, [feed]) as watched:
        slow = Slow(watched.ledger, verb, monkeypatch)
        path.write_text("here for a moment\n")
        async with asyncio.timeout(PATIENCE):
            await slow.came.wait()
        file = await comes_and_goes(watched.ledger, feed, path)
        (tmp_path / "feed" / "eLUX_2.csv").write_text("the next one\n")
        slow.go_on.set()
        await watched.until_one("eLUX_2.csv", lambda _: True)
        assert [each.id for each in await watched.files() if each.path == str(path)] == [file.id]
