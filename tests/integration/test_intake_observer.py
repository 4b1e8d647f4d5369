"""The observer on real inotify, and what stands in for it where it cannot be had."""

from __future__ import annotations

import errno
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from structlog.testing import capture_logs

from backupd.core.stages import Stage, Status
from backupd.intake.observer import Observer, PendingHints, _Reader
from backupd.localfs.directory import Directory
from support.intake import a_feed, watching

if TYPE_CHECKING:
    from collections.abc import Iterator


class Watch:
    """An observer, and the hints that it gave so far."""

    def __init__(self) -> None:
        self.came = threading.Event()
        self.pending = PendingHints(self.came.set)
        self.observer = Observer(self.pending)

    def at(self, path: str) -> bool:
        """Watch a directory; tell whether that is new."""
        with Directory.at(path) as directory:
            return self.observer.watch(path, directory)

    def names(self, last: str) -> set[str]:
        """Return the names that were told until this one was."""
        names: set[str] = set()
        while last not in names:
            assert self.came.wait(10)
            self.came.clear()
            hints = self.pending.take()
            assert not hints.rescan
            names |= set().union(*hints.names.values(), hints.trees)
        return names


@pytest.fixture
def watch() -> Iterator[Watch]:
    made = Watch()
    yield made
    made.observer.stop()
    assert not made.observer.is_alive()


def test_reading_a_file_tells_nothing(watch: Watch, tmp_path: Path) -> None:
    (tmp_path / "a").write_text("a")
    watch.at(str(tmp_path))
    (tmp_path / "a").read_text()
    list(tmp_path.iterdir())
    (tmp_path / "a").unlink()
    (tmp_path / "b").touch()
    assert watch.names("b") == {"b"}


def test_a_directory_is_watched_once_and_anew_when_it_is_another(
    watch: Watch, tmp_path: Path
) -> None:
    directory = tmp_path / "d"
    directory.mkdir()
    assert watch.at(str(directory))
    assert not watch.at(str(directory))
    directory.rename(tmp_path / "aside")
    directory.mkdir()
    assert watch.at(str(directory))
    (directory / "a").touch()
    watch.names("a")


def test_a_directory_that_has_two_paths_is_told_under_both(watch: Watch, tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "b").symlink_to(tmp_path / "a")
    watch.at(str(tmp_path / "a"))
    with Directory.at(str(tmp_path / "a")) as directory:
        assert watch.observer.watch(str(tmp_path / "b"), directory)
    (tmp_path / "a" / "x").touch()
    assert watch.came.wait(10)
    deadline = time.monotonic() + 30
    told: set[str] = set()
    while len(told) < 2 and time.monotonic() < deadline:
        told |= watch.pending.take().names.keys()
    assert told == {str(tmp_path / "a"), str(tmp_path / "b")}


def test_a_directory_that_was_removed_is_watched_anew_when_it_is_back(
    watch: Watch, tmp_path: Path
) -> None:
    directory = tmp_path / "d"
    for name in ("a", "b"):
        directory.mkdir()
        # It may get the inode of the one before, of whose end the thread may still have to read.
        until = time.monotonic() + 10
        while not watch.at(str(directory)):
            assert time.monotonic() < until
            time.sleep(0.01)
        (directory / name).touch()
        watch.names(name)
        (directory / name).unlink()
        directory.rmdir()


def test_a_new_directory_is_told_as_a_tree(watch: Watch, tmp_path: Path) -> None:
    watch.at(str(tmp_path))
    (tmp_path / "new").mkdir()
    assert watch.names(str(tmp_path / "new")) == {str(tmp_path / "new")}


def test_an_overflow_of_the_kernels_queue_asks_for_a_rescan(watch: Watch, tmp_path: Path) -> None:
    watch.at(str(tmp_path))
    deadline = time.monotonic() + 20
    rescan = False
    with watch.pending._lock:  # the reader stands still at its first hint
        limit = int(Path("/proc/sys/fs/inotify/max_queued_events").read_text())
        for number in range(limit // 2 + 5000):
            (tmp_path / f"{number}").touch()
    while not rescan and time.monotonic() < deadline:
        watch.came.wait(0.1)
        rescan = watch.pending.take().rescan
    assert rescan


def test_an_exception_in_the_handler_does_not_end_the_thread(
    watch: Watch, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(directory: str, name: str) -> None:
        raise ValueError(directory, name)

    watch.at(str(tmp_path))
    with monkeypatch.context() as patch, capture_logs():
        patch.setattr(watch.pending, "add", fail)
        (tmp_path / "a").touch()
        assert watch.came.wait(10)
    assert watch.pending.take().rescan
    assert watch.observer.is_alive()


def test_a_directory_that_is_gone_is_forgotten(watch: Watch, tmp_path: Path) -> None:
    (tmp_path / "d").mkdir()
    watch.at(str(tmp_path / "d"))
    (tmp_path / "d").rename(tmp_path / "e")
    watch.observer.forget_gone()
    assert watch.observer._watched == {}


async def test_without_watches_to_be_had_a_feed_is_polled(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_more(*_: object) -> int:
        raise OSError(errno.ENOSPC, "inotify watch limit reached")

    monkeypatch.setattr(_Reader, "add", no_more)
    (tmp_path / "feed").mkdir()
    with capture_logs() as logs:
        async with watching(tmp_path, [a_feed(tmp_path / "feed")], rescan_every=0.1) as watched:
            (tmp_path / "feed" / "eLUX_1.csv").write_text("a\n")
            await watched.reaches("eLUX_1.csv", Stage.MANIFEST, Status.WAITING)
            assert set(watched.intake.found) == {"poll"}
    (told,) = [entry for entry in logs if "hint" in entry]
    assert told["hint"] == "raise the limit: sysctl fs.inotify.max_user_watches"
