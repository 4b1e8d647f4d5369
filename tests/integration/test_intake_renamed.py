"""A file whose directory is renamed below a recursive feed is the same file."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from backupd.core import moves
from backupd.core.moves import VANISHED
from backupd.core.records import Identity
from backupd.core.stages import Stage, Status
from support.files import NOW, a_file
from support.intake import a_feed, watching
from support.ledgers import opened, plant, story

if TYPE_CHECKING:
    from backupd.core.records import Feed, FileRecord
    from support.intake import Watched

ANYWHERE = [
    (stage, status)
    for stage in Stage
    for status in (Status.WAITING, Status.RUNNING, Status.PARKED)
    if (stage, status) != (Stage.SETTLE, Status.RUNNING)
]


@pytest.fixture
def feed(tmp_path: Path) -> Feed:
    (tmp_path / "feed" / "a").mkdir(parents=True)
    return a_feed(tmp_path / "feed", recursive=True)


@pytest.fixture
def path(feed: Feed) -> Path:
    path = Path(feed.directory) / "a" / "eLUX_1.csv"
    path.write_text("a\n")
    return path


def known(path: Path, stage: Stage, status: Status = Status.WAITING, **changes: Any) -> FileRecord:  # noqa: ANN401 - any field
    """The file as it is known, somewhere on its way, where nothing but its path moves it."""
    values = {
        "path": str(path),
        "relative_path": f"a/{path.name}",
        "identity": Identity.of(path.stat()),
        "next_attempt_at": moves.NEVER,
        "reason": "held by hand" if status is Status.PARKED else "",
        **changes,
    }
    return a_file(stage, status, **values)


async def plant_first(tmp_path: Path, file: FileRecord) -> None:
    """Put it into the ledger before there is an intake that would see it."""
    async with opened(tmp_path / "ledger.db") as ledger:
        await plant(ledger, file)


def renamed(path: Path) -> Path:
    """Rename its directory; return where it is then."""
    path.parent.rename(path.parent.with_name("b"))
    return path.parent.with_name("b") / path.name


async def moves_to(watched: Watched, new: Path) -> FileRecord:
    """Wait until the one row that there is has this path."""
    files = await watched.until(lambda files: any(file.path == str(new) for file in files))
    (file,) = files
    assert (file.relative_path, file.local) == (f"b/{new.name}", True)
    return file


@pytest.mark.parametrize(("stage", "status"), ANYWHERE)
async def test_it_keeps_its_row_wherever_it_stands(
    tmp_path: Path, feed: Feed, path: Path, stage: Stage, status: Status
) -> None:
    planted = known(path, stage, status)
    await plant_first(tmp_path, planted)
    async with watching(tmp_path, [feed]) as watched:
        file = await moves_to(watched, renamed(path))
        assert (file.id, file.stage, file.status) == (planted.id, stage, status)
        (*_, told) = await story(watched.ledger, file.id)
        assert told[2] == "renamed from a/eLUX_1.csv to b/eLUX_1.csv"


async def test_it_is_found_by_a_scan_too(tmp_path: Path, feed: Feed, path: Path) -> None:
    file = known(path, Stage.SHIP)
    new = renamed(path)
    await plant_first(tmp_path, file)
    async with watching(tmp_path, [feed]) as watched:
        assert (await moves_to(watched, new)).id == file.id


@pytest.mark.parametrize("stage", [Stage.SETTLE, Stage.MANIFEST, Stage.SHIP])
async def test_one_that_was_missed_meanwhile_goes_on(
    tmp_path: Path, feed: Feed, path: Path, stage: Stage
) -> None:
    """Whoever looked first found it gone."""
    file = known(path, stage, Status.PARKED, local=False, reason=f"it {VANISHED} (hint)")
    new = renamed(path)
    await plant_first(tmp_path, file)
    async with watching(tmp_path, [feed]) as watched:
        found = await moves_to(watched, new)
        assert (found.id, found.status) == (file.id, Status.WAITING)


async def test_one_that_was_missed_at_its_new_path_goes_on(
    tmp_path: Path, feed: Feed, path: Path
) -> None:
    """Its path was changed while it was looked for at the old one."""
    new = renamed(path)
    gone = {"local": False, "reason": f"it {VANISHED} (hint)", "relative_path": "b/eLUX_1.csv"}
    await plant_first(tmp_path, known(new, Stage.SHIP, Status.PARKED, **gone))
    async with watching(tmp_path, [feed]) as watched:
        found = await moves_to(watched, new)
        assert (found.stage, found.status) == (Stage.SHIP, Status.WAITING)


async def test_one_that_cleanup_took_for_removed_is_cleaned_up(
    tmp_path: Path, feed: Feed, path: Path
) -> None:
    file = known(path, Stage.CLEANUP, Status.DONE, local=False, done_at=NOW)
    new = renamed(path)
    await plant_first(tmp_path, file)
    async with watching(tmp_path, [feed]) as watched:
        found = await moves_to(watched, new)
        assert (found.stage, found.status, found.done_at) == (Stage.CLEANUP, Status.WAITING, None)


async def test_a_hard_link_is_a_file_of_its_own(tmp_path: Path, feed: Feed, path: Path) -> None:
    (tmp_path / "feed" / "b").mkdir()
    os.link(path, tmp_path / "feed" / "b" / path.name)
    await plant_first(tmp_path, known(path, Stage.SHIP))
    async with watching(tmp_path, [feed]) as watched:
        files = await watched.until(lambda files: len(files) == 2)
        assert str(path) in {file.path for file in files}


@pytest.mark.parametrize("field", ["dev", "ino", "size", "mtime_ns", "ctime_ns"])
async def test_another_file_in_its_inode_is_a_new_one(
    tmp_path: Path, feed: Feed, path: Path, field: str
) -> None:
    file = known(path, Stage.SHIP)
    other = replace(file.identity, **{field: getattr(file.identity, field) - 1})
    new = renamed(path)
    await plant_first(tmp_path, replace(file, identity=other))
    async with watching(tmp_path, [feed]) as watched:
        files = await watched.until(lambda files: len(files) == 2)
        assert {file.path for file in files} == {str(path), str(new)}


async def test_in_another_feed_it_is_a_new_file(tmp_path: Path, feed: Feed, path: Path) -> None:
    other = a_feed(tmp_path / "other", recursive=True, customer="SKYROAM")
    (tmp_path / "other").mkdir()
    await plant_first(tmp_path, known(path, Stage.SHIP))
    async with watching(tmp_path, [feed, other]) as watched:
        path.parent.rename(tmp_path / "other" / "b")
        files = await watched.until(lambda files: len(files) == 2)
        assert {file.feed for file in files} == {feed.name, other.name}
