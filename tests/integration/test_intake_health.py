"""Feeds whose directory goes away, and comes back."""

from __future__ import annotations

import os
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
from structlog.testing import capture_logs

from backupd.core.records import FeedMount
from backupd.core.stages import Stage, Status
from backupd.core.threads import DirectoryThreads
from backupd.intake.health import FeedHealth, mount_point
from backupd.ledger.ledger import Ledger
from support.intake import a_feed, a_rule, watching
from support.mounts import mounting

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterator
    from pathlib import Path

    from backupd.core.records import Feed

    Made = Callable[..., FeedHealth]


@pytest.fixture
async def ledger(tmp_path: Path) -> AsyncIterator[Ledger]:
    opened = Ledger(tmp_path / "ledger.db")
    yield opened
    await opened.close()


@pytest.fixture
def feed(tmp_path: Path) -> Feed:
    (tmp_path / "feed").mkdir()
    return a_feed(tmp_path / "feed")


@pytest.fixture
def made(ledger: Ledger) -> Iterator[Made]:
    """Make the health of feeds; all of it is closed in the end."""
    all_made: list[FeedHealth] = []

    def make(*feeds: Feed, changes: Changes | None = None, on: Ledger = ledger) -> FeedHealth:
        all_made.append(FeedHealth(feeds, on, DirectoryThreads("health"), changes or Changes()))
        return all_made[-1]

    yield make
    for each in all_made:
        each.close()


class Changes:
    def __init__(self) -> None:
        self.count = 0

    async def __call__(self) -> None:
        self.count += 1


@pytest.mark.usefixtures("feed")
async def test_a_feed_goes_away_with_its_directory_and_comes_back_with_it(
    tmp_path: Path, feed: Feed, made: Made
) -> None:
    changes = Changes()
    health = made(feed, changes=changes)
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
    tmp_path: Path, feed: Feed, made: Made
) -> None:
    (tmp_path / "feed").rmdir()
    (tmp_path / "feed").touch()
    health = made(feed)
    await health.check()
    assert "Not a directory" in health.away[feed.name]


async def test_the_mount_point_is_remembered(feed: Feed, ledger: Ledger, made: Made) -> None:
    assert os.path.ismount(mount_point(feed.directory))
    health = made(feed)
    await health.check()
    found = await ledger.feed_mounts()
    assert found[feed.name].mount == mount_point(feed.directory)
    assert found[feed.name].real_path == os.path.realpath(feed.directory)


async def test_a_feed_without_local_files_may_stand_on_another_mount(
    tmp_path: Path, feed: Feed, ledger: Ledger, made: Made
) -> None:
    await ledger.remember_root(feed.name, FeedMount(mount=str(tmp_path / "feed")))
    health = made(feed)
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
            waiting = await watched.until_one(
                "eLUX_1.csv", lambda file: "unavailable" in file.reason
            )
            assert (waiting.stage, waiting.status) == (Stage.SETTLE, Status.WAITING)
            assert waiting.local
            assert len(await watched.files()) == 1


# -- another directory than before -----------------------------------------------------------------


async def test_a_directory_that_became_a_link_is_unavailable_until_it_is_back(
    tmp_path: Path, feed: Feed, made: Made
) -> None:
    health = made(feed)
    await health.check()
    (tmp_path / "feed").rename(tmp_path / "aside")
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "feed").symlink_to(tmp_path / "elsewhere")
    await health.check()
    assert f"leads to {os.path.realpath(tmp_path / 'elsewhere')} now" in health.away[feed.name]
    assert health.roots == {}
    (tmp_path / "feed").unlink()
    (tmp_path / "aside").rename(tmp_path / "feed")
    await health.check()
    assert health.away == {}


async def test_a_link_to_the_very_directory_is_a_link_all_the_same(
    tmp_path: Path, feed: Feed, made: Made
) -> None:
    health = made(feed)
    await health.check()
    (tmp_path / "feed").rename(tmp_path / "aside")
    (tmp_path / "feed").symlink_to(tmp_path / "aside")
    await health.check()
    assert "leads to" in health.away[feed.name]


async def test_a_link_that_was_put_there_while_no_daemon_ran_is_found_out(
    tmp_path: Path, feed: Feed, made: Made
) -> None:
    before = made(feed)
    await before.check()
    before.close()
    (tmp_path / "feed").rename(tmp_path / "aside")
    (tmp_path / "feed").symlink_to(tmp_path / "aside")
    health = made(feed)
    await health.check()
    assert "feeds.traffic.directory" in health.away[feed.name]
    named = replace(feed, directory=str(tmp_path / "aside"))
    after = made(named)
    await after.check()
    assert after.away == {}


