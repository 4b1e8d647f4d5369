"""Done files move to the history, and are recognised when they come again."""

from __future__ import annotations

import json
from collections import Counter
from typing import TYPE_CHECKING, Any

import pytest
from pyarrow import parquet as pq

from support.daemon import Host, until

if TYPE_CHECKING:
    from pathlib import Path

AT_ONCE = {"ledger.keep": '"1s"', "ledger.remember": '"400d"'}
DATED_BY_NAME = {
    "feeds.traffic.timestamp_regex": "'_(\\d{8})'",
    "feeds.traffic.timestamp_format": '"%Y%m%d"',
}
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


def test_one_whose_story_is_lost_gets_no_second_row(host: Host) -> None:
    """As one that comes again when it is not remembered any more."""
    host.configure(AT_ONCE | DATED_BY_NAME)
    with host.daemon():
        host.deliver("a_20261123.csv")
        all_left(host, 1)
        (lost,) = (host.root / "warehouse" / "history").rglob("*.parquet")
        lost.unlink()
        host.deliver("a_20261123.csv")
        all_left(host, 1)
    assert len(host.rows()) == 1
    assert len(host.archived()) == 1
    assert not host.local()


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


# -- commands ------------------------------------------------------------------------------------


def two_done(host: Host) -> None:
    """A file, and another one that came twice."""
    host.configure({"ledger.keep": '"1h"'})
    for name in ("a.csv", "b.csv", "b.csv"):
        host.deliver(name, f"A;B\n{name};2\n".encode())
        assert host.once().returncode == 0


def have_all_left(host: Host) -> None:
    host.configure(AT_ONCE)
    until(lambda: host.once().returncode == 0 and not host.files(), lambda: str(host.standing()))


ASKED = (
    ("show", "a.csv", "--json"),
    ("show", "a.csv"),
    ("prove", "a.csv", "--json"),
    ("list", "--json"),
    ("list", "--json", "--feed", "traffic", "--customer", "a", "--status", "done"),
    ("list", "--json", "--since", "1d"),
    ("list", "--json", "--limit", "2"),
    ("reconcile", "--json"),
)


def answers(host: Host) -> dict[tuple[str, ...], str]:
    shown = {asked: host.ask(*asked) for asked in (*ASKED, *of_each_id(host))}
    assert all(each.returncode == 0 for each in shown.values()), shown
    return {asked: each.stdout for asked, each in shown.items()}


def of_each_id(host: Host) -> list[tuple[str, ...]]:
    lines = host.ask("list", "--json").stdout.splitlines()
    ids = [json.loads(line)["id"] for line in lines]
    return [(command, id_, "--json") for id_ in ids for command in ("show", "prove")]


def test_commands_tell_the_same_before_and_after_files_left(host: Host) -> None:
    two_done(host)
    before = answers(host)
    assert len(before) == len(ASKED) + 2 * 3
    have_all_left(host)
    assert answers(host) == before


def test_what_is_not_asked_for_is_not_listed(host: Host) -> None:
    two_done(host)
    have_all_left(host)
    for asked in (["--status", "parked"], ["--stage", "ship"], ["--feed", "tolling"]):
        shown = host.ask("list", *asked)
        assert (shown.returncode, shown.stdout) == (1, "")


def test_reconcile_looks_at_the_copies_of_files_that_left(host: Host) -> None:
    two_done(host)
    have_all_left(host)
    (copy,) = (host.root / "archive").rglob("a.csv.gz")
    copy.unlink()
    shown = host.admin("reconcile", "--json")
    assert shown.returncode == 1
    assert [json.loads(line)["difference"] for line in shown.stdout.splitlines()] == [
        "copy-missing"
    ]


def test_what_cannot_be_done_with_a_file_that_left_is_said(host: Host) -> None:
    two_done(host)
    have_all_left(host)
    for command in (["requeue"], ["hold"], ["dismiss", "--why", "x"]):
        refused = host.admin(*command, "a.csv")
        assert refused.returncode == 1
        assert "a.csv is in the history since it left the ledger" in refused.stderr
    batch_id = str(host.rows()[0]["batch_id"])
    unknown = host.ask("batch", batch_id)
    assert unknown.returncode == 1
    assert "moves to the history" in unknown.stderr


def test_a_history_that_cannot_be_read_is_said_and_the_rest_is_listed(host: Host) -> None:
    two_done(host)
    have_all_left(host)
    (host.root / "warehouse" / ".backupd-id").unlink()
    host.configure({"ledger.keep": '"1h"'})
    shown = host.ask("list")
    assert "files that left for the history are left out" in shown.stderr
    missing = host.ask("show", "a.csv")
    assert missing.returncode == 1
    assert "lacks the mark" in missing.stderr
