"""The legal moves of files and batches, as pure functions from what is to what shall be."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from backupd.core.errors import (
    BackupdError,
    DependencyDownError,
    LocalGoneError,
    NoRoomError,
    PermanentError,
    RewindError,
    WorkerDiedError,
)
from backupd.core.incidents import NO_ROOM, likeness
from backupd.core.records import Batch, BatchMove, FileRecord, Move, Result
from backupd.core.stages import UNSHIPPED, Awaits, Stage, Status, following

if TYPE_CHECKING:
    from collections.abc import Callable

FRESH: dict[str, Any] = {
    "reason": "",
    "trouble": "",
    "attempts": 0,
    "interruptions": 0,
    "claims": 0,
    "awaits": Awaits.NOTHING,
    "proven_at": None,
}
VANISHED = "vanished before it was shipped"  # why a file is parked that was not at its path
REPLACED = "another thing than a regular file stands in its place"
NEVER = float("inf")  # due only when something else wakes it
ROOM_PAUSE = 60.0  # seconds, about, until a file is tried again that was too large

# A killed process is weaker evidence against a file than a failure: the kill may have come from
# outside, and such kills come many at a time, with every one of them hitting a file that takes
# long. So it takes this many times more interruptions than failures until a file is parked, and
# never happens before it has been in its stage for an hour.
INTERRUPTIONS_PER_ATTEMPT = 2
SUSPECTED_AFTER = 3600.0  # seconds


@dataclass(frozen=True, kw_only=True, slots=True)
class RetryPolicy:
    """Pauses between attempts, in seconds, and how many attempts there are.

    `jitter` gives a factor for each pause, so that what failed together does not return together.
    """

    first: float
    cap: float
    attempts: int
    jitter: Callable[[], float]

    def pause(self, attempt: int) -> float:
        """Return the pause after the `attempt`-th failure (from 1)."""
        doublings = min(attempt - 1, 60)  # beyond, the float overflows and the cap holds anyway
        return float(min(self.cap, self.first * 2.0**doublings)) * self.jitter()


def explained(error: BaseException) -> str:
    r"""Return an error as a text for the operator, with its hint. It can always be written down.

    A server's answer may hold bytes that are no text; they show as `\udcNN`.
    """
    if not isinstance(error, BackupdError):
        text = f"unexpected error: {type(error).__name__}: {error}"
    else:
        text = f"{error} ({error.hint})" if error.hint else str(error)
    return text.encode("utf-8", "backslashreplace").decode("utf-8")


def advance(file: FileRecord, result: Result, now: float) -> Move:
    """The stage is finished: the next one is owed, or the file is done."""
    stage = following(file.stage)
    changes = _entered(now) | dict(result.changes)
    status = Status.WAITING
    if stage is None:
        stage, status = file.stage, Status.DONE
        changes |= {"done_at": now}
    return Move(
        file=file,
        stage=stage,
        status=status,
        changes=changes,
        at=now,
        detail=result.detail,
        receipt=result.receipt,
    )


def failed(file: FileRecord, error: BaseException, now: float, policy: RetryPolicy) -> Move:
    """The stage did not finish: the kind of the error decides what becomes of the file."""
    match error:
        case DependencyDownError():
            return given_back(file, explained(error), now, due=now + policy.pause(1))
        case WorkerDiedError():
            return interrupted(file, now, policy)
        case RewindError():
            return _rewound(file, error, now)
        case NoRoomError():
            due = now + min(ROOM_PAUSE, policy.cap) * policy.jitter()
            return given_back(file, explained(error), now, due, awaits=Awaits.ROOM, trouble=NO_ROOM)
        case PermanentError():
            gone = {"local": False} if isinstance(error, LocalGoneError) else {}
            return parked(file, explained(error), now, **gone)
    return _failed_once_more(file, explained(error), now, policy)


def _failed_once_more(file: FileRecord, reason: str, now: float, policy: RetryPolicy) -> Move:
    if file.attempts >= policy.attempts:
        return parked(file, f"gave up after {file.attempts} attempts: {reason}", now)
    due = now + policy.pause(file.attempts)
    return _again(file, reason, now, attempts=file.attempts, due=due)


def given_back(file: FileRecord, reason: str, now: float, due: float, **changes: object) -> Move:
    """It was not the file's fault: it waits as before, and the attempt does not count."""
    move = _again(file, reason, now, attempts=file.attempts - 1, due=due)
    return replace(move, changes={**move.changes, **changes})


