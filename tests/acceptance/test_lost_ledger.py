"""A ledger that is lost: an empty one takes its place, and nothing is made twice."""

from __future__ import annotations

import signal
from typing import TYPE_CHECKING

import pytest

from support.daemon import Host, over_sftp, until
from support.sshd import running_sshd

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

OTHER = b"A;B\n3;4\n"


@pytest.fixture(params=["directory", pytest.param("sftp", marks=pytest.mark.slow)])
def host(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Host]:
    """A host that has one file behind it, with an archive of either kind."""
    root = tmp_path / "host"
    root.mkdir()
    host = Host(root)
    if request.param == "directory":
        yield with_one_done(host)
        return
    with running_sshd(tmp_path / "sshd") as server:
        (root / "archive").mkdir()
        host.configure(over_sftp(server, root / "archive"))
        yield with_one_done(host)


def with_one_done(host: Host) -> Host:
    host.deliver("done.csv")
    run = host.once()
    assert run.returncode == 0, run.stderr
    return host


def lose_ledger(host: Host) -> None:
    for path in host.root.glob("ledger.db*"):
        path.unlink()


def names(host: Host) -> list[str]:
    return [str(row["file_name"]) for row in host.rows()]


def test_what_comes_again_is_recognised_and_removed(host: Host) -> None:
    lose_ledger(host)
    host.deliver("done.csv")
    host.deliver("new.csv")
    run = host.once()
    assert run.returncode == 0, run.stderr
    assert names(host) == ["done.csv", "new.csv"]
    assert set(host.archived()) == {"a/done.csv.gz", "a/new.csv.gz"}
    assert not host.local()
    assert host.ask("prove", "done.csv").returncode == 0


def test_other_content_under_a_known_name_is_another_file(host: Host) -> None:
    lose_ledger(host)
    host.deliver("done.csv", OTHER)
    run = host.once()
    assert run.returncode == 0, run.stderr
    assert names(host) == ["done.csv", "done.csv"]
    assert len({row["file_id"] for row in host.rows()}) == 2
    assert sorted(host.archived().values()) == sorted([b"A;B\n1;2\n", OTHER])
    assert not host.local()


@pytest.mark.parametrize("stage", ["manifest", "load", "ship", "cleanup"])
def test_a_file_that_was_on_its_way_ends_with_one_row_and_one_copy(host: Host, stage: str) -> None:
    host.deliver("half.csv")
    until_it_was_in(host, stage)
    lose_ledger(host)
    run = host.once()
    assert run.returncode == 0, run.stderr
    assert names(host) == ["done.csv", "half.csv"]
    assert set(host.archived()) == {"a/done.csv.gz", "a/half.csv.gz"}
    assert not host.local()


def until_it_was_in(host: Host, stage: str) -> None:
    """Have a daemon bring the file so far, and kill it there."""
    away = {"load": "warehouse", "ship": "archive"}.get(stage)
    place = host.root / away if away else host.root / "nothing"
    if away:
        place.rename(place.with_name("aside"))
    with host.daemon() as daemon:
        until(lambda: reached(host, stage), lambda: f"{host.standing()}")
        daemon.signal(signal.SIGKILL)
        daemon.process.wait()
    if away:
        place.with_name("aside").rename(place)


def reached(host: Host, stage: str) -> bool:
    stages = ["settle", "manifest", "load", "merge", "ship", "cleanup"]
    standing = host.standing().get("half.csv", "settle waiting")
    return stages.index(standing.split()[0]) >= stages.index(stage)


def test_what_was_moved_aside_to_be_removed_is_put_back_and_proven_first(host: Host) -> None:
    path = host.deliver("done.csv")
    path.rename(path.with_name(".done.csv.0198f2c1a7b4d9e8f7a6.removing"))
    lose_ledger(host)
    run = host.once()
    assert run.returncode == 0, run.stderr
    assert names(host) == ["done.csv"]
    assert set(host.archived()) == {"a/done.csv.gz"}
    assert not host.local()
