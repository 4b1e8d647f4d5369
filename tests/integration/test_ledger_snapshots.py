"""Copies of a ledger at work: whole, checked, in nobody's way."""

from __future__ import annotations

import asyncio
import sqlite3
import threading
import time
from contextlib import closing
from typing import TYPE_CHECKING

import pytest

from backupd.core.snapshots import LastSnapshot
from backupd.ledger import (
    LedgerReader,
    Snapshotting,
    last_snapshot,
    reports,
    temporary_of,
)
from backupd.ledger import snapshots as ledger_snapshots
from backupd.ledger.snapshots import SnapshotError, restoring_of
from support.files import a_sighting
from support.intake import PATIENCE
from support.ledgers import digests, files_of, filled, opened
from support.mounts import mounting
from support.older_ledgers import make_older

if TYPE_CHECKING:
    from pathlib import Path


def in_thread(copying: Snapshotting) -> asyncio.Future[None]:
    return asyncio.ensure_future(asyncio.to_thread(copying.run))


def files_in(path: Path) -> int:
    with closing(sqlite3.connect(f"file:{path}?mode=ro&immutable=1", uri=True)) as connection:
        (number,) = connection.execute("SELECT count(*) FROM files").fetchone()
    return int(number)


async def test_a_copy_has_what_was_committed_when_it_was_begun(tmp_path: Path) -> None:
    async with opened(tmp_path / "ledger.db") as ledger:
        await ledger.see([a_sighting(f"/feed/{n}") for n in range(300)])
        await asyncio.to_thread(Snapshotting(ledger.path, tmp_path / "copy").run)
        await ledger.see([a_sighting("/feed/later")])
        assert files_in(tmp_path / "copy") == 300
        assert (tmp_path / "copy").stat().st_mode & 0o077 == 0


