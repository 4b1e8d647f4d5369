"""Several hosts and one Hive: daemons are killed, a ledger is lost, two share a directory.

FLEET is how many files are delivered to the first ones: 1,500, or 30,000 for a whole run.
"""

from __future__ import annotations

import os
import random
import sys
import time
from collections import Counter
from contextlib import closing
from typing import TYPE_CHECKING

import pytest

from support.fleet import Fleet

if TYPE_CHECKING:
    from pathlib import Path

    from support.hadoop import Hadoop

pytestmark = pytest.mark.hadoop

FILES = int(os.environ.get("FLEET") or 1500)
A_TURN = 250  # files delivered until the next kill
LONGEST_TURN = 4.0  # seconds


@pytest.mark.sample(0)
def test_kills_and_a_lost_ledger_lose_and_double_nothing_of_a_fleet(
    tmp_path: Path, plain_hadoop: Hadoop
) -> None:
    rng, began = random.Random(1), time.monotonic()
    with closing(Fleet(tmp_path, plain_hadoop, ["edge1", "edge2", "edge3"])) as fleet:
        for edge in fleet.edges:
            edge.start()
        thrown = work_and_kill(fleet, rng, FILES // A_TURN)
        fleet.until_all_is_done()
        assert [edge.stop() for edge in fleet.edges] == [0, 0, 0]
        took = time.monotonic() - began

        assert fleet.rows() == Counter(each.row for each in fleet.delivered)
        assert set(fleet.row_ids().values()) == {1}
        assert fleet.copies() == {f"a/{each.name}.gz": each.data for each in fleet.delivered}
        assert fleet.staged() == []
        lacking = without_story(fleet, thrown)
        for edge in fleet.edges:
            assert edge.shown_incidents() == []
    told = f"{FILES} files, {FILES // A_TURN} kills, {len(lacking)} stories lost with the ledger"
    sys.stdout.write(f"{told}, {took:.0f} s\n")


def work_and_kill(fleet: Fleet, rng: random.Random, turns: int) -> dict[str, str]:
    """Kill a daemon in each turn, and throw its ledger away in the middle one.

    Returns the stage of each file that was in that ledger.
    """
    thrown: dict[str, str] = {}
    for turn in range(turns):
        fleet.deliver(A_TURN, rng)
        time.sleep(rng.uniform(0, LONGEST_TURN))  # the moment is chosen at random
        edge = rng.choice(fleet.edges)
        edge.kill()
        if turn == turns // 2:
            thrown = edge.lose_ledger()
        edge.start()
    return thrown


def without_story(fleet: Fleet, thrown: dict[str, str]) -> set[str]:
    """Return which files have none; all others have one, by the host that they were delivered to.

    Only those that were at their end in the lost ledger may have none.
    """
    wanted = {
        (each.host, each.name, each.sha256, "done", f"a/{each.name}.gz") for each in fleet.delivered
    }
    found = fleet.stories()
    assert set(found.values()) == {1}
    assert found.keys() <= wanted
    lacking = {name for _, name, *_ in wanted - found.keys()}
    at_their_end = {name for name, stage in thrown.items() if stage == "cleanup"}
    assert lacking <= at_their_end
    return lacking


@pytest.mark.sample(0)
def test_two_hosts_on_one_directory_lose_nothing_and_report_what_they_double(
    tmp_path: Path, plain_hadoop: Hadoop
) -> None:
    """As over NFS, where neither sees the other: it is not promised to be of any use."""
    rng = random.Random(2)
    fleet = Fleet(tmp_path, plain_hadoop, ["edge1", "edge2"], shared_feed=True)
    with closing(fleet):
        for edge in fleet.edges:
            edge.start()
        for _ in range(10):
            fleet.deliver(20, rng)
            time.sleep(rng.uniform(0, 2))  # the moment is chosen at random
        fleet.until_all_is_done()

        assert fleet.rows().keys() == {each.row for each in fleet.delivered}
        assert fleet.copies() == {f"a/{each.name}.gz": each.data for each in fleet.delivered}
        doubled = {file_id for file_id, count in fleet.row_ids().items() if count > 1}
        reported = [each["kind"] for edge in fleet.edges for each in edge.shown_incidents()]
        assert not doubled or "doubled" in reported
        for edge in fleet.edges:
            assert all("vanished" in file.reason for file in edge.files())
        parked = [len(edge.files()) for edge in fleet.edges]
        assert [edge.stop() for edge in fleet.edges] == [0, 0]
    sys.stdout.write(
        f"{len(fleet.delivered)} files, {len(doubled)} doubled rows, {parked} vanished,"
        f" {len(fleet.stories())} stories\n"
    )
