"""What a person wants done with files, and which of it is right. Pure."""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import StrEnum
from typing import TYPE_CHECKING, Any, Self

from backupd.core.errors import BackupdError
from backupd.core.moves import NEVER, closed, parked, requeued
from backupd.core.names import escaped
from backupd.core.stages import BATCHED, FACTS, ORDER, UNSHIPPED, Awaits, Stage, Status

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from backupd.core.records import FileRecord, Move


class Action(StrEnum):
    """What to do."""

    REQUEUE = "requeue"
    HOLD = "hold"
    RELEASE = "release"
    DISMISS = "dismiss"


@dataclass(frozen=True, slots=True, kw_only=True)
class FileRequest:
    """What to do with files."""

    action: Action
    stage: Stage | None = None  # requeue from here
    dry_run: bool = False
    why: str = ""  # dismiss for this reason

    @classmethod
    def of(cls, message: Mapping[str, Any]) -> Self:
        """Return the request of a message. Raises ValueError or KeyError where it is none."""
        return cls(
            action=Action(message["verb"]),
            stage=Stage(message["from"]) if message.get("from") else None,
            dry_run=bool(message.get("dry_run")),
            why=str(message.get("why", "")),
        )

    def message(self, ids: Sequence[str]) -> dict[str, Any]:
        """Return the message that asks the daemon for it."""
        request = {"verb": self.action, "ids": list(ids)}
        return request | {"from": self.stage, "dry_run": self.dry_run, "why": self.why}


_NOT_REPEATED = "no second row is made, nothing in the archive is written over"


class RefusedError(BackupdError):
    """A request is refused: the message says why, the hint names a command that is accepted."""


def said(stage: Stage) -> str:
    """Say what a requeue from this stage repeats and what not."""
    return f"{FACTS[stage].repeats}; {_NOT_REPEATED}"


def plan_requeue(file: FileRecord, wanted: Stage | None, now: float, *, is_there: bool) -> Move:
    """Return the move for a requeue. `is_there`: something stands at the local path.

    Raises RefusedError.
    """
    stage = wanted or _own_stage(file, is_there=is_there)
    if reason := _why_not(file, stage, is_there=is_there):
        raise RefusedError(reason, hint=way_out(file, is_there=is_there))
    # A batch is the unit of a merge: what is taken back from there goes through load again.
    return requeued(file, Stage.LOAD if stage is Stage.MERGE else stage, now)


def way_out(file: FileRecord, *, is_there: bool) -> str:
    """Return a command that is not refused for this file as it stands, and what it does."""
    if file.status in {Status.WAITING, Status.RUNNING}:
        return f"it goes on by itself: backupd-admin show {file.id}"
    if file.status is Status.PARKED and file.awaits is Awaits.RELEASE:
        return f"take it back: backupd-admin release {file.id}"
    own = _own_stage(file, is_there=is_there)
    for stage in (own, Stage.MANIFEST, Stage.LOAD):
        if _why_not(file, stage, is_there=is_there) is None:
            start = "" if stage is own else f" --from {stage}"
            return f"take it back: backupd-admin requeue {file.id}{start}"
    if file.status is Status.PARKED:
        again = "have it delivered again, or " if not is_there else ""
        return f'{again}close it: backupd-admin dismiss {file.id} --why "..."'
    return f"see what became of it: backupd-admin show {file.duplicate_of or file.id}"


def _why_not(file: FileRecord, stage: Stage, *, is_there: bool) -> str | None:
    """Return why the file cannot be taken back from a stage; None: it can."""
    registered = file.row_seen_at is not None
    if file.status in {Status.WAITING, Status.RUNNING}:
        return f"it is {file.status} at {file.stage}: there is nothing to take back"
    if file.duplicate_of is not None and stage in {*BATCHED, *UNSHIPPED}:
        return f"it is a duplicate of {file.duplicate_of} and has no row or copy of its own"
    if _never_came_to(file, stage) and (is_there or not registered or stage not in BATCHED):
        return f"it never came past {file.stage}"
    if not registered and (reason := _why_unregistered(file, stage, is_there=is_there)):
        return reason
    if stage not in BATCHED and not is_there and not _only_ends(file, stage):
        return f"its local copy is gone: it cannot be taken back from {stage}"
    return None


def _why_unregistered(file: FileRecord, stage: Stage, *, is_there: bool) -> str | None:
    """Return why a file that was never registered cannot be taken back from a stage."""
    if file.is_closed and stage not in {Stage.SETTLE, Stage.MANIFEST}:
        return "it was closed before it was registered"
    if stage in BATCHED and not is_there:
        return "its local copy is gone and it was never registered"
    if stage in BATCHED and not file.local:
        return "it was never registered, and its path may hold another file by now"
    return None


def _never_came_to(file: FileRecord, stage: Stage) -> bool:
    return file.status is Status.PARKED and ORDER.index(stage) > ORDER.index(file.stage)


def _only_ends(file: FileRecord, stage: Stage) -> bool:
    """Cleanup was all that it was owed, and finds nothing left to remove."""
    return file.status is Status.PARKED and file.stage is stage is Stage.CLEANUP


def plan_dismiss(file: FileRecord, why: str, now: float) -> Move:
    """Return the move that closes a parked file for good. Raises RefusedError.

    Its path stays its own where it is: else the next scan would take the same file anew.
    """
    if not why.strip():
        raise RefusedError("say why it is dismissed: that is told for as long as it is known")
    if file.status is not Status.PARKED:
        raise RefusedError(
            f"it is {file.status} at {file.stage}: only a parked file can be dismissed",
            hint=_way_to_park(file),
        )
    return closed(file, f"dismissed by hand: {escaped(why.strip())}", now)


def _way_to_park(file: FileRecord) -> str:
    if file.status is Status.WAITING and not _is_in_batch(file):
        return f"park it first: backupd-admin hold {file.id}"
    return f"see where it stands: backupd-admin show {file.id}"


def _is_in_batch(file: FileRecord) -> bool:
    return file.stage in BATCHED and file.batch_id is not None


def plan_hold(file: FileRecord, now: float) -> Move:
    """Return the move that parks a waiting file by hand. Raises RefusedError."""
    if file.status is not Status.WAITING:
        raise RefusedError(
            f"it is {file.status}: only a waiting file can be held",
            hint=f"see where it stands: backupd-admin show {file.id}",
        )
    if _is_in_batch(file):
        raise RefusedError(
            f"it is in batch {file.batch_id}, whose files move as one",
            hint=f"hold it when the batch is merged: backupd-admin batch {file.batch_id}",
        )
    return parked(
        file,
        "held by hand",
        now,
        awaits=Awaits.RELEASE,
        trouble=file.trouble,
        next_attempt_at=file.next_attempt_at,
    )


def plan_release(file: FileRecord, now: float, *, is_there: bool) -> Move:
    """Return the move that takes a held file back. Raises RefusedError."""
    if file.status is not Status.PARKED or file.awaits is not Awaits.RELEASE:
        raise RefusedError("it is not held", hint=way_out(file, is_there=is_there))
    move = requeued(file, file.stage, now)
    if file.stage is Stage.CLEANUP and now < file.next_attempt_at < NEVER:
        # Its time to be kept after shipping is not over: it must not go early for having been held.
        kept = {"next_attempt_at": file.next_attempt_at, "awaits": Awaits.KEEP}
        return replace(move, changes={**move.changes, **kept})
    return move


def _own_stage(file: FileRecord, *, is_there: bool) -> Stage:
    if file.status is Status.PARKED:
        return file.stage
    return Stage.MANIFEST if is_there else Stage.LOAD
