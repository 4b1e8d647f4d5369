"""Done files move to the history, and are recognised when they come again."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any

import pytest
from pyarrow import parquet as pq

from support.daemon import Host, until

if TYPE_CHECKING:
    from pathlib import Path

AT_ONCE = {"ledger.keep": '"1s"', "ledger.remember": '"400d"'}
LONG = 90.0  # seconds: it takes a few of them until a file has left


@pytest.fixture
def host(tmp_path: Path) -> Host:
    return Host(tmp_path, AT_ONCE)


def history(host: Host) -> list[dict[str, Any]]:
    """What is there, by another reader."""
    root = host.root / "warehouse" / "history"
    if not root.exists():
        return []
    rows: list[dict[str, Any]] = pq.read_table(root).to_pylist()
    return rows


def all_left(host: Host, number: int) -> None:
    until(
        lambda: not host.files() and len(history(host)) == number,
        lambda: f"{host.standing()}, {len(history(host))} in the history",
        LONG,
    )


def test_a_file_leaves_comes_again_and_is_the_same_file(host: Host) -> None:
    with host.daemon():
        for number in range(3):
            host.deliver(f"{number}.csv", f"A;B\n{number};2\n".encode())
        all_left(host, 3)
        first = next(row for row in history(host) if row["file_name"] == "1.csv")
        host.deliver("1.csv", b"A;B\n1;2\n")
        until(
            lambda: [file.id for file in host.files()] == [first["id"]] and len(history(host)) == 4,
            lambda: f"{host.standing()}, {len(history(host))} in the history",
            LONG,
        )
    assert len(host.rows()) == 3
    assert len(host.archived()) == 3
    assert not host.local()
    again = next(row for row in history(host) if row["duplicate_of"])
    assert (again["duplicate_of"], again["file_id"]) == (first["id"], first["file_id"])
    assert Counter(row["id"] for row in history(host)).most_common(1)[0][1] == 1


def test_what_comes_again_is_kept_where_its_copy_is_lost(host: Host) -> None:
    with host.daemon():
        host.deliver("a.csv")
        all_left(host, 1)
        (copy,) = (path for path in (host.root / "archive").rglob("*.gz") if path.is_file())
        copy.unlink()
        host.deliver("a.csv")
        until(
            lambda: "cleanup parked" in host.standing().values(),
            lambda: str(host.standing()),
            LONG,
        )
    assert "is not there any more" in host.reason("a.csv")
    assert list(host.local()) == ["a.csv"]
    assert len(host.rows()) == 1


def test_other_content_under_a_known_name_is_another_file(host: Host) -> None:
    with host.daemon():
        host.deliver("a.csv")
        all_left(host, 1)
        host.deliver("a.csv", b"A;B\n3;4\n5;6\n")
        all_left(host, 2)
    assert len({row["file_id"] for row in host.rows()}) == 2
    assert sorted(host.archived().values()) == [b"A;B\n1;2\n", b"A;B\n3;4\n5;6\n"]


def test_run_once_moves_what_is_due(host: Host) -> None:
    host.deliver("a.csv")
    assert host.once().returncode == 0
    until(lambda: host.once().returncode == 0 and not host.files(), lambda: str(host.standing()))
    assert len(history(host)) == 1


def test_nothing_leaves_for_a_place_without_its_mark(host: Host) -> None:
    host.deliver("a.csv")
    host.configure({"ledger.keep": '"1h"'})
    assert host.once().returncode == 0
    root = host.root / "warehouse"
    (root / ".backupd-id").rename(root / "away")
    host.configure(AT_ONCE)
    with host.daemon() as daemon:
        daemon.tells("the history cannot be used")
        assert len(host.files()) == 1
        assert not (root / "history").exists()
        (root / "away").rename(root / ".backupd-id")
        all_left(host, 1)


def test_what_is_remembered_shorter_than_kept_is_a_mistake(host: Host) -> None:
    host.configure({"ledger.keep": '"2d"', "ledger.remember": '"1d"'})
    checked = host.backupd("check")
    assert checked.returncode == 2
    assert "ledger.remember" in checked.stderr
    assert "ledger.keep" in checked.stderr
