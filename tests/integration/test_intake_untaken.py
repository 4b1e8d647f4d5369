"""What stands in a feed's directory and cannot be taken: one incident a feed and reason."""

from __future__ import annotations

import os
import socket
import stat
from typing import TYPE_CHECKING

import pytest
from structlog.testing import capture_logs

from backupd.alerts import IncidentTracker
from backupd.core.incidents import Kind
from backupd.core.names import kept_name
from backupd.core.stages import Stage, Status
from backupd.ledger import incidents
from support.intake import a_feed, a_rule
from support.mounts import mounting
from support.sights import looking

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

DEEP = 17  # directories with names of 250 bytes: together a longer path than the kernel takes


@pytest.fixture
def feed_dir(tmp_path: Path) -> Path:
    directory = tmp_path / "feed"
    directory.mkdir()
    return directory


def a_link(path: Path) -> None:
    path.symlink_to("/etc/passwd")


def a_dangling_link(path: Path) -> None:
    path.symlink_to("nowhere")


def a_link_to_a_directory(path: Path) -> None:
    path.symlink_to("/etc")


def a_socket(path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(path))


def a_device(path: Path) -> None:
    os.mknod(path, stat.S_IFCHR | 0o600, os.makedev(1, 3))


KINDS: list[tuple[Callable[[Path], None], str]] = [
    (a_link, "a symbolic link"),
    (a_dangling_link, "a symbolic link"),
    (a_link_to_a_directory, "a symbolic link"),
    (os.mkfifo, "a FIFO"),
    (a_socket, "a socket"),
    (a_device, "a device"),
]


@pytest.mark.parametrize("recursive", [False, True])
@pytest.mark.parametrize(("make", "what"), KINDS)
async def test_what_is_no_regular_file_is_told_of_until_it_is_gone(
    tmp_path: Path, feed_dir: Path, make: Callable[[Path], None], what: str, recursive: bool
) -> None:
    early, late = feed_dir / "eLUX_early.csv", feed_dir / "eLUX_late.csv"
    make(early)
    async with looking(tmp_path, a_feed(feed_dir, recursive=recursive)) as sights:
        (first,) = await sights.incidents(f"{early}: it is {what} (")
        assert (first.kind, first.feed) == (Kind.UNTAKEN, "traffic/eLUX")
        make(late)
        await sights.incidents(f"{early}: it is {what}, and 1 more like it (")
        early.unlink()
        (still,) = await sights.incidents(f"{late}: it is {what} (")
        assert still.id == first.id
        late.unlink()
        await sights.incidents()
        assert await sights.files() == []


async def test_an_event_tells_of_it_before_any_scan_does(tmp_path: Path, feed_dir: Path) -> None:
    feed = a_feed(feed_dir, recursive=True)
    async with looking(tmp_path, feed, rescan_every=3600.0) as sights:
        (feed_dir / "below").mkdir()
        a_link(feed_dir / "below" / "eLUX_1.csv")
        os.mkfifo(feed_dir / "eLUX_2.csv")
        await sights.incidents(f"{feed_dir}/below/eLUX_1.csv", f"{feed_dir}/eLUX_2.csv")


async def test_what_no_feed_wants_is_no_trouble(tmp_path: Path, feed_dir: Path) -> None:
    a_link(feed_dir / "other.csv")
    a_link(feed_dir / ".eLUX_hidden.csv")
    a_link(feed_dir / "eLUX_unfinished.csv.tmp")
    a_link_to_a_directory(feed_dir / "linked")
    (feed_dir / "eLUX_directory.csv").mkdir()
    async with looking(tmp_path, a_feed(feed_dir)) as sights:
        (feed_dir / "eLUX_late.csv").mkdir()
        os.mkfifo(feed_dir / "late_fifo.csv")
        (feed_dir / "eLUX_1.csv").write_text("a\n")
        await sights.reaches("eLUX_1.csv", Stage.MANIFEST, Status.WAITING)
        await sights.incidents()
        os.mkfifo(feed_dir / "eLUX_wanted.csv")  # the scan that sees it saw all others too
        await sights.incidents(f"{feed_dir}/eLUX_wanted.csv")


async def test_each_feed_of_a_shared_directory_has_its_own(tmp_path: Path, feed_dir: Path) -> None:
    other = a_feed(feed_dir, customer="SKYROAM", pattern="SKYROAM_*.csv")
    a_link(feed_dir / "eLUX_1.csv")
    a_link(feed_dir / "SKYROAM_1.csv")
    os.mkfifo(feed_dir / "SKYROAM_2.csv")
    async with looking(tmp_path, a_feed(feed_dir), other) as sights:
        found = await sights.incidents(
            f"{feed_dir}/SKYROAM_1.csv", f"{feed_dir}/SKYROAM_2.csv", f"{feed_dir}/eLUX_1.csv"
        )
        assert [each.feed for each in found] == [other.name, other.name, "traffic/eLUX"]