async def test_a_link_above_the_directory_is_followed_but_not_changed(
    tmp_path: Path, made: Made
) -> None:
    for disk in ("one", "two"):
        (tmp_path / disk / "feed").mkdir(parents=True)
    (tmp_path / "data").symlink_to(tmp_path / "one")
    feed = a_feed(tmp_path / "data" / "feed")
    health = made(feed)
    await health.check()
    assert health.roots[feed.name].path == os.path.realpath(tmp_path / "one" / "feed")
    (tmp_path / "data").unlink()
    (tmp_path / "data").symlink_to(tmp_path / "two")
    await health.check()
    assert "leads to" in health.away[feed.name]


async def test_another_directory_in_its_place_is_unavailable_until_the_config_is_read_anew(
    tmp_path: Path, feed: Feed, made: Made
) -> None:
    health = made(feed)
    await health.check()
    (tmp_path / "feed").rename(tmp_path / "aside")
    (tmp_path / "feed").mkdir()
    await health.check()
    assert "another directory stands in its place" in health.away[feed.name]
    anew = made(feed)
    await anew.check()
    assert anew.away == {}


async def test_two_daemons_do_not_work_on_one_directory(
    tmp_path: Path, feed: Feed, made: Made
) -> None:
    first, other = made(feed), Ledger(tmp_path / "other.db")
    second = made(feed, on=other)
    await first.check()
    await second.check()
    assert f"in use by process {os.getpid()}" in second.away[feed.name]
    first.close()
    await second.check()
    assert second.away == {}
    await other.close()


async def test_two_feeds_of_one_daemon_may_share_a_directory(feed: Feed, made: Made) -> None:
    health = made(feed, replace(feed, customer="SKYROAM"))
    await health.check()
    assert health.away == {}


@pytest.mark.parametrize("first", [0, 1], ids=["the first one", "the second one"])
@pytest.mark.parametrize("disk", ["same", "other"])
async def test_a_directory_that_is_mounted_on_another_feeds_is_refused_there(
    tmp_path: Path, feed: Feed, made: Made, disk: str, first: int
) -> None:
    feeds = (feed, a_feed(tmp_path / "other", customer="SKYROAM", pattern="SKYROAM_*.csv"))
    (tmp_path / "other").mkdir()
    source, target = feeds[first], feeds[1 - first]
    with mounting() as mount:
        if disk == "other":
            mount("-t", "tmpfs", "tmpfs", source.directory)
        health = made(*feeds)
        await health.check()
        assert health.away == {}
        with mounting() as bind:
            bind("--bind", source.directory, target.directory)
            for _ in range(2):
                await health.check()
                assert health.away.keys() == {target.name}
                assert f"it is the same directory as {source.directory}" in health.away[target.name]
        await health.check()
        assert health.away == {}
        health.close()


async def test_of_two_paths_to_one_directory_at_the_start_the_first_is_taken(
    tmp_path: Path, feed: Feed, ledger: Ledger, made: Made
) -> None:
    other = a_feed(tmp_path / "other", customer="SKYROAM")
    (tmp_path / "other").mkdir()
    with mounting() as mount:
        mount("--bind", feed.directory, other.directory)
        health = made(feed, other)
        await health.check()
        assert health.away.keys() == {other.name}
        assert other.name not in health.roots
        assert other.name not in await ledger.feed_mounts()
    await health.check()
    assert health.away == {}


@pytest.mark.parametrize("first", [0, 1], ids=["the first one", "the second one"])
async def test_a_directory_that_does_not_answer_keeps_its_feed(
    tmp_path: Path, feed: Feed, ledger: Ledger, first: int
) -> None:
    other = a_feed(tmp_path / "other", customer="SKYROAM")
    (tmp_path / "other").mkdir()
    source, target = (feed, other)[first], (feed, other)[1 - first]
    threads = DirectoryThreads("health")
    health = FeedHealth((feed, other), ledger, threads, Changes())
    await health.check()
    with mounting() as mount:
        mount("--bind", source.directory, target.directory)
        for hanging in (0, 1, 0):
            threads._calls[source.directory].hanging = hanging
            await health.check()
            assert "it is the same directory" in health.away[target.name]
            assert ("does not answer" in health.away.get(source.name, "")) == bool(hanging)
    await health.check()
    assert health.away == {}
    health.close()
