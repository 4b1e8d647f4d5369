"""What snapshots are called, which of them are kept, and that nothing else is taken for one."""

from __future__ import annotations

from pathlib import Path

import pytest

from backupd.core.snapshots import Home, home_of, is_snapshot, newest_first, superseded, taken_at

HOME = home_of("edge1", Path("/var/lib/backupd/ledger.db"))
NOON = 1_764_590_400.0  # 2025-12-01T12:00:00Z
DAY = 86_400.0


def names(*times: float) -> list[str]:
    return [HOME.name(at) for at in times]


def test_a_snapshot_says_whose_it_is_and_when_it_was_taken() -> None:
    name = HOME.name(NOON)
    assert name == ".backupd/edge1/ledger-20251201T120000Z.db.gz"
    assert taken_at(name) == NOON


@pytest.mark.parametrize(
    ("host", "directory"),
    [
        ("edge1.example", ".backupd/edge1.example"),
        ("a/b", ".backupd/a_b"),
        ("..", ".backupd/host.."),
        ("", ".backupd/host"),
        ("höst", ".backupd/h_st"),
    ],
)
def test_a_hosts_directory_is_always_one_below_our_own(host: str, directory: str) -> None:
    assert home_of(host, Path("/l")).directory == directory


@pytest.mark.parametrize(
    "name",
    [
        "ledger-20251201T120000Z.db.gz",
        "eLUX/ledger-20251201T120000Z.db.gz",
        ".backupd/ledger-20251201T120000Z.db.gz",
        ".backupd/a/b/ledger-20251201T120000Z.db.gz",
        "x/.backupd/a/ledger-20251201T120000Z.db.gz",
        ".backupd/a/ledger-20251201T120000Z.db",
        ".backupd/a/ledger-20251301T120000Z.db.gz",
        ".backupd/a/ledger-20251201T120000Z.db.gz\n",
        ".backupd/a/.ledger-20251201T120000Z.db.gz",
        ".backupd/a/Ledger-20251201T120000Z.db.gz",
        ".backupd-id",
    ],
)
def test_nothing_else_is_a_snapshot(name: str) -> None:
    assert not is_snapshot(name)


def test_only_snapshots_of_its_own_directory_are_its_own() -> None:
    (name,) = names(NOON)
    file = name.rpartition("/")[2]
    found = [file, "notes.txt", f".{file}.{HOME.part_id}.part", "ledger-x.db.gz"]
    assert HOME.own(found) == [name]


def test_what_its_own_uploads_left_is_known_and_what_others_left_is_not() -> None:
    (name,) = names(NOON)
    file, other = name.rpartition("/")[2], Home(directory=HOME.directory, owner="0" * 20)
    assert HOME.left_behind([f".{file}.{HOME.part_id}.part"]) == [name]
    assert HOME.left_behind([f".{file}.claim"]) == [name]  # whose it is, is looked at there
    assert HOME.left_behind([f".{file}.{other.part_id}.part", file, ".other.part"]) == []


def test_two_ledgers_of_a_host_do_not_take_each_others_uploads_for_their_own() -> None:
    assert HOME.part_id != home_of("edge1", Path("/srv/ledger.db")).part_id


def test_the_newest_are_kept() -> None:
    found = names(NOON, NOON + DAY, NOON + 2 * DAY)
    now = NOON + 3 * DAY
    assert superseded(found, 2, now) == found[:1]
    assert superseded(found, 3, now) == []
    assert newest_first(found, now)[0] == found[2]


def test_snapshots_of_a_clock_that_was_ahead_go_first() -> None:
    ahead, taken = names(NOON + 900 * DAY, NOON + 901 * DAY), names(NOON)
    assert newest_first([*ahead, *taken], NOON)[0] == taken[0]
    assert superseded([*ahead, *taken], 1, NOON) == list(reversed(ahead))
