"""What a person may ask of a file, and what is refused with a reason."""

from __future__ import annotations

import re
import shlex
from itertools import product
from typing import TYPE_CHECKING

import pytest

from backupd.cli.explain import Surroundings, prospect
from backupd.control.requests import (
    RefusedError,
    plan_dismiss,
    plan_hold,
    plan_release,
    plan_requeue,
    said,
    way_out,
)
from backupd.core.moves import closed
from backupd.core.stages import BATCHED, ORDER, UNSHIPPED, Awaits, Stage, Status
from support.files import NOW, a_file, moved

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from backupd.core.records import FileRecord, Move

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
        assert caught.value.hint == f"take it back: backupd-admin requeue {file.id}"
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
    assert caught.value.hint == f"take it back: backupd-admin requeue {DONE.id}"


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


@pytest.mark.parametrize("wanted", [*sorted(BATCHED), *UNSHIPPED])
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
    released = moved(plan_release(held, NOW, is_there=True))
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
        plan_release(a_file(Stage.SHIP, Status.PARKED), NOW, is_there=True)
    with pytest.raises(RefusedError, match="not held"):
        plan_release(a_file(Stage.SHIP), NOW, is_there=True)


def test_a_held_file_may_be_requeued_too() -> None:
    held = moved(plan_hold(a_file(Stage.SHIP), NOW))
    assert moved(plan_requeue(held, None, NOW, is_there=True)).awaits == ""


def test_a_file_that_is_kept_for_a_time_is_not_removed_early_because_it_was_held() -> None:
    kept = a_file(Stage.CLEANUP, awaits=Awaits.KEEP, next_attempt_at=NOW + 3600, reason="kept")
    released = moved(plan_release(moved(plan_hold(kept, NOW)), NOW + 60, is_there=True))
    assert (released.next_attempt_at, released.awaits) == (NOW + 3600, "keep")
    late = moved(plan_release(moved(plan_hold(kept, NOW)), NOW + 7200, is_there=True))
    assert (late.next_attempt_at, late.awaits) == (NOW + 7200, "")


# -- dismissing ------------------------------------------------------------------------------------


@pytest.mark.parametrize("stage", ORDER)
@pytest.mark.parametrize("awaits", [Awaits.NOTHING, Awaits.RELEASE])
def test_a_parked_file_is_closed_wherever_it_stands(stage: Stage, awaits: Awaits) -> None:
    file = a_file(stage, Status.PARKED, awaits=awaits, trouble="odd", claims=3, batch_id="b1")
    after = moved(plan_dismiss(file, " not wanted ", NOW))
    assert (after.stage, after.status, after.done_at) == (Stage.CLEANUP, Status.DONE, NOW)
    assert (after.reason, after.trouble, after.awaits) == ("dismissed by hand: not wanted", "", "")
    assert (after.is_closed, after.local, after.claims) == (True, True, 3)


@pytest.mark.parametrize("status", [Status.WAITING, Status.RUNNING, Status.DONE])
def test_only_a_parked_file_can_be_dismissed(status: Status) -> None:
    with pytest.raises(RefusedError, match=f"it is {status} at ship"):
        plan_dismiss(a_file(Stage.SHIP, status), "why not", NOW)


@pytest.mark.parametrize("why", ["", "  ", "\n"])
def test_a_dismissal_without_a_reason_is_refused(why: str) -> None:
    with pytest.raises(RefusedError, match="say why"):
        plan_dismiss(a_file(Stage.SHIP, Status.PARKED), why, NOW)


def test_whatever_is_said_of_a_dismissal_is_one_line_that_can_be_written_down() -> None:
    file = a_file(Stage.SHIP, Status.PARKED)
    after = moved(plan_dismiss(file, "lost\nits disk \x1b[2J\udcff\ud800", NOW))
    assert after.reason == r"dismissed by hand: lost\nits disk \x1b[2J\xff\u{d800}"


def test_a_file_that_went_through_every_stage_is_not_closed() -> None:
    assert not DONE.is_closed


# -- every refusal names a command that works ------------------------------------------------------


