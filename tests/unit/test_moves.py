"""What becomes of a file or a batch, whatever happens to it and in whatever order."""

from __future__ import annotations

from dataclasses import replace

import pytest

from backupd.control.requests import plan_hold, plan_release
from backupd.core import moves
from backupd.core.errors import (
    BackupdError,
    DependencyDownError,
    LocalGoneError,
    NameTakenError,
    PermanentError,
    RewindError,
    TransientError,
    WorkerDiedError,
)
from backupd.core.records import Move, Result
from backupd.core.stages import UNSHIPPED, Awaits, Stage, Status
from support.files import (
    NOW,
    POLICY,
    a_batch,
    a_file,
    a_running_file,
    claimed,
    claimed_batch,
    moved,
    moved_batch,
)
from support.happenings import DONE

# -- one file ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("stage", "next_stage"),
    [
        (Stage.MANIFEST, Stage.LOAD),
        (Stage.SHIP, Stage.CLEANUP),
    ],
)
def test_a_finished_stage_owes_the_next_one_from_a_clean_start(
    stage: Stage, next_stage: Stage
) -> None:
    file = a_running_file(stage, 5, interruptions=2, reason="slow", awaits=Awaits.KEEP)
    after = moved(moves.advance(file, DONE, NOW))
    assert (after.stage, after.status) == (next_stage, Status.WAITING)
    assert (after.attempts, after.interruptions, after.claims) == (0, 0, 0)
    assert (after.reason, after.awaits) == ("", "")
    assert after.next_attempt_at == after.stage_since == NOW
    assert after.done_at is None


def test_after_cleanup_a_file_is_done_and_stays_in_cleanup() -> None:
    after = moved(moves.advance(a_running_file(Stage.CLEANUP), DONE, NOW))
    assert (after.stage, after.status, after.done_at) == (Stage.CLEANUP, Status.DONE, NOW)


def test_what_the_stage_has_to_say_goes_over_the_clean_start() -> None:
    later = Result(changes={"next_attempt_at": NOW + 60, "awaits": "keep"}, detail="kept")
    after = moved(moves.advance(a_running_file(Stage.SHIP), later, NOW))
    assert (after.next_attempt_at, after.awaits) == (NOW + 60, "keep")


@pytest.mark.parametrize("error", [TransientError("slow"), ValueError("a bug")], ids=repr)
def test_what_may_pass_is_tried_again_with_growing_pauses_until_the_attempts_are_used_up(
    error: Exception,
) -> None:
    pauses = []
    for attempt in range(1, POLICY.attempts):
        after = moved(moves.failed(a_running_file(Stage.SHIP, attempt), error, NOW, POLICY))
        assert (after.stage, after.status, after.attempts) == (
            Stage.SHIP,
            Status.WAITING,
            attempt,
        )
        assert str(error) in after.reason
        pauses.append(after.next_attempt_at - NOW)
    assert pauses == [5, 10, 20, 40, 80, 160, 320]
    last = moved(moves.failed(a_running_file(Stage.SHIP, POLICY.attempts), error, NOW, POLICY))
    assert last.status is Status.PARKED
    assert last.reason.startswith("gave up after 8 attempts: ")
    assert str(error) in last.reason


def test_pauses_never_exceed_the_cap_however_many_failures_there_were() -> None:
    assert POLICY.pause(10) == POLICY.pause(5_000) == POLICY.cap


def test_jitter_is_a_factor_on_every_pause() -> None:
    policy = replace(POLICY, jitter=lambda: 0.75)
    assert (policy.pause(1), policy.pause(3), policy.pause(100)) == (3.75, 15.0, 450.0)


@pytest.mark.parametrize("error", [PermanentError("bad", hint="look"), NameTakenError("bad")])
def test_what_cannot_help_is_parked_at_once(error: BackupdError) -> None:
    after = moved(moves.failed(a_running_file(Stage.SHIP), error, NOW, POLICY))
    assert (after.status, after.local) == (Status.PARKED, True)
    assert after.reason == moves.explained(error)


def test_a_file_whose_content_is_gone_lets_go_of_its_path() -> None:
    error = LocalGoneError("vanished", hint="deliver again")
    after = moved(moves.failed(a_running_file(Stage.SHIP), error, NOW, POLICY))
    assert (after.status, after.local) == (Status.PARKED, False)
    assert after.reason == "vanished (deliver again)"


def test_a_dependency_that_is_down_burns_no_attempt_even_at_the_last_one() -> None:
    file = a_running_file(Stage.SHIP, POLICY.attempts)
    down = DependencyDownError("archive", "refused")
    after = moved(moves.failed(file, down, NOW, POLICY))
    assert (after.status, after.attempts) == (Status.WAITING, POLICY.attempts - 1)
    assert after.next_attempt_at > NOW


