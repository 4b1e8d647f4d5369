"""What load and merge write: batches are formed, claimed and moved whole, members with them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa

from backupd.core.records import Batch, BatchMove, new_id
from backupd.core.stages import Stage, Status
from backupd.ledger import row_count_verbs
from backupd.ledger.feed_shares import first_of_feeds, of_feeds
from backupd.ledger.refresh_verbs import owe
from backupd.ledger.rows import batch_of
from backupd.ledger.schema import batch_members, batches, events, files
from backupd.ledger.statement_verbs import forget_ended

if TYPE_CHECKING:
    from collections.abc import Sequence


@dataclass(frozen=True, slots=True, kw_only=True)
class FormBatch:
    """Ask for one batch: a share for each of the feeds, the rest for who has waited longest."""

    max_files: int
    now: float
    feeds: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class ClaimBatch:
    """Ask for one due batch of a stage."""

    stage: Stage
    now: float


def form_batch(connection: sa.Connection, requests: Sequence[FormBatch]) -> list[str | None]:
    """Make batches; None where no file waits for one. Members are fixed from here on."""
    return [_form(connection, request) for request in requests]


def claim_batch(connection: sa.Connection, claims: Sequence[ClaimBatch]) -> list[Batch | None]:
    """Make a due batch and its members running; count the attempt."""
    return [_claim(connection, item) for item in claims]


def move_batch(connection: sa.Connection, moves: Sequence[BatchMove]) -> list[bool]:
    """Apply each move to the batch and all its members; False for one that lost the race."""
    return [_move(connection, item) for item in moves]


def members_of(connection: sa.Connection, batch_id: str) -> list[str]:
    """Return the file ids of a batch, in order."""
    query = (
        sa.select(batch_members.c.file_id)
        .where(batch_members.c.batch_id == batch_id)
        .order_by(batch_members.c.position)
    )
    return list(connection.execute(query).scalars())


def _form(connection: sa.Connection, request: FormBatch) -> str | None:
    share = max(1, request.max_files // max(1, len(request.feeds)))
    fair = connection.execute(
        _FAIR, of_feeds(request.feeds, share, at_most=request.max_files)
    ).scalars()
    oldest = connection.execute(_OLDEST, {"at_most": request.max_files}).scalars()
    members = [*dict.fromkeys([*fair, *oldest])][: request.max_files]
    return _make(connection, members, request.now) if members else None


def _unbatched(of: sa.FromClause) -> list[sa.ColumnElement[bool]]:
    return [of.c.stage == sa.literal_column("'load'"), of.c.batch_id.is_(None)]


_FAIR = (
    sa.select(files.c.id)
    .where(sa.literal_column("files.rowid").in_(first_of_feeds(_unbatched)))
    .order_by(files.c.stage_since)
)
_OLDEST = (
    sa.select(files.c.id)
    .where(*_unbatched(files), files.c.status == sa.literal_column("'waiting'"))
    .order_by(files.c.stage_since)
    .limit(sa.bindparam("at_most"))
)


def _make(connection: sa.Connection, members: Sequence[str], now: float) -> str:
    batch_id = new_id(now)
    row = {
        "id": batch_id,
        "stage": Stage.LOAD,
        "status": Status.WAITING,
        "reason": "",
        "attempts": 0,
        "interruptions": 0,
        "claims": 0,
        "next_attempt_at": now,
        "created_at": now,
        "done_at": None,
        "staged_at": "",
    }
    connection.execute(sa.insert(batches), row)
    connection.execute(
        sa.insert(batch_members),
        [
            {"batch_id": batch_id, "position": position, "file_id": file_id}
            for position, file_id in enumerate(members)
        ],
    )
    _change_files(connection, batch_id, {"batch_id": batch_id})
    return batch_id


def _claim(connection: sa.Connection, item: ClaimBatch) -> Batch | None:
    due = (
        sa.select(batches.c.id)
        .where(
            batches.c.stage == item.stage,
            batches.c.done_at.is_(None),
            batches.c.status == Status.WAITING,
            batches.c.next_attempt_at <= item.now,
        )
        .order_by(batches.c.next_attempt_at)
        .limit(1)
    )
    statement = (
        sa.update(batches)
        .where(batches.c.id.in_(due))
        .values(
            status=Status.RUNNING,
            attempts=batches.c.attempts + 1,
            claims=batches.c.claims + 1,
        )
        .returning(*batches.c)
    )
    row = connection.execute(statement).one_or_none()
    if row is None:
        return None
    batch = batch_of(row, members_of(connection, row.id))
    running = {"status": Status.RUNNING, "attempts": batch.attempts, "claims": batch.claims}
    _change_files(connection, batch.id, running)
    _record(connection, batch.id, item.now, f"started with batch {batch.id}")
    return batch


def _move(connection: sa.Connection, item: BatchMove) -> bool:
    batch = item.batch
    statement = (
        sa.update(batches)
        .where(
            batches.c.id == batch.id,
            batches.c.stage == batch.stage,
            batches.c.status == batch.status,
            batches.c.claims == batch.claims,
        )
        .values(stage=item.stage, status=item.status, **item.changes)
    )
    if connection.execute(statement).rowcount != 1:
        return False
    changes = {"stage": item.file_stage, "status": item.file_status, **item.file_changes}
    _change_files(connection, batch.id, changes)
    _record(connection, batch.id, item.at, item.detail)
    if item.refresh:
        owe(connection, item.refresh, item.at)
    if item.row_counts:
        row_count_verbs.note(connection, item.row_counts)
    if item.status is not Status.WAITING:
        forget_ended(connection, batch.id)
    for part in item.parts:
        _make(connection, part, item.at)
    return True


def _change_files(connection: sa.Connection, batch_id: str, changes: dict[str, Any]) -> None:
    members = sa.select(batch_members.c.file_id).where(batch_members.c.batch_id == batch_id)
    connection.execute(sa.update(files).where(files.c.id.in_(members)).values(**changes))


def _record(connection: sa.Connection, batch_id: str, now: float, detail: str) -> None:
    """Append one line to the history of every member, saying where it stands."""
    lines = (
        sa.select(
            files.c.id,
            sa.bindparam("at", now, type_=sa.Float),
            files.c.stage,
            files.c.status,
            sa.bindparam("detail", detail, type_=sa.Text),
        )
        .select_from(batch_members.join(files, files.c.id == batch_members.c.file_id))
        .where(batch_members.c.batch_id == batch_id)
        .order_by(batch_members.c.position)
    )
    columns = ["file_id", "at", "stage", "status", "detail"]
    connection.execute(sa.insert(events).from_select(columns, lines))
