"""Files: claimed, moved, and asked for by who works on them.

Each change takes many items at once and answers for each of them. Every move is a compare-and-swap
on (stage, status, claims, batch): it is applied only where the file still stands as the mover saw
it.
"""

from __future__ import annotations

import json
from collections import defaultdict
from dataclasses import dataclass, replace
from functools import cache
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa

from backupd.core.moves import requeued
from backupd.core.records import Event, FileRecord
from backupd.core.stages import BATCHED, ORDER, UNSHIPPED, Awaits, Stage, Status
from backupd.ledger.engine import Prepared
from backupd.ledger.feed_shares import first_of_feeds, of_feeds
from backupd.ledger.rows import (
    file_of,
    file_values,
    found_among,
    in_chunks,
    receipt_row,
    time_or_none,
)
from backupd.ledger.schema import DONE, WAITING, events, files, receipts
from backupd.ledger.stories import with_receipt

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping, Sequence

    from backupd.core.records import Move


@dataclass(frozen=True, slots=True, kw_only=True)
class Claim:
    """Ask for up to `limit` due files of a stage, up to `each` of a feed, oldest due time first."""

    stage: Stage
    limit: int
    now: float
    feeds: tuple[str, ...]  # those of the config that are not paused
    each: int


def move(connection: sa.Connection, moves: Sequence[Move]) -> list[bool]:
    """Apply moves, each with its event and receipt; False for one that lost the race."""
    applied = [False] * len(moves)
    for places in _alike(moves).values():
        for place, done in zip(places, _swap(connection, [moves[i] for i in places]), strict=True):
            applied[place] = done
    happened = [item for item, done in zip(moves, applied, strict=True) if done]
    _file_receipts(connection, happened)
    record(connection, (event_of_move(item) for item in happened if item.detail))
    _wake_duplicates(connection, happened)
    return applied


def nothing(_: sa.Connection, items: Sequence[None]) -> Sequence[None]:
    """Change nothing: the answer says that the writer works."""
    return items


def claim(connection: sa.Connection, claims: Sequence[Claim]) -> list[list[FileRecord]]:
    """Make due files running and count the attempt, before any work is done on them."""
    return [_claim(connection, item) for item in claims]


def record(connection: sa.Connection, happened: Iterable[Event]) -> None:
    """Append to the history."""
    rows = [vars(event) for event in happened]
    if rows:
        _RECORD.run_all(connection, rows)


_EVENT = ("file_id", "at", "stage", "status", "detail")
_RECORD = Prepared(sa.insert(events).values({name: sa.bindparam(name) for name in _EVENT}))


def event_of_move(item: Move) -> Event:
    """Return the line of history that a move leaves."""
    return Event(
        file_id=item.file.id,
        at=item.at,
        stage=item.stage,
        status=item.status,
        detail=item.detail,
    )


def _alike(moves: Sequence[Move]) -> dict[tuple[str, ...], list[int]]:
    """Group moves by the columns that they set, so that each group is one executemany."""
    groups: defaultdict[tuple[str, ...], list[int]] = defaultdict(list)
    for place, item in enumerate(moves):
        groups[tuple(sorted(item.changes))].append(place)
    return groups


def _swap(connection: sa.Connection, moves: Sequence[Move]) -> list[bool]:
    swap = _swap_statement(tuple(sorted(moves[0].changes)))
    rows = [_swap_values(item) for item in moves]
    savepoint = connection.begin_nested()
    if swap.run_all(connection, rows).rowcount == len(moves):
        savepoint.commit()
        return [True] * len(moves)
    # The count of an executemany is a sum: go one by one to learn which of them lost.
    savepoint.rollback()
    return [swap.run(connection, row).rowcount == 1 for row in rows]


@cache
def _swap_statement(columns: tuple[str, ...]) -> Prepared:
    """Return the statement that sets these columns."""
    values = {name: sa.bindparam(f"to_{name}", type_=files.c[name].type) for name in columns}
    update = (
        sa.update(files)
        .where(
            files.c.id == sa.bindparam("if_id"),
            files.c.stage == sa.bindparam("if_stage"),
            files.c.status == sa.bindparam("if_status"),
            files.c.claims == sa.bindparam("if_claims"),
            files.c.batch_id.is_not_distinct_from(sa.bindparam("if_batch_id")),
        )
        .values(stage=sa.bindparam("to_stage"), status=sa.bindparam("to_status"), **values)
    )
    return Prepared(update)


