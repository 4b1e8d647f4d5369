"""Is a file complete, and if not, why?"""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from backupd.core.companions import disagreement_key
from backupd.intake.readiness import (
    CompanionLook,
    Look,
    NotYet,
    Ready,
    Refused,
    Rules,
    Verdict,
    decide,
    still_written,
)
from support.intake import a_rule, a_settling_file, an_identity

if TYPE_CHECKING:
    from backupd.core.records import FileRecord, Identity

NOW = 1_000_000.0
SETTLE = 5.0


def at(seconds: float, **changes: int) -> Identity:
    """A file of 10 bytes that was last changed then."""
    nanoseconds = int(seconds * 1e9)
    return an_identity(mtime_ns=nanoseconds, ctime_ns=nanoseconds, **changes)


def seen(identity: Identity, since: float, **changes: object) -> FileRecord:
    return a_settling_file(identity=identity, unchanged_since=since, **changes)


def judged(
    record: FileRecord,
    look: Look,
    *,
    required: bool | None = None,
    trust_timestamps: bool = True,
) -> Verdict:
    """Judge now; `required` None: the feed has no companion rule."""
    rule = None if required is None else a_rule(required=required)
    rules = Rules(
        companion=rule,
        settle_for=SETTLE,
        look_every=60.0,
        trust_timestamps=trust_timestamps,
        ask_writers=True,
    )
    return decide(record, look, rules, NOW)


@pytest.mark.parametrize(
    ("unchanged_for", "pause", "awaits"),
    [(0, 1.0, ""), (20, 5.0, ""), (599, 60.0, ""), (601, 60.0, "writer"), (86_400, 60.0, "writer")],
)
def test_a_file_that_is_open_for_writing_is_looked_at_ever_more_rarely(
    unchanged_for: float, pause: float, awaits: str
) -> None:
    rules = Rules(
        companion=None, settle_for=SETTLE, look_every=60.0, trust_timestamps=True, ask_writers=True
    )
    ready = Ready(identity=an_identity(), unchanged_since=NOW - unchanged_for)
    waits = still_written(a_settling_file(), ready, rules, NOW)
    assert (waits.look_again_at, waits.awaits) == (NOW + pause, awaits)
    assert waits.reason == "some process has it open for writing"


def with_companion(identity: Identity, companion: Identity, text: str = "77 10\n") -> Look:
    return Look(identity=identity, companion=CompanionLook(identity=companion, text=text))


def alone(identity: Identity) -> Look:
    return Look(identity=identity, companion=None)


def test_a_file_unchanged_for_long_is_ready_at_first_sight() -> None:
    old = at(NOW - 86_400)
    verdict = judged(seen(old, NOW), alone(old))
    assert verdict == Ready(identity=old, unchanged_since=NOW - 86_400)


def test_a_fresh_file_waits_out_the_rest_of_its_time() -> None:
    fresh = at(NOW - 2)
    verdict = judged(seen(fresh, NOW), alone(fresh))
    assert isinstance(verdict, NotYet)
    assert verdict.look_again_at == NOW + 3
    assert verdict.reason == "waits until it has stayed unchanged for 5 s"


def test_a_ctime_later_than_the_mtime_counts() -> None:
    moved_in = an_identity(mtime_ns=0, ctime_ns=int((NOW - 1) * 1e9))
    assert isinstance(judged(seen(moved_in, NOW), alone(moved_in)), NotYet)


@pytest.mark.parametrize("change", ["size", "mtime_ns", "ctime_ns", "ino"])
def test_any_change_starts_the_time_anew_where_only_observation_counts(change: str) -> None:
    before = at(NOW - 100)
    after = at(NOW - 100, **{change: 7}) if change in {"size", "ino"} else at(NOW - 99)
    verdict = judged(seen(before, NOW - 100), alone(after), trust_timestamps=False)
    assert isinstance(verdict, NotYet)
    assert (verdict.unchanged_since, verdict.look_again_at) == (NOW, NOW + SETTLE)


def test_on_a_remote_file_system_old_times_prove_nothing() -> None:
    old = at(0)
    assert isinstance(judged(seen(old, NOW - 4), alone(old), trust_timestamps=False), NotYet)
    assert isinstance(judged(seen(old, NOW - 5), alone(old), trust_timestamps=False), Ready)


def test_times_to_come_are_not_believed() -> None:
    ahead = at(NOW + 3600)
    assert isinstance(judged(seen(ahead, NOW - 4), alone(ahead)), NotYet)
    assert isinstance(judged(seen(ahead, NOW - 5), alone(ahead)), Ready)


def test_a_clock_set_back_costs_settle_for_and_no_more() -> None:
    ahead = at(NOW + 3600)
    verdict = judged(seen(ahead, NOW + 3600), alone(ahead))
    assert isinstance(verdict, NotYet)
    assert verdict.look_again_at == NOW + SETTLE


def test_a_required_companion_that_is_missing_is_waited_for_by_name() -> None:
    old = at(0)
    verdict = judged(seen(old, 0.0), alone(old), required=True)
    assert isinstance(verdict, NotYet)
    assert verdict.reason == "waits for its companion eLUX_1.cksum"
    assert (verdict.awaits, verdict.look_again_at) == ("companion", NOW + 60)


def test_without_a_companion_that_is_not_required_time_decides() -> None:
    assert isinstance(judged(seen(at(0), 0.0), alone(at(0)), required=False), Ready)
    assert isinstance(judged(seen(at(NOW), NOW), alone(at(NOW)), required=False), NotYet)


