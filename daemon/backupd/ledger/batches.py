"""Batches: formed, claimed and moved whole, members with them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa

from backupd.core.records import Batch, BatchMove, new_id
from backupd.core.stages import BATCHED, Stage, Status
from backupd.ledger.feed_shares import first_of_feeds, of_feeds
from backupd.ledger.hive_memory import forget_ended_statement, note_row_counts, owe_refresh
from backupd.ledger.rows import batch_of, found_among, in_chunks, time_or_none
from backupd.ledger.schema import WAITING, batch_members, batches, events, files, in_history

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence


# So that SQLite does not go through all the batches that there ever were.
_IN_A_STAGE = batches.c.stage.in_([sa.literal_column(f"'{stage}'") for stage in BATCHED])


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
        owe_refresh(connection, item.refresh, item.at)
    if item.row_counts:
        note_row_counts(connection, item.row_counts)
    if item.status is not Status.WAITING:
        forget_ended_statement(connection, batch.id)
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


def batch(connection: sa.Connection, batch_id: str) -> Batch | None:
    """Return a batch; None where there is none of this id."""
    row = connection.execute(sa.select(batches).where(batches.c.id == batch_id)).one_or_none()
    return batch_of(row, members_of(connection, batch_id)) if row else None


def has_lost_members(connection: sa.Connection, batch_id: str) -> bool:
    """Return whether some of a batch's files left the ledger, as far as they leave a gap."""
    query = sa.select(sa.func.count(), sa.func.max(batch_members.c.position)).where(
        batch_members.c.batch_id == batch_id
    )
    number, last = connection.execute(query).one()
    return number > 0 and bool(last + 1 > number)


def known(connection: sa.Connection, batch_ids: Iterable[str]) -> set[str]:
    """Return which of these ids are batches'."""
    return found_among(connection, batches.c.id, batch_ids)


def open_batches(connection: sa.Connection) -> list[str]:
    """Return the ids of the batches that are not done: these may be many, with many members."""
    query = sa.select(batches.c.id).where(batches.c.done_at.is_(None), _IN_A_STAGE)
    return list(connection.execute(query).scalars())


def running_batches(connection: sa.Connection) -> list[Batch]:
    """Return the batches that are running: one a stage."""
    query = sa.select(batches).where(
        batches.c.done_at.is_(None), _IN_A_STAGE, batches.c.status == Status.RUNNING
    )
    rows = connection.execute(query).all()
    return [batch_of(row, members_of(connection, row.id)) for row in rows]


def previously_batched(connection: sa.Connection, file_ids: Sequence[str], but: str) -> set[str]:
    """Return which of these files may have got their row from another batch than `but`.

    They were a member of it, or another file was that has the same row; or one of these left for
    the history and came back: its batches are forgotten.
    """
    alike = files.alias("alike")
    found: set[str] = set()
    for some in in_chunks(file_ids):
        query = (
            sa.select(files.c.id)
            .join(alike, alike.c.row_id == files.c.row_id)
            .where(files.c.id.in_(some))
        )
        members = query.join(batch_members, batch_members.c.file_id == alike.c.id)
        was_in = members.where(batch_members.c.batch_id != but)
        came_back = query.join(in_history, in_history.c.file_id == alike.c.id)
        found.update(connection.execute(was_in).scalars())
        found.update(connection.execute(came_back).scalars())
    return found


def next_due_batch(connection: sa.Connection, stage: Stage) -> float | None:
    """Return when the next waiting batch of a stage is due; None where none waits."""
    query = sa.select(sa.func.min(batches.c.next_attempt_at)).where(
        batches.c.stage == stage, batches.c.done_at.is_(None), batches.c.status == Status.WAITING
    )
    return time_or_none(connection.execute(query).scalar_one())


def next_batch(
    connection: sa.Connection, max_files: int, ahead: int, now: float
) -> tuple[int, float | None]:
    """Return what `unbatched` does; no file as long as so many batches are at hand for load."""
    if loads_at_hand(connection, now) >= ahead:
        return 0, None
    return unbatched(connection, max_files)


def loads_at_hand(connection: sa.Connection, now: float) -> int:
    """Count the batches in load, without those that failed and are not due again yet."""
    query = sa.select(sa.func.count()).where(
        batches.c.stage == Stage.LOAD,
        batches.c.done_at.is_(None),
        batches.c.status.in_([Status.WAITING, Status.RUNNING]),
        sa.or_(batches.c.attempts == 0, batches.c.next_attempt_at <= now),
    )
    return int(connection.execute(query).scalar_one())


def unbatched(connection: sa.Connection, limit: int) -> tuple[int, float | None]:
    """Return how many files wait for a batch (counted up to `limit`), and since when the oldest."""
    waiting = (
        sa.select(files.c.stage_since)
        .where(
            files.c.stage == sa.literal_column("'load'"),
            files.c.status == WAITING,
            files.c.batch_id.is_(None),
        )
        .order_by(files.c.stage_since)
        .limit(limit)
    ).subquery()
    query = sa.select(sa.func.count(), sa.func.min(waiting.c.stage_since))
    number, oldest = connection.execute(query).one()
    return number, oldest
