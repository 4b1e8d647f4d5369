"""Damaged ledgers are refused and left as they are. On real files."""

from __future__ import annotations

import asyncio
import os
import shutil
import sqlite3
from typing import TYPE_CHECKING

import pytest

from backupd.core.errors import LedgerError
from backupd.core.records import Seen
from backupd.core.stages import Stage
from backupd.ledger import Ledger, LedgerReader, engine, files, lock
from support.files import NOW, a_file, a_sighting
from support.intake import a_feed, eventually
from support.ledgers import digests, filled, numbered, opened, plant

if TYPE_CHECKING:
    from pathlib import Path

FEED = a_feed("/feed")


def corrupt(path: Path, offset: int, length: int = 4096) -> None:
    with path.open("r+b") as file:
        file.seek(offset)
        file.write(b"\xa5" * length)


async def test_a_ledger_with_a_damaged_page_is_refused_and_left_as_it_is(tmp_path: Path) -> None:
    path = tmp_path / "ledger.db"
    await filled(path, 500)
    pages = path.stat().st_size // 4096
    corrupt(path, pages // 2 * 4096)
    before = digests(tmp_path)
    with pytest.raises(LedgerError, match="malformed") as caught:
        Ledger(path)
    assert "not repaired" in caught.value.hint
    assert digests(tmp_path) == before
    assert lock.holder(path) is None


@pytest.mark.parametrize("length", [16, 100])
async def test_a_ledger_with_a_damaged_header_is_refused_and_left_as_it_is(
    tmp_path: Path, length: int
) -> None:
    path = tmp_path / "ledger.db"
    await filled(path)
    corrupt(path, 0, length)
    before = digests(tmp_path)
    for open_it in (Ledger, LedgerReader):
        with pytest.raises(LedgerError, match="not a database"):
            open_it(path)
    assert digests(tmp_path) == before


async def test_a_ledger_that_is_cut_short_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "ledger.db"
    await filled(path, 500)
    os.truncate(path, path.stat().st_size // 2)
    before = digests(tmp_path)
    with pytest.raises(LedgerError, match="malformed"):
        Ledger(path)
    assert digests(tmp_path) == before


async def test_another_programs_text_is_no_ledger(tmp_path: Path) -> None:
    path = tmp_path / "ledger.db"
    path.write_text("id;name\n" * 1_000)
    with pytest.raises(LedgerError, match="not a database"):
        Ledger(path)
    assert path.read_text().startswith("id;name\n")


async def test_damage_deep_in_a_large_ledger_stops_it_while_it_is_at_work(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "ledger.db"
    await filled(path, 3_000)
    with sqlite3.connect(path) as connection:
        query = "SELECT pageno FROM dbstat WHERE name = 'events' AND pagetype = 'leaf'"
        try:
            (page,) = connection.execute(query + " ORDER BY pageno LIMIT 1 OFFSET 5").fetchone()
        finally:
            connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    connection.close()
    corrupt(path, (page - 1) * 4096)
    monkeypatch.setattr(engine, "READ_FIRST", 0)
    async with opened(path) as ledger:

        async def found() -> object:
            return ledger.error

        await eventually(found, lambda: "no damage found")
        assert "malformed" in str(ledger.error)
        with pytest.raises(LedgerError, match="malformed"):
            await ledger.see([a_sighting("/feed/new", feed=FEED)])


async def test_a_large_sound_ledger_stays_open_and_may_be_closed_at_any_moment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "ledger.db"
    await filled(path, 3_000)
    monkeypatch.setattr(engine, "READ_FIRST", 0)
    for _ in range(5):
        async with opened(path) as ledger:
            assert await ledger.known(["/feed/1"])
            assert ledger.error is None
    async with opened(path) as ledger:
        assert ledger._check is not None
        await asyncio.to_thread(ledger._check._thread.join)
        assert ledger.error is None
        assert await ledger.see([a_sighting("/feed/new", feed=FEED)]) == [Seen.NEW]


async def test_a_copy_of_a_running_ledger_is_sound(tmp_path: Path) -> None:
    async with opened(tmp_path / "ledger.db") as ledger:
        await plant(ledger, *numbered(a_file(Stage.SHIP), 50))
        await ledger.claim(Stage.SHIP, 50, NOW, [FEED.name])
        for name in ("ledger.db", "ledger.db-wal"):
            shutil.copy(tmp_path / name, tmp_path / f"copy-{name}")
    async with opened(tmp_path / "copy-ledger.db") as copy:
        assert len(await copy.ask(files.running)) == 50
