"""What intake must not be led to: outside a feed, to files that are written, to removed ones."""

from __future__ import annotations

import asyncio
import errno
import mmap
import os
from typing import TYPE_CHECKING

import pytest
from structlog.testing import capture_logs

from backupd.core.names import aside_name
from backupd.core.stages import Stage, Status
from backupd.intake import settling
from support.intake import a_feed, watching

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from backupd.core.records import Feed
    from support.intake import Watched

WRITTEN = "some process has it open for writing"


@pytest.fixture
def feed(tmp_path: Path) -> Feed:
    (tmp_path / "feed").mkdir()
    return a_feed(tmp_path / "feed", recursive=True)


@pytest.fixture
def outside(tmp_path: Path) -> Path:
    (tmp_path / "outside").mkdir()
    (tmp_path / "outside" / "eLUX_secret.csv").write_text("a\n")
    return tmp_path / "outside"


async def takes(watched: Watched, directory: Path, name: str) -> None:
    """Wait until a file that comes now is taken: what came before was looked at then."""
    (directory / name).write_text("a\n")
    await watched.reaches(name, Stage.MANIFEST, Status.WAITING)


async def test_a_directory_that_becomes_a_link_leads_nowhere(
    tmp_path: Path, feed: Feed, outside: Path
) -> None:
    below = tmp_path / "feed" / "x"
    async with watching(tmp_path, [feed], rescan_every=0.1) as watched:
        for _ in range(20):
            below.mkdir()
            below.rmdir()
            below.symlink_to(outside)
            await asyncio.sleep(0.01)
            below.unlink()
        below.symlink_to(outside)
        await takes(watched, tmp_path / "feed", "eLUX_1.csv")
        await takes(watched, tmp_path / "feed", "eLUX_2.csv")
        assert {file.file_name for file in await watched.files()} == {"eLUX_1.csv", "eLUX_2.csv"}


async def test_a_feeds_directory_that_becomes_a_link_leads_nowhere(
    tmp_path: Path, feed: Feed, outside: Path
) -> None:
    async with watching(tmp_path, [feed], rescan_every=0.1) as watched:
        (tmp_path / "feed").rename(tmp_path / "aside")
        (tmp_path / "feed").symlink_to(outside)
        await watched.away(feed.name)
        (outside / "eLUX_more.csv").write_text("a\n")
        (tmp_path / "feed").unlink()
        (tmp_path / "aside").rename(tmp_path / "feed")
        await watched.away()
        await takes(watched, tmp_path / "feed", "eLUX_1.csv")
        assert {file.file_name for file in await watched.files()} == {"eLUX_1.csv"}


async def test_a_settling_files_directory_that_becomes_a_link_hides_it(
    tmp_path: Path, feed: Feed, outside: Path
) -> None:
    (tmp_path / "feed" / "x").mkdir()
    async with watching(tmp_path, [feed], settle_for=2.0) as watched:
        (tmp_path / "feed" / "x" / "eLUX_secret.csv").write_text("a\n")
        await watched.found(1)
        (tmp_path / "feed" / "x").rename(tmp_path / "moved")
        (tmp_path / "feed" / "x").symlink_to(outside)
        parked = await watched.reaches("x/eLUX_secret.csv", Stage.SETTLE, Status.PARKED)
        assert "vanished" in parked.reason


# -- files that are written ------------------------------------------------------------------------


def appending(path: Path) -> Callable[[], object]:
    return path.open("a").close


def mapping(path: Path) -> Callable[[], object]:
    with path.open("r+b") as file:
        return mmap.mmap(file.fileno(), 0).close


def preallocated(path: Path) -> Callable[[], object]:
    file = path.open("r+b")
    file.truncate(1000)
    return file.close


@pytest.mark.parametrize("writing", [appending, mapping, preallocated])
async def test_a_file_that_is_open_for_writing_is_not_complete(
    tmp_path: Path, feed: Feed, writing: Callable[[Path], Callable[[], object]]
) -> None:
    path = tmp_path / "feed" / "eLUX_1.csv"
    path.write_text("a\n")
    close = writing(path)
    async with watching(tmp_path, [feed]) as watched:
        waiting = await watched.until_one("eLUX_1.csv", lambda file: file.reason == WRITTEN)
        assert (waiting.stage, waiting.status) == (Stage.SETTLE, Status.WAITING)
        close()
        await watched.reaches("eLUX_1.csv", Stage.MANIFEST, Status.WAITING)


async def test_a_file_whose_writers_cannot_be_asked_for_is_not_complete(
    tmp_path: Path, feed: Feed, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(*_: object) -> bool:
        raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))

    with (tmp_path / "feed" / "eLUX_1.csv").open("a"), monkeypatch.context() as failing:
        failing.setattr(settling, "is_open_for_writing", fails)
        async with watching(tmp_path, [feed], rescan_every=0.1) as watched:
            told = "cannot be looked at: Too many open files"
            await watched.until_one("eLUX_1.csv", lambda file: file.reason == told)
            failing.undo()
            await watched.until_one("eLUX_1.csv", lambda file: file.reason == WRITTEN)


async def test_the_config_may_have_it_taken_all_the_same(tmp_path: Path, feed: Feed) -> None:
    with (tmp_path / "feed" / "eLUX_1.csv").open("a"):
        async with watching(tmp_path, [feed], open_files="off") as watched:
            await watched.reaches("eLUX_1.csv", Stage.MANIFEST, Status.WAITING)


async def test_readers_are_in_nobodys_way(tmp_path: Path, feed: Feed) -> None:
    (tmp_path / "feed" / "eLUX_1.csv").write_text("a\n")
    with (tmp_path / "feed" / "eLUX_1.csv").open():
        async with watching(tmp_path, [feed]) as watched:
            await watched.reaches("eLUX_1.csv", Stage.MANIFEST, Status.WAITING)


# -- what removals left ----------------------------------------------------------------------------

NOBODYS = "0" * 20


async def test_what_a_removal_left_aside_is_put_back(tmp_path: Path, feed: Feed) -> None:
    (tmp_path / "feed" / aside_name("eLUX_1.csv", NOBODYS)).write_text("a\n")
    (tmp_path / "feed" / aside_name("eLUX_1.cksum", NOBODYS)).write_text("b\n")
    with capture_logs() as logs:
        async with watching(tmp_path, [feed], rescan_every=0.1) as watched:
            await watched.reaches("eLUX_1.csv", Stage.MANIFEST, Status.WAITING)
    names = {path.name for path in (tmp_path / "feed").iterdir()}
    assert names == {"eLUX_1.csv", "eLUX_1.cksum"}
    assert [entry["name"] for entry in logs if "put back" in entry["event"]] != []


async def test_what_cannot_be_put_back_is_kept_and_never_taken(tmp_path: Path, feed: Feed) -> None:
    (tmp_path / "feed" / aside_name("eLUX_1.csv", NOBODYS)).write_text("old\n")
    (tmp_path / "feed" / "eLUX_1.csv").write_text("new\n")
    with capture_logs() as logs:
        async with watching(tmp_path, [feed], rescan_every=0.1) as watched:
            await watched.reaches("eLUX_1.csv", Stage.MANIFEST, Status.WAITING)
            await takes(watched, tmp_path / "feed", "eLUX_2.csv")
            assert len(await watched.files()) == 2
    (kept,) = (path for path in (tmp_path / "feed").iterdir() if "kept" in path.name)
    assert kept.read_text() == "old\n"
    assert (tmp_path / "feed" / "eLUX_1.csv").read_text() == "new\n"
    assert any("its name is taken" in str(entry.get("why")) for entry in logs)