def interrupted(file: FileRecord, now: float, policy: RetryPolicy) -> Move:
    """The process ended while the file was running. The first time it goes on at once."""
    count = file.interruptions + 1
    if _ends_the_process(count, now - file.stage_since, policy):
        reason = f"the process ended {count} times in a row while this file was at {file.stage}"
        return parked(file, reason, now, interruptions=count)
    pause = policy.pause(count - 1) if count > 1 else 0.0
    reason = f"interrupted: the process ended while it was at {file.stage}"
    move = _again(file, reason, now, attempts=file.attempts - 1, due=now + pause)
    return replace(move, changes={**move.changes, "interruptions": count})


def parked(file: FileRecord, reason: str, now: float, **changes: object) -> Move:
    """A person has to look at it."""
    names = (file.path, file.relative_path, file.file_name, file.archive_name or "", file.id)
    trouble = likeness(reason, names)
    return Move(
        file=file,
        stage=file.stage,
        status=Status.PARKED,
        changes={
            "reason": reason,
            "trouble": trouble,
            "next_attempt_at": now,
            "awaits": Awaits.NOTHING,
            "proven_at": None,
        }
        | changes,
        at=now,
        detail=reason,
    )


def closed(file: FileRecord, reason: str, now: float, **changes: object) -> Move:
    """It never goes on: it is done without having gone through every stage, and without a proof.

    The reason stays with it, and `claims` goes on counting should it be taken back.
    """
    return Move(
        file=file,
        stage=Stage.CLEANUP,
        status=Status.DONE,
        changes=_entered(now) | {"reason": reason, "done_at": now, "claims": file.claims} | changes,
        at=now,
        detail=reason,
    )


def requeued(file: FileRecord, stage: Stage, now: float) -> Move:
    """A person puts it back: it starts `stage` as if it came there for the first time.

    Up to merge the batch is given up, so that a new one is formed; `claims` goes on counting,
    so that temporary names are never used twice.
    """
    # Its trouble is over when it comes to the next stage, not because someone hopes so.
    changes = _entered(now) | {"claims": file.claims, "done_at": None, "trouble": file.trouble}
    if stage not in {*UNSHIPPED, Stage.CLEANUP}:
        changes |= {"batch_id": None}
    if stage in {Stage.SETTLE, Stage.MANIFEST}:
        changes |= {"duplicate_of": None, "disagreement": None}
    return Move(
        file=file,
        stage=stage,
        status=Status.WAITING,
        changes=changes,
        at=now,
        detail=f"requeued by hand from {stage}",
    )


def batch_advanced(batch: Batch, staged_at: str, now: float) -> BatchMove:
    """Its rows are staged: merge is owed."""
    # What was staged before came back from merge: its attempts go on counting, or load and merge
    # could send a batch to and fro for ever.
    attempts = batch.attempts - 1 if batch.staged_at else 0
    fresh = {"reason": "", "attempts": attempts, "interruptions": 0, "next_attempt_at": now}
    return BatchMove(
        batch=batch,
        stage=Stage.MERGE,
        status=Status.WAITING,
        file_stage=Stage.MERGE,
        file_status=Status.WAITING,
        changes={**fresh, "staged_at": staged_at},
        file_changes=_entered(now),
        at=now,
        detail=f"staged at {staged_at}",
    )


def batch_merged(batch: Batch, now: float) -> BatchMove:
    """Its rows were seen in production: the batch is done, its files go on."""
    return BatchMove(
        batch=batch,
        stage=Stage.MERGE,
        status=Status.DONE,
        file_stage=UNSHIPPED[0],
        file_status=Status.WAITING,
        changes={"reason": "", "done_at": now},
        file_changes={**_entered(now), "row_seen_at": now},
        at=now,
        detail=f"row seen in production (batch {batch.id})",
    )


def batch_failed(batch: Batch, error: BaseException, now: float, policy: RetryPolicy) -> BatchMove:
    """A load or merge did not finish: the kind of the error decides."""
    if isinstance(error, DependencyDownError):
        return batch_given_back(batch, explained(error), now, due=now + policy.pause(1))
    if isinstance(error, PermanentError):
        return _batch_refused(batch, explained(error), now)
    if batch.attempts >= policy.attempts:
        reason = f"gave up after {batch.attempts} attempts: {explained(error)}"
        # What nobody foresaw may well be one file's content; what was foreseen is not.
        give_up = _batch_parked if isinstance(error, BackupdError) else _batch_refused
        return give_up(batch, reason, now)
    due = now + policy.pause(batch.attempts)
    if isinstance(error, RewindError):
        return _batch_rewound(batch, error, now, due)
    return _batch_again(batch, explained(error), now, attempts=batch.attempts, due=due)


