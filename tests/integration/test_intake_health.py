"""Feeds whose directory goes away, and comes back."""

from __future__ import annotations

import os
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
from structlog.testing import capture_logs

from backupd.core.records import FeedMount
from backupd.core.stages import Stage, Status
from backupd.intake.health import FeedHealth, mount_point
from backupd.ledger.ledger import Ledger
from support.intake import a_feed, a_rule, watching

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from backupd.core.records import Feed


@pytest.fixture
async def ledger(tmp_path: Path) -> AsyncIterator[Ledger]:
    opened = Ledger(tmp_path / "ledger.db")
    yield opened
    await opened.close()


@pytest.fixture
def feed(tmp_path: Path) -> Feed:
    (tmp_path / "feed").mkdir()
    return a_feed(tmp_path / "feed")


class Changes:
    def __init__(self) -> None:
        self.count = 0

    async def __call__(self) -> None:
        self.count += 1


@pytest.mark.usefixtures("feed")
async def test_a_feed_goes_away_with_its_directory_and_comes_back_with_it(
    tmp_path: Path, feed: Feed, ledger: Ledger
) -> None:
    changes = Changes()
    health = FeedHealth([feed], ledger, changes)
    with capture_logs() as logs:
        await health.check()
        assert (health.away, changes.count) == ({}, 0)
        (tmp_path / "feed").rename(tmp_path / "elsewhere")
        for _ in range(2):
            await health.check()
        assert "No such file or directory" in health.away[feed.name]
        (tmp_path / "elsewhere").rename(tmp_path / "feed")
        await health.check()
    assert (health.away, changes.count) == ({}, 2)
    assert [entry["event"] for entry in logs] == ["feed is away", "feed is back"]


async def test_a_file_in_the_directorys_place_is_no_directory(
    tmp_path: Path, feed: Feed, ledger: Ledger
) -> None:
    (tmp_path / "feed").rmdir()
    (tmp_path / "feed").touch()
    reason = FeedHealth([feed], ledger, Changes()).why_away(feed)
    assert reason is not None
    assert "Not a directory" in reason


async def test_the_mount_point_is_remembered(feed: Feed, ledger: Ledger) -> None:
    assert os.path.ismount(mount_point(feed.directory))
    health = FeedHealth([feed], ledger, Changes())
    await health.check()
    assert health._written == {feed.name: mount_point(feed.directory)}


async def test_a_feed_without_local_files_may_stand_on_another_mount(
    tmp_path: Path, feed: Feed, ledger: Ledger
) -> None:
    await ledger.remember_root(feed.name, FeedMount(mount=str(tmp_path / "feed")))
    health = FeedHealth([feed], ledger, Changes())
    await health.check()
    assert health.away == {}


async def test_an_empty_mount_point_is_away_while_files_of_the_feed_are_owed(
    tmp_path: Path, feed: Feed
) -> None:
    feed = replace(feed, companion=a_rule())
    path = tmp_path / "feed" / "eLUX_1.csv"
    path.write_text("waits for its companion\n")
    async with watching(tmp_path, [feed], rescan_every=0.1) as watched:
        await watched.until_one("eLUX_1.csv", lambda file: file.awaits)
        # As if the directory had been a mount point when the file was seen.
        await watched.ledger.remember_root(feed.name, FeedMount(mount=str(tmp_path / "feed")))
    path.rename(tmp_path / "unmounted")
    with capture_logs():
        async with watching(tmp_path, [feed], rescan_every=0.1) as watched:
            assert "is not mounted" in watched.intake.health.away[feed.name]
            (tmp_path / "feed" / "eLUX_2.csv").write_text("written onto the wrong disk\n")
            waiting = await watched.until_one("eLUX_1.csv", lambda file: "away" in file.reason)
            assert (waiting.stage, waiting.status) == (Stage.SETTLE, Status.WAITING)
            assert waiting.local
            assert len(await watched.files()) == 1