def _swap_values(item: Move) -> dict[str, Any]:
    values = {f"to_{name}": value for name, value in file_values(item.changes).items()}
    return values | {
        "if_id": item.file.id,
        "if_stage": item.file.stage,
        "if_status": item.file.status,
        "if_claims": item.file.claims,
        "if_batch_id": item.file.batch_id,
        "to_stage": item.stage,
        "to_status": item.status,
    }


def _file_receipts(connection: sa.Connection, moves: Iterable[Move]) -> None:
    rows = [receipt_row(item.receipt) for item in moves if item.receipt is not None]
    if rows:
        _FILE_RECEIPT.run_all(connection, rows)


_FILE_RECEIPT = Prepared(sa.insert(receipts).prefix_with("OR REPLACE"))


def _wake_duplicates(connection: sa.Connection, moves: Iterable[Move]) -> None:
    """A file is done, or its content is lost: the duplicates that waited for it may go on."""
    items = list(moves)
    ended = [item for item in items if item.status is Status.DONE]
    closed = [item for item in ended if item.changes.get("reason")]
    lost = _without_proof(connection, closed) if closed else {}
    lost |= {item.file.id: item.at for item in items if _lost_its_content(item)}
    _free_duplicates(connection, lost)
    originals = [
        {"first": item.file.id, "now": item.at} for item in ended if item.file.id not in lost
    ]
    if originals:
        _WAKE_DUPLICATES.run_all(connection, originals)


def _lost_its_content(item: Move) -> bool:
    """Return whether a file is parked that only a duplicate could still ship."""
    is_parked = item.status is Status.PARKED and item.stage in UNSHIPPED
    return is_parked and item.changes.get("local") is False


def _without_proof(connection: sa.Connection, closed: Sequence[Move]) -> dict[str, float]:
    """Return which of these files are not proven to be safe, and when they were closed."""
    proven = with_receipt(connection, [i.file.id for i in closed if i.file.row_seen_at is not None])
    return {item.file.id: item.at for item in closed if item.file.id not in proven}


def _free_duplicates(connection: sa.Connection, lost: Mapping[str, float]) -> None:
    """Have the duplicates of these files read anew: there is no proof to lean on.

    Those that wait for a person go on to do so, and are read when they are taken back.
    """
    freed: list[Move] = []
    waits = sa.and_(files.c.status == Status.WAITING, files.c.awaits == Awaits.ORIGINAL)
    for some in in_chunks(lost):
        query = sa.select(files).where(
            files.c.duplicate_of.in_(some), sa.or_(waits, files.c.status == Status.PARKED)
        )
        freed += [_freed(file_of(row), lost) for row in connection.execute(query)]
    if freed:
        move(connection, freed)


def _freed(file: FileRecord, lost: Mapping[str, float]) -> Move:
    original = file.duplicate_of or ""
    detail = f"{original}, whose duplicate it was, has no proof to lean on: it is read anew"
    freed = replace(requeued(file, Stage.MANIFEST, lost[original]), detail=detail)
    if file.status is Status.PARKED:
        return replace(freed, status=Status.PARKED, changes={"duplicate_of": None})
    return freed


_WAKE_DUPLICATES = Prepared(
    sa.update(files)
    .where(
        files.c.duplicate_of == sa.bindparam("first"),
        files.c.status == Status.WAITING,
        files.c.awaits == Awaits.ORIGINAL,
    )
    .values(next_attempt_at=sa.bindparam("now"), awaits=Awaits.NOTHING, reason="")
)


def _claim(connection: sa.Connection, item: Claim) -> list[FileRecord]:
    request = {
        "of_stage": item.stage,
        "by": item.now,
        **of_feeds(item.feeds, item.each, at_most=item.limit),
    }
    claimed = [file_of(row) for row in connection.execute(_CLAIM, request)]
    record(connection, (started(file, item.now) for file in claimed))
    return claimed


_DUE = first_of_feeds(
    lambda due: [
        due.c.stage == sa.bindparam("of_stage"),
        due.c.next_attempt_at <= sa.bindparam("by"),
    ]
)
# Built once: to build it takes longer than to run it.
_CLAIM = (
    sa.update(files)
    .where(sa.literal_column("files.rowid").in_(_DUE))
    .values(
        status=Status.RUNNING,
        attempts=files.c.attempts + 1,
        claims=files.c.claims + 1,
        awaits=Awaits.NOTHING,
    )
    .returning(*files.c)
)


