"""A config that names directories which do not answer."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from support.configs import feed, loaded, mistakes
from support.freezing import freezing

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from support.configs import Changes


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("backupd.config.loader._ANSWER_WITHIN", 0.3)


@pytest.fixture
def frozen(tmp_path: Path) -> Iterator[Path]:
    """A directory that hangs."""
    path = tmp_path / "frozen"
    path.mkdir()
    with freezing(tmp_path, path) as directory:
        directory.freeze()
        yield path


def test_a_feed_that_does_not_answer_is_no_mistake(tmp_path: Path, frozen: Path) -> None:
    config = loaded(tmp_path, feed("calls", "*.txt", str(frozen)))
    assert config.silent == (str(frozen),)
    assert {each.directory for each in config.feeds} > {str(frozen)}


def test_mistakes_elsewhere_are_told_beside_it(tmp_path: Path, frozen: Path) -> None:
    (only,) = mistakes(tmp_path, feed("calls", "*", str(frozen)) | feed("other", "*", "/not/there"))
    assert only.key == "feeds.other.directory"


def test_feeds_in_it_are_told_apart_by_their_paths(tmp_path: Path, frozen: Path) -> None:
    changes = feed("one", "*.txt", f"{frozen}/x") | feed("two", "a*", f"{frozen}/x")
    (only,) = mistakes(tmp_path, changes)
    assert only.key == "feeds.two.pattern"
    apart = feed("one", "*.txt", f"{frozen}/x") | feed("two", "a*", f"{frozen}/y")
    assert loaded(tmp_path, apart)


def test_a_feed_in_an_archive_that_hangs_is_a_mistake_still(tmp_path: Path, frozen: Path) -> None:
    changes = feed("calls", "*.txt", f"{frozen}/archive/in")
    (only,) = mistakes(tmp_path, changes | {"archive.url": f'"file://{frozen}/archive"'})
    assert "lies in" in only.problem


def test_names_that_meet_in_an_archive_that_hangs_are_a_mistake_still(
    tmp_path: Path, frozen: Path
) -> None:
    changes: Changes = {
        "archive.url": f'"file://{frozen}"',
        "feeds.traffic.archive_directory": '"x"',
        "feeds.traffic.pattern": '"*.csv"',
    }
    (only,) = mistakes(tmp_path, changes)
    assert only.key == "feeds.traffic.archive_directory"


def test_a_place_that_hangs_is_not_looked_at(tmp_path: Path, frozen: Path) -> None:
    warehouse: Changes = {"warehouse.embedded.root": f'"{frozen}/warehouse"'}
    assert loaded(tmp_path, warehouse).silent == (f"{frozen}/warehouse",)
    (tmp_path / "archive").mkdir()
    (tmp_path / "archive" / "a").symlink_to(frozen)
    below: Changes = {"feeds.traffic.archive_directory": '"{customer}"'}
    assert loaded(tmp_path, below).silent == (str(tmp_path / "archive" / "a"),)
