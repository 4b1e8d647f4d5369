"""Which requeues, holds and releases are right. Pure."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from backupd.core.errors import BackupdError
from backupd.core.moves import NEVER, parked, requeued
from backupd.core.stages import BATCHED, ORDER, Stage, Status

if TYPE_CHECKING:
    from backupd.core.records import FileRecord, Move

HELD = "release"  # what a held file awaits

_REPEATED = {
    Stage.SETTLE: "it is looked at until it is complete, then goes through every stage",
    Stage.MANIFEST: "it is read, counted and hashed again, then goes through every later stage",
    Stage.LOAD: "it goes into a new batch; its row is made only if production lacks it",
    Stage.MERGE: "it goes into a new batch; its row is made only if production lacks it",
    Stage.SHIP: "the archive is looked at first; it is sent only if it is not there",
    Stage.CLEANUP: "its proof is checked anew, then the local copy goes as configured",
}
_NOT_REPEATED = "no second row is made, nothing in the archive is written over"


class RefusedError(BackupdError):
    """The wish is refused; the message says why, the hint what could be done instead."""


def said(stage: Stage) -> str:
    """Say what a requeue from this stage repeats and what not."""
    return f"{_REPEATED[stage]}; {_NOT_REPEATED}"


def plan_requeue(file: FileRecord, wanted: Stage | None, now: float, *, is_there: bool) -> Move:
    """Return the move for a requeue. `is_there`: something stands at the local path.

    Raises RefusedError.
    """
    if file.status in {Status.WAITING, Status.RUNNING}:
        raise RefusedError(f"it is {file.status} at {file.stage}: there is nothing to take back")
    stage = wanted or _own_stage(file, is_there=is_there)
    if file.duplicate_of is not None and stage in {*BATCHED, Stage.SHIP}:
        raise RefusedError(
            f"it is a duplicate of {file.duplicate_of} and has no row or copy of its own",
            hint=f"requeue {file.duplicate_of}",
        )
    if file.status is Status.PARKED and ORDER.index(stage) > ORDER.index(file.stage):
        raise RefusedError(f"it never came past {file.stage}", hint=f"--from {file.stage}")
    if not is_there:
        _refuse_without_local(file, stage)
    elif stage in BATCHED and not file.local and file.row_seen_at is None:
        raise RefusedError(
            "it was never registered, and its path may hold another file by now",
            hint="--from manifest reads what is there",
        )
    # A batch is the unit of a merge: what is taken back from there goes through load again.
    return requeued(file, Stage.LOAD if stage is Stage.MERGE else stage, now)


def plan_hold(file: FileRecord, now: float) -> Move:
    """Return the move that parks a waiting file by hand. Raises RefusedError."""
    if file.status is not Status.WAITING:
        raise RefusedError(f"it is {file.status}: only a waiting file can be held")
    if file.stage in BATCHED and file.batch_id is not None:
        raise RefusedError(
            f"it is in batch {file.batch_id}, whose files move as one",
            hint="hold it when the batch is merged",
        )
    return parked(
        file,
        "held by hand",
        now,
        awaits=HELD,
        trouble=file.trouble,
        next_attempt_at=file.next_attempt_at,
    )


def plan_release(file: FileRecord, now: float) -> Move:
    """Return the move that takes a held file back. Raises RefusedError."""
    if file.status is not Status.PARKED or file.awaits != HELD:
        raise RefusedError("it is not held", hint="`requeue` takes back what is parked")
    move = requeued(file, file.stage, now)
    if file.stage is Stage.CLEANUP and now < file.next_attempt_at < NEVER:
        # Its time to be kept after shipping is not over: it must not go early for having been held.
        kept = {"next_attempt_at": file.next_attempt_at, "awaits": "keep"}
        return replace(move, changes={**move.changes, **kept})
    return move


def _own_stage(file: FileRecord, *, is_there: bool) -> Stage:
    if file.status is Status.PARKED:
        return file.stage
    return Stage.MANIFEST if is_there else Stage.LOAD


def _refuse_without_local(file: FileRecord, stage: Stage) -> None:
    if stage not in BATCHED:
        raise RefusedError(
            f"its local copy is gone: it cannot be taken back from {stage}",
            hint="--from load looks for its row and makes it if it is missing",
        )
    if file.row_seen_at is None:
        raise RefusedError(
            "its local copy is gone and it was never registered", hint="have it delivered again"
        )
