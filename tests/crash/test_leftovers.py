"""What an upload that was killed leaves in the archive, the next try removes."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING

import pytest

from backupd.archive.stream import SendStream
from backupd.core.archive_names import versioned
from backupd.stages import FeedThreads, Ship, ShipRules
from support.fake_archive import FakeArchive
from support.files import registered, task_of

if TYPE_CHECKING:
    from pathlib import Path

    from backupd.core.records import Task


@pytest.fixture
def archive() -> FakeArchive:
    return FakeArchive()


@pytest.fixture
def ship(archive: FakeArchive) -> Ship:
    stream = partial(SendStream, level=1)
    return Ship(archive, stream, FeedThreads("feeds"), ShipRules(compress=True))


def a_second_try(path: Path) -> Task:
    path.write_bytes(b"a record\n")
    file = replace(registered(path), claims=2)
    return task_of(file)


async def test_the_next_try_removes_what_was_left_under_either_name(
    archive: FakeArchive, ship: Ship, tmp_path: Path
) -> None:
    task = a_second_try(tmp_path / "eLUX_1.csv")
    name = task.file.archive_name or ""
    other = versioned(name, task.file.sha256 or "")
    archive.files[name] = b"not ours"
    archive.parts = {(each, f"{task.file.id}.1"): bytearray(b"half") for each in (name, other)}
    result = await ship(task)
    assert result.receipt
    assert result.receipt.archive_name == other
    assert not archive.parts


async def test_a_name_with_no_room_for_a_version_is_tried_again_all_the_same(
    archive: FakeArchive, ship: Ship, tmp_path: Path
) -> None:
    task = a_second_try(tmp_path / ("x" * 248 + ".csv"))
    result = await ship(task)
    assert result.receipt
    assert set(archive.files) == {task.file.archive_name}
