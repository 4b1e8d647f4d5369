"""Why a file is where it is, and what is next, in words."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from backupd.cli.explain import Surroundings, prospect
from backupd.core.incidents import went_down
from backupd.core.moves import NEVER
from backupd.core.stages import Awaits, Stage, Status
from support import configs
from support.files import NOW, a_file

if TYPE_CHECKING:
    from pathlib import Path

    from backupd.core.records import FileRecord


@pytest.fixture
def around(tmp_path: Path) -> Surroundings:
    """A daemon at work, with nothing in its way."""
    return Surroundings(
        now=NOW,
        daemon_runs=True,
        config=configs.loaded(tmp_path, {}),
        outages=[],
        unbatched=(0, None),
        original=None,
    )


def a_waiting_file(stage: Stage, **changes: object) -> FileRecord:
    file = replace(a_file(stage), feed="traffic/a", next_attempt_at=NOW - 1)
    return replace(file, **changes)  # type: ignore[arg-type]  # any field


def test_a_parked_file_names_the_command_that_takes_it_back(around: Surroundings) -> None:
    file = a_file(Stage.MANIFEST, Status.PARKED, reason="its companion disagrees")
    told = prospect(file, around)
    assert told.why == "its companion disagrees"
    assert f"backupd-admin requeue {file.id}" in told.next
    assert told.at is None


def test_a_held_file_names_release(around: Surroundings) -> None:
    file = a_file(Stage.SHIP, Status.PARKED, reason="held by hand", awaits=Awaits.RELEASE)
    assert f"backupd-admin release {file.id}" in prospect(file, around).next


def test_a_file_of_a_feed_that_is_gone_says_so(around: Surroundings) -> None:
    told = prospect(a_waiting_file(Stage.SHIP, feed="tolling/x"), around)
    assert told.why == "the config has no feed tolling/x any more"


def test_without_a_config_nothing_is_said_of_feeds(around: Surroundings) -> None:
    told = prospect(a_waiting_file(Stage.SHIP, feed="tolling/x"), replace(around, config=None))
    assert "no feed" not in told.why


@pytest.mark.parametrize(
    ("stage", "dependency"),
    [
        (Stage.LOAD, "warehouse"),
        (Stage.MERGE, "warehouse"),
        (Stage.SHIP, "archive"),
        (Stage.SHIP, "feed:traffic/a"),
    ],
)
def test_a_dependency_that_is_down_is_why(
    around: Surroundings, stage: Stage, dependency: str
) -> None:
    down = went_down(dependency, NOW - 65)
    outage = replace(down, reason="refused", trials=3, next_try_at=NOW + 5)
    told = prospect(a_waiting_file(stage), replace(around, outages=[outage]))
    assert told.why == f"{dependency} is down since 2026-11-23T11:58:55Z (1m 05s): refused"
    assert told.at == NOW + 5


def test_another_dependency_does_not_matter(around: Surroundings) -> None:
    down = went_down("archive", NOW)
    outage = replace(down, reason="refused", trials=1, next_try_at=NOW)
    told = prospect(a_waiting_file(Stage.MANIFEST), replace(around, outages=[outage]))
    assert told.why == "it waits for its turn in manifest"


def test_a_file_without_a_batch_tells_until_when_it_waits_for_one(around: Surroundings) -> None:
    told = prospect(a_waiting_file(Stage.LOAD), replace(around, unbatched=(12, NOW)))
    assert told.why == (
        "it waits for a batch of 500 files, or until 2026-11-23T12:00:30Z; 12 wait now"
    )
    assert told.at == NOW + 30


def test_a_file_in_a_batch_waits_for_its_turn(around: Surroundings) -> None:
    told = prospect(a_waiting_file(Stage.LOAD, batch_id="b1"), around)
    assert told.why == "it waits for its turn in load"


def test_a_retry_tells_what_failed_which_attempt_it_was_and_when_it_is_next(
    around: Surroundings,
) -> None:
    file = a_waiting_file(
        Stage.SHIP, reason="the connection was lost", attempts=2, next_attempt_at=NOW + 20
    )
    told = prospect(file, around)
    assert told.why == "the connection was lost (attempt 2 of 8)"
    assert told.at == NOW + 20


def test_a_duplicate_tells_how_the_first_one_stands(around: Surroundings) -> None:
    first = a_file(Stage.SHIP, Status.PARKED, id="0ne")
    file = a_waiting_file(
        Stage.CLEANUP, awaits=Awaits.ORIGINAL, duplicate_of="0ne", next_attempt_at=NEVER
    )
    told = prospect(file, replace(around, original=first))
    assert told.why == "a duplicate of 0ne, which is parked at ship"
    assert told.at is None


def test_a_file_without_its_companion_tells_when_it_is_looked_for_again(
    around: Surroundings,
) -> None:
    file = a_waiting_file(
        Stage.SETTLE,
        awaits=Awaits.COMPANION,
        reason="waits for its companion a.cksum",
        next_attempt_at=NOW + 60,
    )
    told = prospect(file, around)
    assert told.why == "waits for its companion a.cksum"
    assert told.at == NOW + 60


def test_a_file_that_is_kept_tells_until_when(around: Surroundings) -> None:
    file = a_waiting_file(
        Stage.CLEANUP, awaits=Awaits.KEEP, reason="kept for 60 s", next_attempt_at=NOW + 60
    )
    assert prospect(file, around).at == NOW + 60


def test_without_a_daemon_nothing_has_a_time(around: Surroundings) -> None:
    file = a_waiting_file(Stage.SHIP, next_attempt_at=NOW + 20)
    told = prospect(file, replace(around, daemon_runs=False))
    assert told.next.endswith("(once a daemon runs: none does just now)")
    assert told.at is None


def test_a_running_file_whose_process_is_gone_is_done_again(around: Surroundings) -> None:
    file = a_file(Stage.MANIFEST, Status.RUNNING)
    assert prospect(file, around).next == "then load"
    assert "done again" in prospect(file, replace(around, daemon_runs=False)).next


def test_a_done_file_tells_how_it_became_so(around: Surroundings) -> None:
    assert "every stage" in prospect(a_file(Stage.CLEANUP, Status.DONE), around).why
    twice = a_file(Stage.CLEANUP, Status.DONE, duplicate_of="0ne")
    assert "same file as 0ne" in prospect(twice, around).why