def batch_given_back(batch: Batch, reason: str, now: float, due: float) -> BatchMove:
    """It was not the batch's fault: it waits as before, and the attempt does not count."""
    return _batch_again(batch, reason, now, attempts=batch.attempts - 1, due=due)


def batch_interrupted(batch: Batch, now: float, policy: RetryPolicy) -> BatchMove:
    """The process ended while the batch was running."""
    count = batch.interruptions + 1
    if _ends_the_process(count, now - batch.created_at, policy):
        reason = f"the process ended {count} times in a row while it was at {batch.stage}"
        return _batch_refused(batch, reason, now)
    pause = policy.pause(count - 1) if count > 1 else 0.0
    reason = f"interrupted: the process ended while it was at {batch.stage}"
    move = _batch_again(batch, reason, now, attempts=batch.attempts - 1, due=now + pause)
    return replace(move, changes={**move.changes, "interruptions": count})


def _ends_the_process(interruptions: int, seconds: float, policy: RetryPolicy) -> bool:
    """Return whether so many interruptions in so long a time are held against what was at work."""
    many = interruptions >= policy.attempts * INTERRUPTIONS_PER_ATTEMPT
    return many and seconds >= SUSPECTED_AFTER


def _again(file: FileRecord, reason: str, now: float, *, attempts: int, due: float) -> Move:
    return Move(
        file=file,
        stage=file.stage,
        status=Status.WAITING,
        changes={
            "reason": reason,
            "attempts": max(attempts, 0),
            "next_attempt_at": due,
            "proven_at": None,
        },
        at=now,
        detail=reason,
    )


def _rewound(file: FileRecord, error: RewindError, now: float) -> Move:
    changes = _entered(now) | {"reason": explained(error)}
    return Move(
        file=file,
        stage=error.stage,
        status=Status.WAITING,
        changes=changes | dict(error.changes),
        at=now,
        detail=explained(error),
    )


def _batch_again(batch: Batch, reason: str, now: float, *, attempts: int, due: float) -> BatchMove:
    changes = {"reason": reason, "attempts": max(attempts, 0), "next_attempt_at": due}
    return BatchMove(
        batch=batch,
        stage=batch.stage,
        status=Status.WAITING,
        file_stage=batch.stage,
        file_status=Status.WAITING,
        changes=changes,
        file_changes=changes,
        at=now,
        detail=reason,
    )


def _batch_rewound(batch: Batch, error: RewindError, now: float, due: float) -> BatchMove:
    changes = {"reason": explained(error), "next_attempt_at": due}
    return BatchMove(
        batch=batch,
        stage=error.stage,
        status=Status.WAITING,
        file_stage=error.stage,
        file_status=Status.WAITING,
        changes=changes,
        file_changes=changes | {"stage_since": now},
        at=now,
        detail=explained(error),
    )


def _batch_refused(batch: Batch, reason: str, now: float) -> BatchMove:
    """Something in it is at fault: halve it until the culprit is alone."""
    if len(batch.members) == 1:
        return _batch_parked(batch, reason, now)
    middle = len(batch.members) // 2
    return BatchMove(
        batch=batch,
        stage=batch.stage,
        status=Status.DONE,
        file_stage=Stage.LOAD,
        file_status=Status.WAITING,
        changes={"reason": f"split: {reason}", "done_at": now},
        file_changes=_entered(now),
        at=now,
        detail=f"its batch was split: {reason}",
        parts=(batch.members[:middle], batch.members[middle:]),
    )


def _batch_parked(batch: Batch, reason: str, now: float) -> BatchMove:
    return BatchMove(
        batch=batch,
        stage=batch.stage,
        status=Status.PARKED,
        file_stage=batch.stage,
        file_status=Status.PARKED,
        changes={"reason": reason, "done_at": now},
        file_changes={
            "reason": reason,
            "trouble": likeness(reason, [batch.id, *batch.members]),
            "next_attempt_at": now,
        },
        at=now,
        detail=reason,
    )


def _entered(now: float) -> dict[str, Any]:
    """Return what a file looks like that has just come into a stage."""
    return {**FRESH, "stage_since": now, "next_attempt_at": now}