async def test_commits_go_on_during_a_copy_and_it_is_not_begun_anew(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each step waits for a commit that came after it: begun anew, it would never end."""
    begun, committed = threading.Event(), threading.Event()

    def breathe(*_: object) -> None:
        begun.set()
        assert committed.wait(PATIENCE)
        committed.clear()

    monkeypatch.setattr(ledger_snapshots, "_PAGES", 4)
    monkeypatch.setattr(Snapshotting, "_breathe", breathe)
    async with opened(tmp_path / "ledger.db") as ledger:
        await ledger.see([a_sighting(f"/feed/{n}") for n in range(300)])
        copying = in_thread(Snapshotting(ledger.path, tmp_path / "copy"))
        commits = 0
        while not copying.done():
            if await asyncio.to_thread(begun.wait, 0.1):
                begun.clear()
                await ledger.see([a_sighting(f"/feed/meanwhile/{commits}")])
                commits += 1
                committed.set()
        await copying
        assert commits > 10
        assert files_in(tmp_path / "copy") == 300
        assert await ledger.ask(reports.how_many, reports.Wanted()) == 300 + commits


async def test_it_can_be_stopped_and_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    breathe = Snapshotting._breathe

    def stopped_meanwhile(copying: Snapshotting, *figures: int) -> None:
        copying.stop()
        breathe(copying, *figures)

    monkeypatch.setattr(ledger_snapshots, "_PAGES", 1)
    monkeypatch.setattr(Snapshotting, "_breathe", stopped_meanwhile)
    async with opened(tmp_path / "ledger.db") as ledger:
        await ledger.see([a_sighting(f"/feed/{n}") for n in range(300)])
        with pytest.raises(SnapshotError, match="stopping"):
            await in_thread(Snapshotting(ledger.path, tmp_path / "copy"))
    assert not (tmp_path / "copy").exists()


async def test_its_check_can_be_stopped_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def endless(connection: sqlite3.Connection) -> None:
        checking.set()
        connection.execute(
            "WITH RECURSIVE n(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM n) SELECT max(x) FROM n"
        ).fetchone()

    checking = threading.Event()
    monkeypatch.setattr(ledger_snapshots, "demand_sound", endless)
    async with opened(tmp_path / "ledger.db") as ledger:
        copying = Snapshotting(ledger.path, tmp_path / "copy")
        running = in_thread(copying)
        assert await asyncio.to_thread(checking.wait, PATIENCE)
        while not running.done():  # one that comes before the statement begins is lost
            copying.stop()
            await asyncio.wait([running], timeout=0.01)
        with pytest.raises(SnapshotError, match="stopping"):
            await running
    assert not (tmp_path / "copy").exists()


async def test_a_ledger_that_nobody_has_open_is_copied_and_not_touched(tmp_path: Path) -> None:
    (tmp_path / "l").mkdir()
    await filled(tmp_path / "l" / "ledger.db")
    before = digests(tmp_path / "l")
    Snapshotting(tmp_path / "l" / "ledger.db", tmp_path / "copy").run()
    assert files_in(tmp_path / "copy") == 200
    assert digests(tmp_path / "l") == before


async def test_a_damaged_ledger_gives_no_snapshot(tmp_path: Path) -> None:
    path = tmp_path / "ledger.db"
    await filled(path, 2_000)
    with path.open("r+b") as file:
        file.seek(40_000)
        file.write(b"\x5a" * 40_000)
    with pytest.raises(SnapshotError, match="malformed") as caught:
        Snapshotting(path, tmp_path / "copy").run()
    assert "the ledger itself may be damaged" in caught.value.hint
    assert not (tmp_path / "copy").exists()


async def test_where_it_would_take_the_ledgers_last_room_there_is_none(tmp_path: Path) -> None:
    await filled(tmp_path / "ledger.db", 2_000)
    size = (tmp_path / "ledger.db").stat().st_size
    small = tmp_path / "small"
    small.mkdir()
    with mounting() as mount:
        mount("-t", "tmpfs", "-o", f"size={size * 3 // 2}", "tmpfs", small)
        with pytest.raises(SnapshotError, match="no room for a snapshot") as caught:
            Snapshotting(tmp_path / "ledger.db", small / "copy").run()
        assert "make room" in caught.value.hint
        assert list(small.iterdir()) == []


async def test_a_disk_that_fills_up_meanwhile_leaves_nothing_behind(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    await filled(tmp_path / "ledger.db", 2_000)
    size = (tmp_path / "ledger.db").stat().st_size
    small = tmp_path / "small"
    small.mkdir()
    monkeypatch.setattr(Snapshotting, "_demand_room", lambda *_: None)
    with mounting() as mount:
        mount("-t", "tmpfs", "-o", f"size={size // 2}", "tmpfs", small)
        with pytest.raises(SnapshotError, match=r"full|disk I/O error"):
            Snapshotting(tmp_path / "ledger.db", small / "copy").run()
        assert list(small.iterdir()) == []


async def test_what_a_killed_process_left_beside_the_ledger_is_removed_at_the_next_start(
    tmp_path: Path,
) -> None:
    path = tmp_path / "ledger.db"
    for left in (temporary_of(path), restoring_of(path)):
        left.write_bytes(b"half")
    async with opened(path):
        assert not temporary_of(path).exists()
        assert not restoring_of(path).exists()


async def test_the_last_snapshot_is_known_by_where_it_is(tmp_path: Path) -> None:
    path, now = tmp_path / "ledger.db", time.time()
    async with opened(path) as ledger:
        assert await ledger.ask(last_snapshot, "here") is None
        for name in ("first", "second"):
            await ledger.note_snapshot("here", LastSnapshot(name=name, at=now))
    reader = LedgerReader(path)
    assert reader.ask(last_snapshot, "here") == LastSnapshot(name="second", at=now)
    assert reader.ask(last_snapshot, "there") is None
    reader.close()


async def test_a_ledger_from_before_there_were_snapshots_learns_to_know_them(
    tmp_path: Path,
) -> None:
    path, last = tmp_path / "ledger.db", LastSnapshot(name="first", at=time.time())
    await filled(path)
    make_older(path, 6)
    async with opened(path) as ledger:
        await ledger.note_snapshot("here", last)
        assert await ledger.ask(last_snapshot, "here") == last
        assert len(await files_of(ledger)) == 200