@pytest.mark.parametrize("required", [True, False])
def test_a_companion_that_is_there_makes_a_fresh_file_ready(required: bool) -> None:
    fresh = at(NOW)
    assert isinstance(
        judged(seen(fresh, NOW), with_companion(fresh, fresh), required=required), Ready
    )


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("", "it is empty"),
        ("d41d8cd98f00b204e9800998ecf8427e  x.csv\n", "expected: the line of cksum"),
        ("77 11\n", "says 11 bytes, the file has 10"),
    ],
)
def test_a_faulty_companion_is_looked_at_again_then_refused(text: str, told: str) -> None:
    fresh = at(NOW - 2)
    verdict = judged(seen(fresh, NOW - 2), with_companion(fresh, fresh, text), required=True)
    assert isinstance(verdict, NotYet)
    assert told in verdict.reason
    assert verdict.look_again_at == NOW + 3
    settled = at(NOW - 5)
    verdict = judged(seen(settled, NOW - 5), with_companion(settled, settled, text), required=True)
    assert isinstance(verdict, Refused)
    assert told in verdict.reason


def test_a_companion_that_cannot_be_read_is_a_fault() -> None:
    companion = CompanionLook(identity=at(0), text="", problem="is a symbolic link")
    verdict = judged(seen(at(0), 0.0), Look(identity=at(0), companion=companion), required=True)
    assert isinstance(verdict, Refused)
    assert verdict.reason == "its companion eLUX_1.cksum is a symbolic link"


@pytest.mark.parametrize(
    ("failing_for", "look_again_in"), [(None, 1.0), (0, 1.0), (80, 20.0), (599, 60.0), (601, None)]
)
def test_a_companion_whose_reading_fails_is_refused_only_after_long(
    failing_for: float | None, look_again_in: float | None
) -> None:
    """However old the two are: that a look at them failed says nothing about them."""
    problem = "cannot be read: Input/output error"
    companion = CompanionLook(identity=at(0), text="", problem=problem, may_pass=True)
    record = seen(at(0), 0.0)
    if failing_for is not None:
        key = disagreement_key(at(0), at(0), "")
        record = seen(at(0), NOW - failing_for, disagreement=key)
    verdict = judged(record, Look(identity=at(0), companion=companion), required=True)
    if look_again_in is None:
        assert isinstance(verdict, Refused)
    else:
        assert isinstance(verdict, NotYet)
        assert verdict.look_again_at == NOW + look_again_in
    assert verdict.reason == f"its companion eLUX_1.cksum {problem}"


def test_on_a_remote_file_system_a_fault_must_be_seen_twice() -> None:
    old, text = at(0), "garbage"
    first = judged(
        seen(old, 0.0), with_companion(old, old, text), required=True, trust_timestamps=False
    )
    assert isinstance(first, NotYet)
    assert first.look_again_at == NOW + SETTLE
    record = seen(old, NOW - SETTLE, disagreement=first.disagreement)
    again = judged(record, with_companion(old, old, text), required=True, trust_timestamps=False)
    assert isinstance(again, Refused)


@pytest.mark.parametrize("trust_timestamps", [True, False])
def test_content_that_disagreed_is_refused_once_both_stayed_the_same(
    trust_timestamps: bool,
) -> None:
    pair = at(NOW - 4), at(NOW - 2)
    key = disagreement_key(*pair, "77 10\n")
    told = "its companion says 77, 10 bytes, the file has 78, 10 bytes"
    record = seen(pair[0], NOW - 4, disagreement=key, reason=told, stage_since=NOW - 2)
    verdict = judged(
        record, with_companion(*pair), required=True, trust_timestamps=trust_timestamps
    )
    assert isinstance(verdict, NotYet)
    assert (verdict.reason, verdict.disagreement) == (told, key)
    assert verdict.look_again_at == NOW + 3
    pair = at(NOW - 9), at(NOW - 5)
    key = disagreement_key(*pair, "77 10\n")
    record = seen(pair[0], NOW - 9, disagreement=key, reason=told, stage_since=NOW - 5)
    verdict = judged(
        record, with_companion(*pair), required=True, trust_timestamps=trust_timestamps
    )
    assert isinstance(verdict, Refused)
    assert verdict.reason == told


def test_a_pair_that_changed_since_it_disagreed_is_compared_again() -> None:
    old = at(NOW - 100)
    key = disagreement_key(old, old, "76 10\n")
    record = seen(old, NOW - 100, disagreement=key)
    assert isinstance(judged(record, with_companion(old, at(NOW)), required=True), Ready)


def test_what_is_no_regular_file_any_more_is_refused() -> None:
    look = Look(identity=at(0), companion=None, problem="it is a symbolic link now")
    assert isinstance(judged(seen(at(0), 0.0), look), Refused)


@pytest.mark.parametrize("required", [None, True])
def test_a_name_that_cannot_be_registered_is_refused_once_the_file_is_complete(
    required: bool | None,
) -> None:
    growing = seen(at(NOW - 1), NOW - 1, relative_path="bad\x01.csv")
    assert isinstance(judged(growing, alone(at(NOW)), required=required), NotYet)
    verdict = judged(growing, alone(at(NOW - SETTLE)), required=required)
    assert isinstance(verdict, Refused)
    assert "control character" in verdict.reason
