"""The verbs of a person: the daemon applies them when asked, the admin itself when none runs."""

from __future__ import annotations

import asyncio
import os
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from backupd.completeness.dates import day_text
from backupd.control import requests
from backupd.control.requests import Action
from backupd.core.errors import BackupdError
from backupd.core.incidents import OF_COMPLETENESS, lack_cause
from backupd.core.names import escaped
from backupd.core.places import mark_in
from backupd.core.times import iso
from backupd.ledger import files as ledger_files

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from backupd.completeness.judging import Excuse
    from backupd.control.requests import FileRequest
    from backupd.core.records import FileRecord, Move
    from backupd.core.snapshots import LastSnapshot, Shipped
    from backupd.core.stages import Stage
    from backupd.ledger import Ledger

_AT_ONCE = 500


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What became of the request for one file."""

    id: str
    path: str  # escaped, for people
    done: bool
    text: str


async def carry_out(
    ledger: Ledger, request: FileRequest, ids: Sequence[str], now: float
) -> list[Answer]:
    """Do with these files what is requested; return what became of each."""
    match request.action:
        case Action.REQUEUE:
            return await requeue(ledger, ids, request.stage, now, dry_run=request.dry_run)
        case Action.HOLD:
            return await hold(ledger, ids, now)
        case Action.RELEASE:
            return await release(ledger, ids, now)
        case Action.DISMISS:
            return await dismiss(ledger, ids, request.why, now)


async def requeue(
    ledger: Ledger, ids: Sequence[str], stage: Stage | None, now: float, *, dry_run: bool
) -> list[Answer]:
    """Put files back; with `dry_run` only say what would be done."""

    def plan(file: FileRecord) -> tuple[Move, str]:
        move = requests.plan_requeue(file, stage, now, is_there=os.path.lexists(file.path))
        would = "would be requeued" if dry_run else "requeued"
        return move, f"{would} from {stage or move.stage}: {requests.said(move.stage)}"

    return await _apply(ledger, ids, plan, dry_run=dry_run)


async def hold(ledger: Ledger, ids: Sequence[str], now: float) -> list[Answer]:
    """Park waiting files by hand."""
    return await _apply(ledger, ids, lambda file: (requests.plan_hold(file, now), "held"))


async def release(ledger: Ledger, ids: Sequence[str], now: float) -> list[Answer]:
    """Take held files back."""

    def plan(file: FileRecord) -> tuple[Move, str]:
        is_there = os.path.lexists(file.path)
        return requests.plan_release(file, now, is_there=is_there), "released"

    return await _apply(ledger, ids, plan)


async def dismiss(ledger: Ledger, ids: Sequence[str], why: str, now: float) -> list[Answer]:
    """Close parked files for good."""

    def plan(file: FileRecord) -> tuple[Move, str]:
        move = requests.plan_dismiss(file, why, now)
        return move, f"{move.detail}; done without proof, nothing was removed"

    return await _apply(ledger, ids, plan)


async def remember_place(ledger: Ledger, name: str, mark: str, now: float) -> None:
    """Record the mark of a place, as the one that this ledger means from now on.

    Raises BackupdError for what is not a valid mark.
    """
    if mark_in(mark.encode()) != mark:
        raise BackupdError(f"{escaped(mark)} is not a valid mark of a place: 32 hex digits are")
    await ledger.remember_place(name, mark, now)


async def excuse(ledger: Ledger, said: Excuse) -> None:
    """Write down what will never come, and end the incidents of a date that is excused whole.

    Where some numbers are excused, whoever judges the feed ends them, or says what is left.
    """
    await ledger.past.excuse(said)
    if said.low is None:
        date = day_text(said.day)
        causes = [lack_cause(kind, said.feed, date) for kind in sorted(OF_COMPLETENESS)]
        await ledger.close_incidents(causes, said.at)


def nothing_shipped() -> BackupdError:
    """Say why there is no snapshot in the archive."""
    return BackupdError(
        "nothing is shipped in dev, and no snapshot either",
        hint="backupd-admin backup --to FILE makes one on this host",
    )


def described(made: LastSnapshot, shipped: Shipped) -> dict[str, Any]:
    """Return a new snapshot as JSON has it."""
    return {
        "snapshot": made.name,
        "taken_at": iso(made.at),
        "sent_bytes": shipped.sent_bytes,
        "sha256": shipped.sha256,
        "kept_more": shipped.kept_more,
    }


async def _apply(
    ledger: Ledger,
    ids: Sequence[str],
    plan: Callable[[FileRecord], tuple[Move, str]],
    *,
    dry_run: bool = False,
) -> list[Answer]:
    answers: list[Answer] = []
    for start in range(0, len(ids), _AT_ONCE):
        files = await ledger.ask(ledger_files.by_ids, ids[start : start + _AT_ONCE])
        planned = await asyncio.to_thread(_plan_all, plan, files)
        moves = [move for _, move in planned if move is not None and not dry_run]
        applied = dict(zip((move.file.id for move in moves), await ledger.move(moves), strict=True))
        answers += [
            _lost(answer) if not applied.get(answer.id, True) else answer for answer, _ in planned
        ]
    return answers


def _plan_all(
    plan: Callable[[FileRecord], tuple[Move, str]], files: Sequence[FileRecord]
) -> list[tuple[Answer, Move | None]]:
    return [_plan(plan, file) for file in files]


def _plan(
    plan: Callable[[FileRecord], tuple[Move, str]], file: FileRecord
) -> tuple[Answer, Move | None]:
    path = escaped(file.path)
    try:
        move, text = plan(file)
    except requests.RefusedError as error:
        hint = f" ({error.hint})" if error.hint else ""
        return Answer(id=file.id, path=path, done=False, text=f"refused: {error}{hint}"), None
    return Answer(id=file.id, path=path, done=True, text=text), move


def _lost(answer: Answer) -> Answer:
    text = "refused: it moved on at this very moment; look at it again"
    return Answer(id=answer.id, path=answer.path, done=False, text=text)