def started(file: FileRecord, now: float) -> Event:
    """Return the line of history for a file that just began to run."""
    return Event(
        file_id=file.id,
        at=now,
        stage=file.stage,
        status=Status.RUNNING,
        detail="started" if file.claims == 1 else f"started again (try {file.claims})",
    )


def by_ids(connection: sa.Connection, ids: Iterable[str]) -> list[FileRecord]:
    """Return the files with these ids, in the order of the ids."""
    found: dict[str, FileRecord] = {}
    wanted = list(ids)
    for some in in_chunks(wanted):
        query = sa.select(files).where(files.c.id.in_(some))
        found |= {row.id: file_of(row) for row in connection.execute(query)}
    return [found[id_] for id_ in wanted if id_ in found]


def known_row_ids(connection: sa.Connection, ids: Iterable[str]) -> set[str]:
    """Return which of these ids of rows the ledger has files for."""
    return found_among(connection, files.c.row_id, ids)


def running(connection: sa.Connection) -> list[FileRecord]:
    """Return the files that are running, each by itself: a batch runs as a whole."""
    query = sa.select(files).where(
        files.c.status != DONE,
        files.c.status == Status.RUNNING,
        files.c.stage.not_in(BATCHED),
    )
    return [file_of(row) for row in connection.execute(query)]


def due_settle(
    connection: sa.Connection, now: float, limit: int, without: Collection[str] = ()
) -> list[FileRecord]:
    """Return files that wait in settle and are due, those due longest first.

    Those of the feeds `without` are left out.
    """
    query = _settling(sa.select(files), without).where(files.c.next_attempt_at <= now)
    return [file_of(row) for row in connection.execute(query.limit(limit))]


def next_settle(connection: sa.Connection, without: Collection[str] = ()) -> float | None:
    """Return when the next waiting file in settle, but for those feeds, is due; None: none."""
    query = _settling(sa.select(files.c.next_attempt_at), without).limit(1)
    return time_or_none(connection.execute(query).scalar_one_or_none())


def _settling(query: sa.Select[Any], without: Collection[str]) -> sa.Select[Any]:
    query = query.where(files.c.stage == sa.literal_column("'settle'"), files.c.status == WAITING)
    if without:
        query = query.where(files.c.feed.not_in(without))
    return query.order_by(files.c.next_attempt_at)


def next_due(connection: sa.Connection, stage: Stage, feeds: Collection[str]) -> float | None:
    """Return when the next waiting file of a stage and of these feeds is due; None: none."""
    values = {"of_stage": stage, "of_feeds": json.dumps(tuple(feeds))}
    return time_or_none(_NEXT_DUE.run(connection, values).scalar_one())


# Looked up for each feed: no other one's backlog is gone through.
_feeds = sa.func.json_each(sa.bindparam("of_feeds")).table_valued("value", name="of_feeds")
_first_due = (
    sa.select(files.c.next_attempt_at)
    .where(
        files.c.stage == sa.bindparam("of_stage"),
        files.c.status == WAITING,
        files.c.feed == _feeds.c.value,
    )
    .order_by(files.c.next_attempt_at)
    .limit(1)
    .correlate(_feeds)
    .scalar_subquery()
)
_NEXT_DUE = Prepared(sa.select(sa.func.min(_first_due)).select_from(_feeds))


def any_unfinished(
    connection: sa.Connection, feeds: Collection[str], stages: Collection[Stage] = ORDER
) -> bool:
    """Return whether time, or work under way, will move on a file of these feeds and stages."""
    query = sa.select(files.c.id).where(
        files.c.status != DONE,
        files.c.status.in_([Status.WAITING, Status.RUNNING]),
        files.c.feed.in_(feeds),
        files.c.awaits == Awaits.NOTHING,
        files.c.stage.in_(stages),
    )
    return connection.execute(query.limit(1)).first() is not None


def not_done(connection: sa.Connection) -> int:
    """Count the files that are not done and wait for more than their time to be removed."""
    query = sa.select(sa.func.count()).where(files.c.status != DONE, files.c.awaits != Awaits.KEEP)
    return int(connection.execute(query).scalar_one())