def test_a_rewind_starts_the_earlier_stage_afresh_and_keeps_the_reason() -> None:
    error = RewindError(Stage.SETTLE, "it changed", disagreement="key")
    after = moved(moves.failed(a_running_file(Stage.MANIFEST, 3), error, NOW, POLICY))
    assert (after.stage, after.status, after.attempts) == (Stage.SETTLE, Status.WAITING, 0)
    assert (after.reason, after.disagreement) == ("it changed", "key")


def test_the_first_interruption_goes_on_at_once_and_the_next_ones_pause() -> None:
    file = a_running_file(Stage.SHIP)
    first = moved(moves.interrupted(file, NOW, POLICY))
    assert (first.next_attempt_at, first.interruptions, first.attempts) == (NOW, 1, 0)
    again = a_running_file(Stage.SHIP, interruptions=1)
    assert moved(moves.interrupted(again, NOW, POLICY)).next_attempt_at == NOW + 5


def test_a_file_that_ends_the_process_again_and_again_is_parked() -> None:
    file, times = a_running_file(Stage.MANIFEST, stage_since=NOW - moves.SUSPECTED_AFTER), 0
    while file.status is not Status.PARKED:
        file = moved(moves.interrupted(file, NOW, POLICY))
        times += 1
        if file.status is Status.WAITING:
            file = claimed(file)
    assert times == POLICY.attempts * moves.INTERRUPTIONS_PER_ATTEMPT
    assert "16 times" in file.reason


def test_however_many_kills_within_an_hour_are_not_held_against_a_file() -> None:
    file = a_running_file(Stage.SHIP, interruptions=1_000, stage_since=NOW - 3_599)
    assert moved(moves.interrupted(file, NOW, POLICY)).status is Status.WAITING


def test_a_requeue_before_ship_gives_up_the_batch_and_keeps_counting_tries() -> None:
    file = a_file(Stage.LOAD, Status.PARKED, batch_id="b1", claims=3, attempts=8, duplicate_of="f0")
    load = moved(moves.requeued(file, Stage.LOAD, NOW))
    assert (load.batch_id, load.claims, load.attempts) == (None, 3, 0)
    assert load.duplicate_of == "f0"
    assert moved(moves.requeued(file, Stage.MANIFEST, NOW)).duplicate_of is None
    assert moved(moves.requeued(file, Stage.SHIP, NOW)).batch_id == "b1"


def test_an_unexpected_error_is_named_as_such() -> None:
    assert moves.explained(KeyError("x")) == "unexpected error: KeyError: 'x'"
    assert moves.explained(TransientError("slow", hint="wait")) == "slow (wait)"


# -- one batch --------------------------------------------------------------------------------


def test_a_loaded_batch_is_owed_a_merge_with_all_its_files() -> None:
    move = moves.batch_advanced(a_batch(attempts=3), "memory:b1", NOW)
    after = moved_batch(move)
    assert (after.stage, after.status, after.attempts) == (Stage.MERGE, Status.WAITING, 0)
    assert after.staged_at == "memory:b1"
    assert (move.file_stage, move.file_status) == (Stage.MERGE, Status.WAITING)


def test_a_merged_batch_is_done_and_its_files_go_on_towards_the_archive() -> None:
    move = moves.batch_merged(a_batch(stage=Stage.MERGE), NOW)
    after = moved_batch(move)
    assert (after.status, after.done_at) == (Status.DONE, NOW)
    assert (move.file_stage, move.file_status) == (UNSHIPPED[0], Status.WAITING)
    assert move.file_changes["row_seen_at"] == NOW


@pytest.mark.parametrize("size", [2, 3, 500])
@pytest.mark.parametrize("stage", [Stage.LOAD, Stage.MERGE])
def test_a_refused_batch_is_halved_in_order_and_both_halves_are_loaded(
    size: int, stage: Stage
) -> None:
    batch = a_batch(size, stage=stage)
    move = moves.batch_failed(batch, PermanentError("a bad row"), NOW, POLICY)
    first, second = move.parts
    assert first + second == batch.members
    assert abs(len(first) - len(second)) <= 1
    assert moved_batch(move).done_at == NOW
    assert (move.file_stage, move.file_status) == (Stage.LOAD, Status.WAITING)