def _files() -> Iterator[FileRecord]:
    """Every file that can be, and some that cannot."""
    flags = product(*[[False, True]] * 4)
    for (stage, status), (local, registered, held, in_batch) in product(
        product(ORDER, Status), flags
    ):
        for duplicate_of in (None, "f0"):
            if status is Status.DONE and (stage is not Stage.CLEANUP or held):
                continue
            file = a_file(
                stage,
                status,
                local=local,
                row_seen_at=NOW if registered else None,
                awaits=Awaits.RELEASE if held and status is Status.PARKED else Awaits.NOTHING,
                batch_id="b1" if in_batch else None,
                duplicate_of=duplicate_of,
                done_at=NOW if status is Status.DONE else None,
            )
            yield file
            if status is Status.PARKED:
                yield moved(closed(file, "closed: not wanted", NOW))


def _asked(file: FileRecord, is_there: bool) -> dict[str, Callable[[], Move]]:
    requests: dict[str, Callable[[], Move]] = {
        f"requeue {file.id} --from {stage}": lambda stage=stage: plan_requeue(  # type: ignore[misc]
            file, stage, NOW, is_there=is_there
        )
        for stage in ORDER
    }
    return requests | {
        f"requeue {file.id}": lambda: plan_requeue(file, None, NOW, is_there=is_there),
        f"hold {file.id}": lambda: plan_hold(file, NOW),
        f"release {file.id}": lambda: plan_release(file, NOW, is_there=is_there),
        f'dismiss {file.id} --why "..."': lambda: plan_dismiss(file, "...", NOW),
    }


def _advised(hint: str) -> str:
    found = re.search("backupd-admin (.*)", hint)
    assert found is not None, hint
    return found[1]


@pytest.mark.parametrize("is_there", [True, False])
def test_no_refusal_advises_what_is_refused(is_there: bool) -> None:
    refused = 0
    for file in _files():
        requests = _asked(file, is_there)
        for request in requests.values():
            try:
                request()
            except RefusedError as error:
                refused += 1
                advised = _advised(error.hint)
                if not advised.startswith(("show ", "batch ")):  # these are never refused
                    requests[advised]()
    assert refused > 1000


@pytest.mark.parametrize("is_there", [True, False])
def test_what_show_advises_for_a_parked_file_is_not_refused(is_there: bool) -> None:
    for file in _files():
        if file.status is Status.PARKED:
            around = Surroundings(
                now=NOW,
                daemon_runs=True,
                config=None,
                outages=[],
                unbatched=(0, None),
                original=None,
                is_there=is_there,
            )
            _asked(file, is_there)[_advised(prospect(file, around).next)]()


def test_a_vanished_file_is_to_be_delivered_again_or_dismissed() -> None:
    file = a_file(Stage.SETTLE, Status.PARKED, local=False)
    for stage in ORDER:
        with pytest.raises(RefusedError) as caught:
            plan_requeue(file, stage, NOW, is_there=False)
        assert "have it delivered again, or close it: backupd-admin dismiss" in caught.value.hint


def test_cleanup_of_a_parked_file_ends_when_its_local_copy_is_gone_by_other_hands() -> None:
    file = a_file(Stage.CLEANUP, Status.PARKED, row_seen_at=NOW)
    assert plan_requeue(file, None, NOW, is_there=False).stage is Stage.CLEANUP


def test_a_file_that_was_closed_before_it_was_registered_is_read_again_or_not_at_all() -> None:
    file = moved(closed(a_file(Stage.LOAD, Status.PARKED), "closed: not wanted", NOW))
    assert plan_requeue(file, None, NOW, is_there=True).stage is Stage.MANIFEST
    for stage in {*BATCHED, Stage.SHIP, Stage.CLEANUP}:
        with pytest.raises(RefusedError, match="closed before it was registered"):
            plan_requeue(file, stage, NOW, is_there=True)


def test_the_command_for_a_file_can_be_typed_as_it_stands() -> None:
    file = a_file(Stage.SETTLE, Status.PARKED, local=False)
    words = shlex.split(_advised(way_out(file, is_there=False)))
    assert words == ["dismiss", file.id, "--why", "..."]
