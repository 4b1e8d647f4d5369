"""A snapshot in the place of a ledger: whole, sound, never over one that works."""

from __future__ import annotations

import gzip
import os
import sqlite3
from contextlib import closing
from typing import TYPE_CHECKING

import pytest

from backupd.core.errors import BackupdError, LedgerError
from backupd.core.stages import Stage, Status
from backupd.ledger import (
    Ledger,
    LedgerLockedError,
    Restoring,
    Snapshotting,
    versions,
)
from support.files import NOW, a_file, a_sighting
from support.ledgers import files_of, filled, numbered, opened, plant
from support.older_ledgers import make_older

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

BLOCK = 10_000


@pytest.fixture
async def snapshot(tmp_path: Path) -> bytes:
    """A snapshot of 200 files."""
    await filled(tmp_path / "origin.db")
    Snapshotting(tmp_path / "origin.db", tmp_path / "snapshot").run()
    return (tmp_path / "snapshot").read_bytes()


@pytest.fixture
def ledger(tmp_path: Path) -> Path:
    (tmp_path / "state").mkdir()
    return tmp_path / "state" / "ledger.db"


def restore(ledger: Path, content: bytes) -> Path | None:
    with Restoring(ledger) as restoring:
        for start in range(0, len(content), BLOCK):
            restoring.write(content[start : start + BLOCK])
        return restoring.put_in_place()


def beside(ledger: Path) -> set[str]:
    return {path.name for path in ledger.parent.iterdir()} - {"ledger.db.lock"}


async def count(ledger: Path) -> int:
    async with opened(ledger) as ours:
        return len(await files_of(ours))


@pytest.mark.parametrize("pack", [bytes, gzip.compress], ids=["plain", "gzip"])
async def test_a_lost_ledger_is_as_it_was(
    ledger: Path, snapshot: bytes, pack: Callable[[bytes], bytes]
) -> None:
    assert restore(ledger, pack(snapshot)) is None
    assert beside(ledger) == {"ledger.db"}
    assert ledger.stat().st_mode & 0o777 == 0o640
    assert await count(ledger) == 200


async def test_a_sound_ledger_is_never_replaced(ledger: Path, snapshot: bytes) -> None:
    await filled(ledger, 3)
    with pytest.raises(LedgerError, match="is sound") as caught:
        restore(ledger, snapshot)
    assert "move it away first" in caught.value.hint
    assert await count(ledger) == 3


async def test_nor_is_a_newer_one(ledger: Path, snapshot: bytes) -> None:
    await filled(ledger, 3)
    with closing(sqlite3.connect(ledger)) as connection:
        connection.execute(f"PRAGMA user_version = {versions.VERSION + 1:d}")
    with pytest.raises(LedgerError, match="is sound"):
        restore(ledger, snapshot)


async def test_a_ledger_whose_last_commits_are_in_its_log_is_sound(
    ledger: Path, snapshot: bytes
) -> None:
    """As a killed daemon leaves it."""
    ours = Ledger(ledger)
    await ours.see([a_sighting("/feed/1")])
    log = ledger.with_name("ledger.db-wal").read_bytes()
    await ours.close()
    ledger.with_name("ledger.db-wal").write_bytes(log)
    with pytest.raises(LedgerError, match="is sound"):
        restore(ledger, snapshot)


async def test_a_damaged_one_is_kept_aside_with_its_log(ledger: Path, snapshot: bytes) -> None:
    ledger.write_bytes(b"no database at all" * 1000)
    ledger.with_name("ledger.db-wal").write_bytes(b"an old log")
    ledger.with_name("ledger.db-shm").write_bytes(b"")
    kept = restore(ledger, snapshot)
    assert kept is not None
    assert kept.read_bytes() == b"no database at all" * 1000
    assert kept.with_name(f"{kept.name}-wal").read_bytes() == b"an old log"
    assert beside(ledger) == {"ledger.db", kept.name, f"{kept.name}-wal"}
    assert await count(ledger) == 200


async def test_the_log_of_a_ledger_that_is_gone_is_not_written_into_the_new_one(
    ledger: Path, snapshot: bytes
) -> None:
    await filled(ledger, 5)
    ours = Ledger(ledger)
    await ours.see([a_sighting("/feed/of-the-old-one")])
    log = ledger.with_name("ledger.db-wal").read_bytes()
    await ours.close()
    ledger.unlink()
    ledger.with_name("ledger.db-wal").write_bytes(log)
    restore(ledger, snapshot)
    assert await count(ledger) == 200


async def test_an_empty_file_is_no_ledger(ledger: Path, snapshot: bytes) -> None:
    ledger.touch()
    assert restore(ledger, snapshot) is None
    assert await count(ledger) == 200


async def test_while_a_daemon_has_the_ledger_nothing_is_restored(
    ledger: Path, snapshot: bytes
) -> None:
    async with opened(ledger):
        with pytest.raises(LedgerLockedError) as caught:
            restore(ledger, snapshot)
    assert caught.value.pid == str(os.getpid())


