"""Which paths do not answer, by a file system that freezes."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

import pytest

from backupd.localfs.filesystems import silent
from support.daemon import PATIENCE, until
from support.freezing import freezing

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from support.freezing import FreezingDirectory


@pytest.fixture
def frozen(tmp_path: Path) -> Iterator[FreezingDirectory]:
    (tmp_path / "frozen").mkdir()
    with freezing(tmp_path, tmp_path / "frozen") as directory:
        for number in range(100):
            (directory.backing / f"{number}").mkdir()
        directory.freeze()
        yield directory
    until(lambda: "silence" not in names_of_threads(), lambda: str(names_of_threads()))


def names_of_threads() -> set[str]:
    return {thread.name for thread in threading.enumerate()}


def healthy(tmp_path: Path) -> list[str]:
    paths = [tmp_path / f"{number}" for number in range(100)]
    for path in paths:
        path.mkdir()
    return list(map(str, paths))


def test_only_what_hangs_is_silent(tmp_path: Path, frozen: FreezingDirectory) -> None:
    hanging = {f"{frozen.path}/{number}" for number in range(100)}
    (tmp_path / "link").symlink_to(frozen.path / "0")
    hanging |= {str(frozen.path), str(tmp_path / "link"), str(frozen.path / "not" / "there")}
    others = [*healthy(tmp_path), str(tmp_path / "not there"), "/"]
    assert silent([*others, *hanging], 2.0) == hanging
    frozen.thaw()


def test_what_answers_in_time_is_not_silent(frozen: FreezingDirectory) -> None:
    timer = threading.Timer(0.5, frozen.thaw)
    timer.start()
    assert silent([str(frozen.path)], PATIENCE) == frozenset()
    timer.join()


def test_healthy_directories_share_a_thread(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    started: list[threading.Thread] = []
    start = threading.Thread.start

    def noted(thread: threading.Thread) -> None:
        started.append(thread)
        start(thread)

    monkeypatch.setattr(threading.Thread, "start", noted)
    monkeypatch.setattr("backupd.localfs.filesystems._PAUSE", PATIENCE)
    assert silent(healthy(tmp_path), PATIENCE) == frozenset()
    assert len(started) == 1


def test_nothing_is_silent_where_nothing_is_asked() -> None:
    assert silent([], PATIENCE) == frozenset()
