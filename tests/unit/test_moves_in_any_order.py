"""Whatever happens to a file or a batch, in whatever order, keeps to the rules."""

from __future__ import annotations

from typing import TYPE_CHECKING

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from backupd.core import moves
from backupd.core.errors import DependencyDownError, NoRoomError, PermanentError, RewindError
from backupd.core.stages import ORDER, SINGLE, Stage, Status
from support.files import NOW, POLICY, a_batch, a_file, claimed, claimed_batch, moved, moved_batch
from support.happenings import DONE, ERRORS

if TYPE_CHECKING:
    from backupd.core.records import BatchMove, Move


class AnyLife(RuleBasedStateMachine):
    """One file, to which anything may happen that the workers, a crash or a person can do."""

    def __init__(self) -> None:
        super().__init__()
        self.now = NOW
        self.file = a_file(Stage.MANIFEST)

    def apply(self, move: Move) -> None:
        assert move.detail
        assert move.file is self.file
        self.file = moved(move)

    @rule(seconds=st.floats(0.0, 1e6))
    def time_passes(self, seconds: float) -> None:
        self.now += seconds

    @precondition(lambda self: self.file.status is Status.WAITING and self.file.stage in SINGLE)
    @rule()
    def claim(self) -> None:
        self.file = claimed(self.file)

    @precondition(lambda self: self.file.status is Status.WAITING and self.file.stage not in SINGLE)
    @rule()
    def go_through_settle_or_a_batch(self) -> None:
        self.apply(moves.advance(self.file, DONE, self.now))

    @precondition(lambda self: self.file.status is Status.RUNNING)
    @rule()
    def finish(self) -> None:
        self.apply(moves.advance(self.file, DONE, self.now))

    @precondition(lambda self: self.file.status is Status.RUNNING)
    @rule(error=st.sampled_from(ERRORS))
    def fail(self, error: Exception) -> None:
        before = self.file
        self.apply(moves.failed(self.file, error, self.now, POLICY))
        if isinstance(error, DependencyDownError | NoRoomError):
            assert self.file.attempts == before.attempts - 1
            assert self.file.status is Status.WAITING
        elif isinstance(error, PermanentError):
            assert self.file.status is Status.PARKED
        elif isinstance(error, RewindError):
            assert self.file.stage is error.stage
        else:
            at_limit = before.attempts >= POLICY.attempts
            assert (self.file.status is Status.PARKED) == at_limit

    @precondition(lambda self: self.file.status is Status.RUNNING)
    @rule()
    def stop(self) -> None:
        before = self.file.attempts
        self.apply(moves.given_back(self.file, "stopped", self.now, self.now))
        assert self.file.attempts == before - 1

    @precondition(lambda self: self.file.status is Status.RUNNING)
    @rule()
    def crash(self) -> None:
        before = self.file
        self.apply(moves.interrupted(self.file, self.now, POLICY))
        assert self.file.interruptions == before.interruptions + 1
        suspected = self.now - before.stage_since >= moves.SUSPECTED_AFTER
        assert suspected or self.file.status is Status.WAITING

    @precondition(lambda self: self.file.status in {Status.PARKED, Status.DONE})
    @rule(stage=st.sampled_from(ORDER))
    def requeue(self, stage: Stage) -> None:
        self.apply(moves.requeued(self.file, stage, self.now))
        assert self.file.status is Status.WAITING

    @invariant()
    def counters_are_bounded(self) -> None:
        assert 0 <= self.file.attempts <= POLICY.attempts
        assert self.file.attempts <= self.file.claims
        assert self.file.interruptions >= 0

    @invariant()
    def a_running_file_has_an_attempt_and_is_at_a_stage_that_runs(self) -> None:
        if self.file.status is Status.RUNNING:
            assert self.file.attempts >= 1
            assert self.file.stage in SINGLE

    @invariant()
    def done_means_through_cleanup(self) -> None:
        done = self.file.status is Status.DONE
        assert done == (self.file.done_at is not None)
        assert not done or self.file.stage is Stage.CLEANUP

    @invariant()
    def a_parked_file_says_why(self) -> None:
        assert self.file.status is not Status.PARKED or self.file.reason

    @invariant()
    def no_pause_is_longer_than_the_cap(self) -> None:
        assert self.file.next_attempt_at <= self.now + POLICY.cap


class AnyBatch(RuleBasedStateMachine):
    """One batch, its halves when it is split, and what the ledger makes of its files."""

    def __init__(self) -> None:
        super().__init__()
        self.begin(tuple("abcde"))

    def begin(self, members: tuple[str, ...]) -> None:
        self.batch = a_batch(status=Status.WAITING, attempts=0, claims=0, members=members)
        self.failures = 0  # since it was made, not counting outages and stops

    def apply(self, move: BatchMove) -> None:
        assert move.detail
        if move.parts:
            assert tuple(id_ for part in move.parts for id_ in part) == self.batch.members
            assert move.file_stage is Stage.LOAD
            self.begin(move.parts[0])
            return
        self.batch = moved_batch(move)
        open_ = self.batch.status in {Status.WAITING, Status.RUNNING}
        assert open_ == (self.batch.done_at is None)
        if open_ or self.batch.status is Status.PARKED:
            assert (move.file_stage, move.file_status) == (move.stage, move.status)

    @precondition(lambda self: self.batch.done_at is not None)
    @rule()
    def form_another(self) -> None:
        self.begin(tuple("vwxyz"))

    @precondition(lambda self: self.batch.status is Status.WAITING)
    @rule()
    def claim(self) -> None:
        self.batch = claimed_batch(self.batch)

    @precondition(lambda self: self.batch.status is Status.RUNNING)
    @rule()
    def finish(self) -> None:
        if self.batch.stage is Stage.LOAD:
            self.apply(moves.batch_advanced(self.batch, "memory:b1", NOW))
        else:
            self.apply(moves.batch_merged(self.batch, NOW))

    @precondition(lambda self: self.batch.status is Status.RUNNING)
    @rule(error=st.sampled_from([error for error in ERRORS if not isinstance(error, RewindError)]))
    def fail(self, error: Exception) -> None:
        before = self.batch
        self.apply(moves.batch_failed(self.batch, error, NOW, POLICY))
        if isinstance(error, DependencyDownError):
            assert self.batch.attempts == before.attempts - 1
        else:
            self.failures += 1

    @precondition(
        lambda self: self.batch.status is Status.RUNNING and self.batch.stage is Stage.MERGE
    )
    @rule()
    def lose_what_was_staged(self) -> None:
        self.apply(moves.batch_failed(self.batch, RewindError(Stage.LOAD, "nowhere"), NOW, POLICY))
        self.failures += 1

    @precondition(lambda self: self.batch.status is Status.RUNNING)
    @rule()
    def stop_or_crash(self) -> None:
        self.apply(moves.batch_interrupted(self.batch, NOW, POLICY))

    @invariant()
    def counters_are_bounded(self) -> None:
        assert 0 <= self.batch.attempts <= POLICY.attempts
        assert self.failures <= 2 * POLICY.attempts

    @invariant()
    def a_batch_is_only_ever_at_load_or_merge(self) -> None:
        assert self.batch.stage in {Stage.LOAD, Stage.MERGE}
        assert self.batch.members


TestAnyLife = AnyLife.TestCase
TestAnyBatch = AnyBatch.TestCase