def test_no_daemon_begins_meanwhile(ledger: Path, snapshot: bytes) -> None:
    with Restoring(ledger) as restoring:
        restoring.write(snapshot)
        with pytest.raises(LedgerLockedError):
            Ledger(ledger)
        restoring.put_in_place()
        with pytest.raises(LedgerLockedError):
            Ledger(ledger)


def damaged(content: bytes) -> bytes:
    return content[:40_000] + b"\x5a" * 40_000 + content[80_000:]


@pytest.mark.parametrize(
    ("spoil", "why"),
    [
        (damaged, "malformed"),
        (lambda content: gzip.compress(damaged(content)), "malformed"),
        (lambda content: gzip.compress(content)[:-20], "does not decompress whole"),
        (lambda content: gzip.compress(content) + b"more", "more follows"),
        (lambda content: gzip.compress(content)[:-8] + b"\0" * 8, "does not decompress"),
        (lambda content: content[: len(content) // 2], "malformed"),
        (lambda _: b"", "not a database of backupd"),
        (lambda _: b"text\n" * 1000, "not a database"),
    ],
    ids=["bytes", "bytes in gzip", "cut", "longer", "sums", "half", "empty", "text"],
)
async def test_a_broken_snapshot_is_refused_and_changes_nothing(
    ledger: Path, snapshot: bytes, spoil: Callable[[bytes], bytes], why: str
) -> None:
    with pytest.raises(BackupdError, match=why) as caught:
        restore(ledger, spoil(snapshot))
    assert "earlier one" in caught.value.hint
    assert beside(ledger) == set()


def test_a_database_of_others_is_refused(ledger: Path, tmp_path: Path) -> None:
    with closing(sqlite3.connect(tmp_path / "other")) as connection:
        connection.execute("CREATE TABLE songs (title TEXT)")
        connection.execute("PRAGMA user_version = 1")
    with pytest.raises(BackupdError, match="not a database of backupd"):
        restore(ledger, (tmp_path / "other").read_bytes())


def with_version(content: bytes, number: int) -> bytes:
    return content[:60] + number.to_bytes(4, "big") + content[64:]


def test_a_snapshot_of_a_newer_backupd_is_refused(ledger: Path, snapshot: bytes) -> None:
    with pytest.raises(LedgerError, match=f"schema version {versions.VERSION + 1}") as caught:
        restore(ledger, with_version(snapshot, versions.VERSION + 1))
    assert "newer backupd" in caught.value.hint
    assert beside(ledger) == set()


async def test_one_of_an_older_backupd_is_migrated_at_the_next_start(
    ledger: Path, tmp_path: Path
) -> None:
    await filled(tmp_path / "old.db")
    make_older(tmp_path / "old.db", 6)
    Snapshotting(tmp_path / "old.db", tmp_path / "snapshot").run()
    restore(ledger, (tmp_path / "snapshot").read_bytes())
    assert await count(ledger) == 200


async def test_a_disk_without_room_changes_nothing(
    ledger: Path, snapshot: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> int:
        raise OSError(28, "No space left on device")

    ledger.write_bytes(b"damaged")
    with Restoring(ledger) as restoring:
        monkeypatch.setattr(os, "write", full)
        with pytest.raises(BackupdError, match="No space left"):
            restoring.write(snapshot)
        monkeypatch.undo()
    assert ledger.read_bytes() == b"damaged"
    assert beside(ledger) == {"ledger.db"}


async def test_what_root_restores_is_whose_the_directory_is(ledger: Path, snapshot: bytes) -> None:
    os.chown(ledger.parent, 65534, 65534)
    restore(ledger, snapshot)
    for path in ledger.parent.iterdir():
        assert (path.stat().st_uid, path.stat().st_gid) == (65534, 65534)


# -- the first start with it ---------------------------------------------------------------------


async def test_what_had_not_been_read_is_forgotten_once_and_all_else_stays(
    ledger: Path, tmp_path: Path
) -> None:
    """It may have been done since: what is gone is no trouble, what is there is found again."""
    unread = numbered(a_file(Stage.SETTLE), 3)
    manifest = a_file(Stage.MANIFEST, Status.RUNNING, id="m1", path="/feed/m", relative_path="m")
    kept = [
        a_file(Stage.SETTLE, Status.PARKED, id="p1", path="/feed/p", relative_path="p"),
        a_file(Stage.LOAD, id="l1", path="/feed/l", relative_path="l"),
        a_file(Stage.MANIFEST, id="r1", path="/feed/r", relative_path="r", row_seen_at=NOW),
        a_file(Stage.SHIP, id="s1", path="/feed/s", relative_path="s"),
    ]
    async with opened(tmp_path / "origin.db") as origin:
        await plant(origin, *unread, manifest, *kept)
    Snapshotting(tmp_path / "origin.db", tmp_path / "snapshot").run()
    restore(ledger, (tmp_path / "snapshot").read_bytes())
    async with opened(ledger) as restored:
        await restored.set_right(NOW)
        assert {file.id for file in await files_of(restored)} == {"p1", "l1", "r1", "s1"}
        await plant(restored, manifest)
        await restored.set_right(NOW)
        assert len(await files_of(restored)) == 5
