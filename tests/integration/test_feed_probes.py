"""What `check --probe` finds in a feed's directory."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from backupd.cli import probes
from backupd.cli.probes import probe_feed
from support.configs import loaded

if TYPE_CHECKING:
    from backupd.core.records import Feed

NOBODY = 65534
STICKY = 0o1777


@pytest.fixture
def feed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Feed:
    """Return a feed whose directory is somebody else's, looked at without special rights."""
    monkeypatch.setattr(probes, "has", lambda _: False)
    feed = loaded(tmp_path, {}).feeds[0]
    os.chown(feed.directory, NOBODY, -1)
    return feed


def deliver(feed: Feed, owner: int) -> None:
    path = f"{feed.directory}/a_1.csv"
    os.close(os.open(path, os.O_CREAT))
    os.chown(path, owner, -1)


def test_others_files_below_the_sticky_bit_cannot_be_removed(feed: Feed) -> None:
    Path(feed.directory).chmod(STICKY)
    deliver(feed, NOBODY)

    probe = probe_feed(feed, deletes=True)

    assert not probe.ok
    assert "a_1.csv can only be removed by its owner" in probe.detail
    assert f"chmod -t {feed.directory}" in probe.hint
    assert [path.name for path in Path(feed.directory).iterdir()] == ["a_1.csv"]


def test_nothing_is_removed_where_files_are_kept(feed: Feed) -> None:
    Path(feed.directory).chmod(STICKY)
    deliver(feed, NOBODY)

    assert probe_feed(feed, deletes=False).ok


@pytest.mark.parametrize(
    ("mode", "owner", "directory_owner"),
    [(0o777, NOBODY, NOBODY), (STICKY, 0, NOBODY), (STICKY, NOBODY, 0)],
    ids=["not sticky", "our files", "our directory"],
)
def test_what_the_sticky_bit_does_not_forbid_is_fine(
    feed: Feed, mode: int, owner: int, directory_owner: int
) -> None:
    os.chown(feed.directory, directory_owner, -1)
    Path(feed.directory).chmod(mode)
    deliver(feed, owner)

    assert probe_feed(feed, deletes=True).ok


def test_who_may_do_it_all_the_same_is_not_warned(
    feed: Feed, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(probes, "has", lambda _: True)
    Path(feed.directory).chmod(STICKY)
    deliver(feed, NOBODY)

    assert probe_feed(feed, deletes=True).ok
