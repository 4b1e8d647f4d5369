"""Two daemons of one host that are given the same files: only one of them takes them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from support.daemon import Host, until

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def first(tmp_path: Path) -> Host:
    (tmp_path / "first").mkdir()
    return Host(tmp_path / "first")


@pytest.fixture
def second(tmp_path: Path) -> Host:
    (tmp_path / "second").mkdir()
    return Host(tmp_path / "second")


def pointed_to(host: Host, directory: Path, **more: str) -> None:
    """Have its one feed somewhere else."""
    changes = {"customers": '["a"]', "directory": f'"{directory}"', **more}
    keys = {f"feeds.traffic.{key}": value for key, value in changes.items()}
    host.configure({"intake.rescan_every": '"1s"', **keys})


def done_by(host: Host) -> list[str]:
    return sorted(name for name, stands in host.standing().items() if stands == "cleanup done")


def reasons(host: Host) -> list[str]:
    return [str(each["reason"]) for each in host.shown_incidents()]


def test_a_directory_is_refused_while_another_daemon_has_it_and_taken_then(
    first: Host, second: Host
) -> None:
    link = second.root / "link"
    link.symlink_to(first.inbox)
    pointed_to(second, link)
    with first.daemon() as owner, second.daemon():
        wanted = f"in use by process {owner.process.pid}"
        until(lambda: any(wanted in each for each in reasons(second)), lambda: str(reasons(second)))
        first.deliver("a.csv")
        until(lambda: done_by(first) == ["a.csv"], lambda: str(first.standing()))
        assert owner.stop() == 0
        first.deliver("b.csv")
        until(lambda: done_by(second) == ["b.csv"], lambda: str(second.standing()))
        until(lambda: not reasons(second), lambda: str(reasons(second)))
    assert done_by(first) == ["a.csv"]


@pytest.mark.parametrize("inner_is_first", [True, False])
def test_a_directory_below_a_recursive_feed_is_left_to_the_daemon_that_has_it(
    first: Host, second: Host, inner_is_first: bool
) -> None:
    pointed_to(second, first.inbox.parent, recursive="true")
    in_turn = (first, second) if inner_is_first else (second, first)
    wanted = f"{first.inbox}: it is the directory of another backupd's feed"
    with in_turn[0].daemon(), in_turn[1].daemon():
        until(lambda: any(wanted in each for each in reasons(second)), lambda: str(reasons(second)))
        first.deliver("a.csv")
        (first.inbox.parent / "outer.csv").write_bytes(b"A;B\n1;2\n")
        until(lambda: done_by(first) == ["a.csv"], lambda: str(first.standing()))
        until(lambda: done_by(second) == ["outer.csv"], lambda: str(second.standing()))
    assert len(first.archived()) == len(second.archived()) == 1
