"""Files that are done and stay: a change of rights is none of content."""

from __future__ import annotations

import hashlib
import mmap
import os
import time
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from backupd.core.records import Identity, Move
from backupd.core.stages import Awaits, Stage, Status
from support.intake import Watched, a_feed, eventually, watching

if TYPE_CHECKING:
    from collections.abc import Callable

    from backupd.core.records import Feed, FileRecord

NAME = "eLUX_1.csv"
DONE = (Stage.CLEANUP, Status.DONE, Awaits.NOTHING)
HELD = (Stage.SHIP, Status.PARKED, Awaits.RELEASE)
TERABYTE = 1 << 40


@pytest.fixture
def feed(tmp_path: Path) -> Feed:
    (tmp_path / "feed").mkdir()
    return a_feed(tmp_path / "feed")


@pytest.fixture
def path(feed: Feed) -> Path:
    path = Path(feed.directory) / NAME
    path.write_text("a\nb\n")
    return path


async def kept(watched: Watched, path: Path, where: tuple[Stage, Status, str] = DONE) -> FileRecord:
    """Bring the file of this path there, as if all stages had been through it."""
    file = await watched.reaches(path.name, Stage.MANIFEST, Status.WAITING)
    stage, status, awaits = where
    is_done = status is Status.DONE
    sparse = path.stat().st_blocks == 0
    changes: dict[str, Any] = {
        "sha256": "0" * 64 if sparse else hashlib.sha256(path.read_bytes()).hexdigest(),
        "awaits": awaits,
        "done_at": time.time() if is_done else None,
        "row_seen_at": time.time(),
    }
    move = Move(file=file, stage=stage, status=status, changes=changes, at=time.time(), detail="")
    assert await watched.ledger.move([move]) == [True]
    return replace(file, **changes, stage=stage, status=status)


def chmod(path: Path) -> None:
    path.chmod(0o640)


def chown(path: Path) -> None:
    os.chown(path, 12345, 54321)


def set_attribute(path: Path) -> None:
    os.setxattr(path, "user.mark", b"as setfacl does")


def link(path: Path) -> None:
    path.with_name("another name").hardlink_to(path)


def touch_back(path: Path) -> None:
    os.utime(path, ns=(0, path.stat().st_mtime_ns))


@pytest.mark.parametrize("where", [DONE, HELD], ids=["done", "held"])
@pytest.mark.parametrize("change", [chmod, chown, set_attribute, link, touch_back])
async def test_what_is_no_change_of_content_makes_no_new_row(
    tmp_path: Path,
    feed: Feed,
    path: Path,
    where: tuple[Stage, Status, str],
    change: Callable[[Path], None],
) -> None:
    async with watching(tmp_path, [feed], rescan_every=0.1) as watched:
        file = await kept(watched, path, where)
        change(path)
        now = Identity.of(path.stat())
        assert now != file.identity
        (after,) = await watched.until(lambda files: files[-1].identity == now)
        assert after == replace(file, identity=now, reason=after.reason)


async def test_a_file_is_hashed_once_a_change(tmp_path: Path, feed: Feed, path: Path) -> None:
    async with watching(tmp_path, [feed]) as watched:
        await kept(watched, path)
        chmod(path)
        await watched.intake.scan_once()
        commits = watched.ledger.commits
        for _ in range(3):
            await watched.intake.scan_once()
        assert watched.ledger.commits == commits
        assert len(await watched.files()) == 1


@pytest.mark.parametrize("how", ["in place, its time set back", "mapped, its time set back"])
async def test_other_content_of_the_same_size_and_time_is_a_new_file(
    tmp_path: Path, feed: Feed, path: Path, how: str
) -> None:
    async with watching(tmp_path, [feed], rescan_every=0.1) as watched:
        file = await kept(watched, path)
        with path.open("r+b") as opened:
            if how.startswith("mapped"):
                _write_mapped(opened.fileno())
            else:
                opened.write(b"z")
        os.utime(path, ns=(0, file.identity.mtime_ns))
        assert Identity.of(path.stat()) != file.identity
        old, new = await watched.until(lambda files: len(files) == 2)
        assert (old.local, new.local) == (False, True)
        assert new.identity == Identity.of(path.stat())


def _write_mapped(descriptor: int) -> None:
    with mmap.mmap(descriptor, 0) as mapped:
        mapped[0:1] = b"z"


async def test_a_parked_file_that_may_be_read_by_now_goes_on_as_a_new_one(
    tmp_path: Path, feed: Feed, path: Path
) -> None:
    async with watching(tmp_path, [feed], rescan_every=0.1) as watched:
        await kept(watched, path, (Stage.MANIFEST, Status.PARKED, ""))
        chmod(path)
        await watched.until(lambda files: len(files) == 2)


async def test_a_large_one_holds_up_neither_another_file_nor_the_end(
    tmp_path: Path, feed: Feed
) -> None:
    large = tmp_path / "feed" / NAME
    with large.open("wb") as opened:
        os.truncate(opened.fileno(), TERABYTE)
    async with watching(tmp_path, [feed], rescan_every=0.1) as watched:
        await kept(watched, large)
        chmod(large)

        async def is_being_read() -> bool:
            return any(_leads_to(each, large) for each in Path("/proc/self/fd").iterdir())

        await eventually(is_being_read, lambda: "nobody reads it")
        (tmp_path / "feed" / "eLUX_2.csv").write_text("a\n")
        await watched.reaches("eLUX_2.csv", Stage.MANIFEST, Status.WAITING)
        assert await is_being_read()
        assert len(await watched.files()) == 2


def _leads_to(descriptor: Path, path: Path) -> bool:
    with suppress(OSError):
        return descriptor.readlink() == path
    return False