def test_a_refused_batch_of_one_is_parked_with_its_file() -> None:
    move = moves.batch_failed(a_batch(1), PermanentError("a bad row"), NOW, POLICY)
    assert (move.status, move.file_status, move.parts) == (Status.PARKED, Status.PARKED, ())
    assert move.file_changes["reason"] == "a bad row"


def test_a_batch_is_tried_again_and_parked_whole_at_the_limit() -> None:
    again = moves.batch_failed(a_batch(attempts=7), TransientError("slow"), NOW, POLICY)
    assert (again.status, again.changes["next_attempt_at"]) == (Status.WAITING, NOW + 320)
    last = moves.batch_failed(a_batch(attempts=8), TransientError("slow"), NOW, POLICY)
    assert (last.status, last.file_status, last.parts) == (Status.PARKED, Status.PARKED, ())


def test_a_warehouse_that_is_down_burns_no_attempt_of_a_batch() -> None:
    down = DependencyDownError("warehouse", "refused")
    move = moves.batch_failed(a_batch(attempts=8), down, NOW, POLICY)
    assert (move.status, move.changes["attempts"]) == (Status.WAITING, 7)
    assert move.file_changes["attempts"] == 7


def test_a_batch_that_keeps_failing_for_no_known_reason_is_split_at_the_limit() -> None:
    error = OverflowError("int too large")
    move = moves.batch_failed(a_batch(attempts=POLICY.attempts), error, NOW, POLICY)
    assert [len(part) for part in move.parts] == [2, 2]
    assert (move.file_stage, move.file_status) == (Stage.LOAD, Status.WAITING)


def test_a_batch_that_load_and_merge_send_to_and_fro_is_parked_in_the_end() -> None:
    lost, rounds = RewindError(Stage.LOAD, "neither staged nor merged"), 0
    batch = a_batch()
    while batch.status is not Status.PARKED:
        batch = claimed_batch(moved_batch(moves.batch_advanced(batch, "memory:b1", NOW)))
        move = moves.batch_failed(batch, lost, NOW, POLICY)
        batch = moved_batch(move)
        if batch.status is Status.WAITING:
            assert batch.stage is Stage.LOAD
            assert batch.next_attempt_at >= NOW + POLICY.first
            batch = claimed_batch(batch)
        rounds += 1
        assert rounds <= POLICY.attempts
    assert "neither staged nor merged" in batch.reason


def test_a_batch_that_ends_the_process_again_and_again_is_split() -> None:
    later = NOW + moves.SUSPECTED_AFTER
    batch = a_batch(interruptions=15)
    assert moves.batch_interrupted(batch, later, POLICY).parts
    assert not moves.batch_interrupted(batch, NOW, POLICY).parts
    assert not moves.batch_interrupted(a_batch(interruptions=3), later, POLICY).parts


# -- proof ------------------------------------------------------------------------------------


PROVEN = a_running_file(Stage.CLEANUP, proven_at=NOW, awaits=Awaits.KEEP)
ERRORS = [
    TransientError("slow"),
    ValueError("a bug"),
    PermanentError("no"),
    LocalGoneError("gone"),
    DependencyDownError("archive", "down"),
    RewindError(Stage.CLEANUP, "waits"),
    WorkerDiedError("died"),
]


@pytest.mark.parametrize("error", ERRORS, ids=repr)
@pytest.mark.parametrize("attempts", [1, POLICY.attempts])
def test_whatever_goes_wrong_a_proof_counts_no_more(error: Exception, attempts: int) -> None:
    file = replace(PROVEN, attempts=attempts)
    assert moved(moves.failed(file, error, NOW, POLICY)).proven_at is None


@pytest.mark.parametrize(
    "move",
    [
        moves.advance(PROVEN, DONE, NOW),
        moves.given_back(PROVEN, "stopped", NOW, NOW),
        moves.interrupted(PROVEN, NOW, POLICY),
        moves.parked(PROVEN, "odd", NOW),
        moves.closed(PROVEN, "not wanted", NOW),
        plan_hold(replace(PROVEN, status=Status.WAITING), NOW),
        plan_release(
            replace(PROVEN, status=Status.PARKED, awaits=Awaits.RELEASE), NOW, is_there=True
        ),
        *(moves.requeued(PROVEN, stage, NOW) for stage in Stage),
    ],
)
def test_a_proof_counts_only_while_nothing_happens_to_the_file(move: Move) -> None:
    assert moved(move).proven_at is None


def test_the_stage_that_saw_a_proof_hands_it_on() -> None:
    proven = Result(changes={"proven_at": NOW}, detail="in the archive")
    assert moved(moves.advance(a_running_file(Stage.SHIP), proven, NOW)).proven_at == NOW