async def test_a_path_that_is_too_long_is_told_of(tmp_path: Path, feed_dir: Path) -> None:
    feed = a_feed(feed_dir, recursive=True)
    descriptor = os.open(feed_dir, os.O_RDONLY)
    for _ in range(DEEP):
        os.mkdir("d" * 250, dir_fd=descriptor)
        below = os.open("d" * 250, os.O_RDONLY, dir_fd=descriptor)
        os.close(descriptor)
        descriptor = below
    os.close(os.open("eLUX_1.csv", os.O_CREAT, dir_fd=descriptor))
    os.close(descriptor)
    try:
        async with looking(tmp_path, feed) as sights:
            (only,) = await sights.incidents(f"{feed_dir}/ddd")
            assert "its path is too long (" in only.reason
    finally:
        _remove_deep(feed_dir)


def _remove_deep(directory: Path) -> None:
    """Remove what `rmtree` may not reach: the deepest directories come up to the top first."""
    while (deep := directory / ("d" * 250)).exists():
        deep.rename(directory / "emptied")
        for each in (directory / "emptied").iterdir():
            each.rename(directory / each.name)
        (directory / "emptied").rmdir()


async def test_what_was_kept_aside_is_told_of(tmp_path: Path, feed_dir: Path) -> None:
    kept = feed_dir / kept_name(f".SKYROAM_1.csv.{'0' * 20}.removing")
    kept.write_text("a\n")
    other = a_feed(feed_dir, customer="SKYROAM", pattern="SKYROAM_*.csv")
    async with looking(tmp_path, a_feed(feed_dir), other) as sights:
        (only,) = await sights.incidents(f"{kept}: a removal could not put it back")
        assert only.feed == other.name
        kept.rename(feed_dir / "SKYROAM_2.csv")
        await sights.incidents()
        await sights.reaches("SKYROAM_2.csv", Stage.MANIFEST, Status.WAITING)


async def test_another_feeds_directory_mounted_below_is_not_taken_twice(
    tmp_path: Path, feed_dir: Path
) -> None:
    other = a_feed(tmp_path / "other", customer="SKYROAM")
    for directory in (tmp_path / "other", feed_dir / "sub", feed_dir / "self"):
        directory.mkdir()
    (tmp_path / "other" / "eLUX_1.csv").write_text("a\n")
    feed = a_feed(feed_dir, recursive=True)
    async with looking(tmp_path, feed, other) as sights:
        with mounting() as mount:
            mount("--bind", tmp_path / "other", feed_dir / "sub")
            mount("--bind", feed_dir, feed_dir / "self")
            await sights.incidents(
                f"{feed_dir}/self: it is the directory {feed_dir} of a feed once more",
                f"{feed_dir}/sub: it is the directory {tmp_path}/other of a feed once more",
            )
            (feed_dir / "eLUX_2.csv").write_text("a\n")
            await sights.reaches("eLUX_2.csv", Stage.MANIFEST, Status.WAITING)
            assert {each.path for each in await sights.files()} == {
                f"{tmp_path}/other/eLUX_1.csv",
                f"{feed_dir}/eLUX_2.csv",
            }
        await sights.incidents()


async def test_it_survives_a_restart_and_ends_with_its_feed(tmp_path: Path, feed_dir: Path) -> None:
    feed = a_feed(feed_dir, companion=a_rule())
    other = a_feed(feed_dir, customer="SKYROAM", pattern="SKYROAM_*.csv")
    a_link(feed_dir / "eLUX_1.csv")
    async with looking(tmp_path, feed, other) as sights:
        (before,) = await sights.incidents(f"{feed_dir}/eLUX_1.csv")
        unseen = dict.fromkeys((feed.name, other.name))
        await IncidentTracker(
            sights.ledger, dict, lambda: unseen
        ).keep()  # as at a start, before any scan
        assert await sights.ledger.ask(incidents.all_open) == [before]
    async with looking(tmp_path, feed, other) as sights:
        assert await sights.open() == [before]
    async with looking(tmp_path, other) as sights:  # the config has the feed no more
        assert await sights.open() == []


async def test_the_log_tells_it_once_and_its_end_once(tmp_path: Path, feed_dir: Path) -> None:
    for number in range(3):
        a_link(feed_dir / f"eLUX_{number}.csv")
    with capture_logs() as logs:
        async with looking(tmp_path, a_feed(feed_dir), rescan_every=0.01) as sights:
            for number in range(3):
                await sights.incidents(f"{feed_dir}/eLUX_")
                (feed_dir / f"eLUX_{number}.csv").unlink()
                (feed_dir / f"eLUX_{number}.data").write_text("")
            await sights.incidents()
    told = [each for each in logs if each["log_level"] == "warning" or "incident" in each]
    assert [each["event"] for each in told] == ["incident opened", "incident closed"]
    assert told[0]["title"] == "feed traffic/eLUX has what cannot be taken"
