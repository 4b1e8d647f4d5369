"""What a person may ask of a file, and what is refused with a reason."""

from __future__ import annotations

import pytest

from backupd.control.rules import RefusedError, plan_hold, plan_release, plan_requeue, said
from backupd.core.stages import ORDER, Stage, Status
from support.files import NOW, a_file, moved

DONE = a_file(Stage.CLEANUP, Status.DONE, done_at=NOW, row_seen_at=NOW, batch_id="b1", local=False)


@pytest.mark.parametrize("stage", ORDER)
def test_a_parked_file_starts_its_own_stage_again(stage: Stage) -> None:
    file = a_file(stage, Status.PARKED, reason="bad", attempts=8)
    after = moved(plan_requeue(file, None, NOW, is_there=True))
    expected = Stage.LOAD if stage is Stage.MERGE else stage
    assert (after.stage, after.status, after.attempts) == (expected, Status.WAITING, 0)
    assert after.next_attempt_at == NOW


@pytest.mark.parametrize("status", [Status.WAITING, Status.RUNNING])
def test_a_file_on_its_way_cannot_be_requeued(status: Status) -> None:
    with pytest.raises(RefusedError, match="nothing to take back"):
        plan_requeue(a_file(Stage.SHIP, status), None, NOW, is_there=True)


@pytest.mark.parametrize("stage", ORDER)
@pytest.mark.parametrize("wanted", ORDER)
def test_a_parked_file_goes_back_but_never_ahead(stage: Stage, wanted: Stage) -> None:
    file = a_file(stage, Status.PARKED, row_seen_at=NOW)
    if ORDER.index(wanted) > ORDER.index(stage):
        with pytest.raises(RefusedError, match=f"never came past {stage}") as caught:
            plan_requeue(file, wanted, NOW, is_there=True)
        assert caught.value.hint == f"--from {stage}"
    else:
        assert plan_requeue(file, wanted, NOW, is_there=True).status is Status.WAITING


@pytest.mark.parametrize("wanted", [Stage.LOAD, Stage.MERGE, None])
def test_a_done_file_whose_local_copy_is_gone_comes_back_through_load(
    wanted: Stage | None,
) -> None:
    after = moved(plan_requeue(DONE, wanted, NOW, is_there=False))
    assert (after.stage, after.batch_id, after.done_at) == (Stage.LOAD, None, None)


@pytest.mark.parametrize("wanted", [Stage.SETTLE, Stage.MANIFEST, Stage.SHIP, Stage.CLEANUP])
def test_a_done_file_whose_local_copy_is_gone_comes_back_from_nowhere_else(wanted: Stage) -> None:
    with pytest.raises(RefusedError, match="its local copy is gone") as caught:
        plan_requeue(DONE, wanted, NOW, is_there=False)
    assert "--from load" in caught.value.hint


def test_a_done_file_that_was_kept_is_read_again() -> None:
    assert plan_requeue(DONE, None, NOW, is_there=True).stage is Stage.MANIFEST


@pytest.mark.parametrize("wanted", [Stage.LOAD, Stage.MERGE])
def test_what_was_never_registered_and_is_gone_cannot_be_registered_any_more(
    wanted: Stage,
) -> None:
    file = a_file(Stage.MERGE, Status.PARKED)
    with pytest.raises(RefusedError, match="never registered"):
        plan_requeue(file, wanted, NOW, is_there=False)


def test_what_was_never_registered_and_whose_path_holds_another_file_is_read_again_first() -> None:
    file = a_file(Stage.LOAD, Status.PARKED, local=False)
    with pytest.raises(RefusedError, match="another file") as caught:
        plan_requeue(file, Stage.LOAD, NOW, is_there=True)
    assert "--from manifest" in caught.value.hint
    assert plan_requeue(file, Stage.MANIFEST, NOW, is_there=True).stage is Stage.MANIFEST


@pytest.mark.parametrize("wanted", [Stage.LOAD, Stage.MERGE, Stage.SHIP])
def test_a_duplicate_never_gets_a_row_or_a_copy_of_its_own(wanted: Stage) -> None:
    file = a_file(Stage.CLEANUP, Status.DONE, duplicate_of="f0", done_at=NOW)
    with pytest.raises(RefusedError, match="duplicate of f0"):
        plan_requeue(file, wanted, NOW, is_there=True)


def test_a_duplicate_whose_local_copy_is_gone_is_refused_not_registered() -> None:
    file = a_file(Stage.CLEANUP, Status.DONE, duplicate_of="f0", done_at=NOW, local=False)
    with pytest.raises(RefusedError, match="duplicate of f0"):
        plan_requeue(file, None, NOW, is_there=False)


def test_every_requeue_says_what_it_repeats_and_what_not() -> None:
    texts = [said(stage) for stage in ORDER]
    assert all("no second row is made" in text for text in texts)


def test_a_waiting_file_is_held_and_released_to_where_it_was() -> None:
    held = moved(plan_hold(a_file(Stage.SHIP, attempts=2), NOW))
    assert (held.status, held.reason) == (Status.PARKED, "held by hand")
    released = moved(plan_release(held, NOW))
    assert (released.stage, released.status, released.awaits) == (Stage.SHIP, Status.WAITING, "")


@pytest.mark.parametrize("status", [Status.RUNNING, Status.PARKED, Status.DONE])
def test_only_a_waiting_file_can_be_held(status: Status) -> None:
    with pytest.raises(RefusedError, match=f"it is {status}"):
        plan_hold(a_file(Stage.SHIP, status), NOW)


@pytest.mark.parametrize("stage", [Stage.LOAD, Stage.MERGE])
def test_a_file_in_a_batch_cannot_be_held_alone(stage: Stage) -> None:
    with pytest.raises(RefusedError, match="in batch b1"):
        plan_hold(a_file(stage, batch_id="b1"), NOW)
    assert plan_hold(a_file(Stage.SHIP, batch_id="b1"), NOW).status is Status.PARKED


def test_what_is_parked_for_another_reason_is_not_released() -> None:
    with pytest.raises(RefusedError, match="not held"):
        plan_release(a_file(Stage.SHIP, Status.PARKED), NOW)
    with pytest.raises(RefusedError, match="not held"):
        plan_release(a_file(Stage.SHIP), NOW)


def test_a_held_file_may_be_requeued_too() -> None:
    held = moved(plan_hold(a_file(Stage.SHIP), NOW))
    assert moved(plan_requeue(held, None, NOW, is_there=True)).awaits == ""


def test_a_file_that_is_kept_for_a_time_is_not_removed_early_because_it_was_held() -> None:
    kept = a_file(Stage.CLEANUP, awaits="keep", next_attempt_at=NOW + 3600, reason="kept")
    released = moved(plan_release(moved(plan_hold(kept, NOW)), NOW + 60))
    assert (released.next_attempt_at, released.awaits) == (NOW + 3600, "keep")
    late = moved(plan_release(moved(plan_hold(kept, NOW)), NOW + 7200))
    assert (late.next_attempt_at, late.awaits) == (NOW + 7200, "")
