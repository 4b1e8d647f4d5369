"""Ship and cleanup in a feed's directory that freezes: only that feed has to wait."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING

import pytest

from backupd.archive import SendStream
from backupd.core.errors import DependencyDownError
from backupd.core.stages import Stage
from backupd.stages import Cleanup, CleanupRules, FeedThreads, Ship, ShipRules
from support.fake_archive import FakeArchive
from support.files import registered, task_of
from support.freezing import freezing
from support.intake import a_feed, eventually

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterator
    from pathlib import Path

    from backupd.core.records import Result, Task
    from support.freezing import FreezingDirectory

    Work = Callable[[Task], Awaitable[Result]]

SMALL, LARGE = b"id;name\n1;a\n", b"id;name\n1;a\n" * 400_000


@pytest.fixture
def frozen(tmp_path: Path) -> Iterator[FreezingDirectory]:
    (tmp_path / "frozen").mkdir()
    with freezing(tmp_path, tmp_path / "frozen") as directory:
        yield directory


def a_task(directory: Path, content: bytes) -> Task:
    directory.mkdir(exist_ok=True)
    path = directory / "eLUX_1.csv"
    path.write_bytes(content)
    return task_of(registered(path), a_feed(directory, customer=directory.name))


def stages(archive: FakeArchive, patience: float) -> dict[Stage, Work]:
    threads = FeedThreads("feeds")
    threads._threads._slow = threads._threads._patience = patience
    ship = Ship(archive, partial(SendStream, level=1), threads, ShipRules(compress=True))
    return {
        Stage.SHIP: ship,
        Stage.CLEANUP: Cleanup(archive, threads, CleanupRules(delete=True)),
    }


async def tasks_at(stage: Stage, frozen: FreezingDirectory, content: bytes) -> tuple[Task, Task]:
    """Return the task of a file in the frozen directory, and one of a file elsewhere."""
    a_task(frozen.backing, content)
    path = frozen.path / "eLUX_1.csv"
    frozen_one = task_of(registered(path), a_feed(frozen.path, customer="frozen"))
    other = a_task(frozen.path.parent / "other", content)
    if stage is Stage.SHIP:
        return frozen_one, other
    return await shipped(frozen_one), await shipped(other)


async def shipped(task: Task) -> Task:
    """Return the task of the same file once it was shipped."""
    result = await stages(FakeArchive(), 30)[Stage.SHIP](task)
    return replace(task, receipt=result.receipt, is_proven=True)


@pytest.mark.parametrize("stage", [Stage.SHIP, Stage.CLEANUP])
@pytest.mark.parametrize("content", [SMALL, LARGE], ids=["small", "large"])
async def test_a_frozen_directory_is_its_feeds_trouble_and_no_others(
    frozen: FreezingDirectory, stage: Stage, content: bytes
) -> None:
    hanging, other = await tasks_at(stage, frozen, content)
    work = stages(FakeArchive(), 0.2)[stage]
    frozen.freeze()
    first = asyncio.ensure_future(work(hanging))
    await asyncio.sleep(0)
    assert (await work(other)).detail
    with pytest.raises(DependencyDownError, match="does not answer") as caught:
        await first
    assert caught.value.dependency == f"feed:{hanging.feed.name}"
    with pytest.raises(DependencyDownError):
        await work(hanging)
    frozen.thaw()

    async def done() -> bool:
        try:
            return bool((await work(hanging)).detail)
        except DependencyDownError:
            return False

    await eventually(done, lambda: "it did not go on by itself")


async def test_a_send_that_hangs_in_the_middle_is_given_up(
    frozen: FreezingDirectory, monkeypatch: pytest.MonkeyPatch
) -> None:
    hanging, _ = await tasks_at(Stage.SHIP, frozen, LARGE)
    archive = FakeArchive()
    write = archive.upload

    def upload(*arguments: object) -> object:
        frozen.freeze()  # the file is open, and has not been read
        return write(*arguments)  # type: ignore[arg-type] # handed on

    monkeypatch.setattr(archive, "upload", upload)
    with pytest.raises(DependencyDownError, match="does not answer"):
        await stages(archive, 0.2)[Stage.SHIP](hanging)
    frozen.thaw()
