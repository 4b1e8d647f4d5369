"""The ledger's disk is full for a while: changes wait, and each is made once."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest

from backupd.core import moves
from backupd.core.errors import LedgerError
from backupd.core.records import Result
from backupd.core.stages import Stage, Status
from backupd.ledger import writer
from support.files import NOW, a_file, a_sighting
from support.intake import eventually
from support.ledgers import files_of, numbered, one, opened, plant, story

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import AsyncIterator
    from pathlib import Path

    from backupd.ledger import Ledger


@pytest.fixture
async def ledger(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Ledger]:
    monkeypatch.setattr(writer, "_LOOK_FOR_ROOM", 0.02)
    async with opened(tmp_path / "ledger.db") as ledger:
        ledger.wait_for_room()
        yield ledger


def leave(ledger: Ledger, pages: int) -> None:
    """Let SQLite have no more than so many pages: what is beyond is a full disk to it.

    By the writer's own connection, which it may be using.
    """
    driver: sqlite3.Connection = ledger._engine.pool.connection.dbapi_connection  # type: ignore[attr-defined] # a StaticPool has it
    driver.execute(f"PRAGMA max_page_count = {pages}").close()


async def fill(ledger: Ledger) -> asyncio.Task[object]:
    """See files until there is no room for more of them; return the sight that waits."""
    leave(ledger, 1)  # no less than there are: SQLite takes the number of now
    for number in range(1000):
        sights = [a_sighting(f"/feed/{number}-{each}") for each in range(100)]
        seeing = asyncio.create_task(ledger.see(sights))

        async def over(seeing: asyncio.Task[object] = seeing) -> bool:
            return seeing.done() or ledger.lacks_room

        await eventually(over, lambda: "neither written nor refused")
        if not seeing.done():
            return seeing
    pytest.fail("there was room for all of them")


async def test_what_finds_no_room_waits_and_is_written_once(ledger: Ledger) -> None:
    (file,) = await plant(ledger, a_file(Stage.SHIP))
    seeing = await fill(ledger)
    moving = asyncio.create_task(
        ledger.move([moves.advance(file, Result(changes={}, detail="well"), NOW)])
    )
    assert (await one(ledger, file.id)).stage is Stage.SHIP  # and can be read meanwhile
    assert not seeing.done()
    leave(ledger, 1_000_000)
    assert len(await seeing) == 100  # type: ignore[arg-type] # what `see` returns
    assert await moving == [True]
    assert not ledger.lacks_room
    assert (await one(ledger, file.id)).stage is Stage.CLEANUP
    assert await story(ledger, file.id) == [("cleanup", "waiting", "well")]
    paths = [each.path for each in await files_of(ledger)]
    assert len(paths) == len(set(paths))


async def test_the_writer_shows_life_while_it_waits_and_asks_for_no_memory(ledger: Ledger) -> None:
    await fill(ledger)
    async with asyncio.timeout(30):
        for _ in range(20):
            await ledger.sign_of_life()
    assert ledger._writer._queue.qsize() <= 1
    leave(ledger, 1_000_000)
    await ledger.sign_of_life()


async def test_nothing_is_claimed_meanwhile(ledger: Ledger) -> None:
    await plant(ledger, *numbered(a_file(Stage.SHIP), 3))
    await fill(ledger)
    claiming = asyncio.create_task(ledger.claim(Stage.SHIP, 3, NOW, ["traffic/eLUX"]))
    await ledger.sign_of_life()
    assert not claiming.done()
    leave(ledger, 1_000_000)
    assert len(await claiming) == 3
    assert {file.attempts for file in await claiming} == {1}


@pytest.mark.parametrize("end", ["told", "closed"])
async def test_who_may_wait_no_more_is_told(ledger: Ledger, end: str) -> None:
    (file,) = await plant(ledger, a_file(Stage.SHIP))
    seeing = await fill(ledger)
    if end == "told":
        ledger.wait_for_room(wait=False)
    else:
        await ledger.close()
    with pytest.raises(LedgerError, match="full"):
        await seeing
    if end == "told":
        assert (await one(ledger, file.id)).status is Status.WAITING
        with pytest.raises(LedgerError, match="full"):
            await ledger.see([a_sighting("/feed/later")])


async def test_who_never_said_to_wait_is_told_at_once(tmp_path: Path) -> None:
    async with opened(tmp_path / "ledger.db") as ledger:
        leave(ledger, 1)
        sights = [a_sighting(f"/feed/{number}") for number in range(2_000)]
        with pytest.raises(LedgerError, match="full"):
            await ledger.see(sights)
