"""What people and the daemon ask of the ledger. Every query only reads."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa

from backupd.core.places import Witness
from backupd.core.records import FeedMount, first_id
from backupd.core.rows import RowKey
from backupd.core.stages import BATCHED, ORDER, Awaits, Stage, Status
from backupd.ledger.batch_verbs import members_of
from backupd.ledger.rows import batch_of, event_of, file_of, in_chunks, receipt_of
from backupd.ledger.schema import (
    batch_members,
    batches,
    events,
    feed_mounts,
    files,
    places,
    receipts,
    warehouse_files,
)

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator, Sequence

    from backupd.core.records import Batch, Event, FileRecord, Receipt

_AT_ONCE = 500
# Written out, not bound, so that SQLite sees that its partial indexes fit.
_WAITING: sa.ColumnElement[str] = sa.literal_column("'waiting'")
_DONE: sa.ColumnElement[str] = sa.literal_column("'done'")
# So that SQLite does not go through all the batches that there ever were.
_IN_A_STAGE = batches.c.stage.in_([sa.literal_column(f"'{stage}'") for stage in BATCHED])


@dataclass(frozen=True, slots=True, kw_only=True)
class Count:
    """How many files of a feed stand at one stage and status."""

    feed: str
    stage: Stage
    status: Status
    files: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """Which files `list` and the like are to show; None: all."""

    stage: Stage | None = None
    status: Status | None = None
    feed: str | None = None
    customer: str | None = None
    since: float | None = None  # first seen at or after
    after: str | None = None  # ids behind this one
    limit: int | None = None


def counts(connection: sa.Connection) -> list[Count]:
    """Count the files by feed, stage and status."""
    columns = (files.c.feed, files.c.stage, files.c.status)
    still_open = sa.select(*columns, sa.func.count()).where(files.c.status != _DONE)
    done = sa.select(files.c.feed, sa.func.count()).where(files.c.done_at.is_not(None))
    return [
        Count(feed=feed, stage=Stage(stage), status=Status(status), files=number)
        for feed, stage, status, number in connection.execute(still_open.group_by(*columns))
    ] + [
        Count(feed=feed, stage=Stage.CLEANUP, status=Status.DONE, files=number)
        for feed, number in connection.execute(done.group_by(files.c.feed))
    ]


@dataclass(frozen=True, slots=True, kw_only=True)
class Share:
    """How much of a run stands at one stage and status."""

    stage: Stage
    status: Status
    files: int
    size_bytes: int  # of those that manifest has been through


def progress(connection: sa.Connection, since: float) -> list[Share]:
    """Return where the files stand that are open, or were done at or after `since`."""
    size = sa.func.coalesce(sa.func.sum(files.c.size_bytes), 0)
    query = (
        sa.select(files.c.stage, files.c.status, sa.func.count(), size)
        .where(sa.or_(files.c.status != _DONE, files.c.done_at >= since))
        .group_by(files.c.stage, files.c.status)
    )
    return [
        Share(stage=Stage(stage), status=Status(status), files=number, size_bytes=size)
        for stage, status, number, size in connection.execute(query)
    ]


def oldest_open(connection: sa.Connection) -> dict[str, float]:
    """Return for each feed when the oldest file that waits or runs was first seen."""
    query = (
        sa.select(files.c.feed, sa.func.min(files.c.first_seen_at))
        .where(files.c.status != _DONE, files.c.status.in_([Status.WAITING, Status.RUNNING]))
        .group_by(files.c.feed)
    )
    return dict(connection.execute(query).all())


@dataclass(frozen=True, slots=True, kw_only=True)
class Done:
    """What of a feed was done: since a moment that the asker chose, lately, and when last."""

    since: int
    lately: int
    last_at: float | None


def done(connection: sa.Connection, feed: str, since: float, lately: float) -> Done:
    """Return how many files of a feed were done since each of two times, and when the last was."""
    at = files.c.done_at
    is_done = (files.c.feed == feed, at.is_not(None))

    def number(moment: float) -> int:
        query = sa.select(sa.func.count()).select_from(files).where(*is_done, at >= moment)
        return int(connection.execute(query).scalar_one())

    last = connection.execute(sa.select(sa.func.max(at)).where(*is_done)).scalar_one()
    return Done(since=number(since), lately=number(lately), last_at=_time(last))


def last_done(connection: sa.Connection, feeds: Collection[str]) -> dict[str, float]:
    """Return when the last file of each of these feeds was done; feeds without one are left out."""
    at = files.c.done_at
    query = sa.select(sa.func.max(at)).where(files.c.feed == sa.bindparam("of"), at.is_not(None))
    found = {feed: connection.execute(query, {"of": feed}).scalar_one() for feed in feeds}
    return {feed: moment for feed, moment in found.items() if moment is not None}


def select(connection: sa.Connection, wanted: Wanted) -> list[FileRecord]:
    """Return files in the order in which they were first seen."""
    query = sa.select(files).where(*_conditions(wanted)).order_by(files.c.id)
    return [file_of(row) for row in connection.execute(query.limit(wanted.limit))]


def how_many(connection: sa.Connection, wanted: Wanted) -> int:
    """Count the files that are wanted, whatever the limit."""
    query = sa.select(sa.func.count()).select_from(files).where(*_conditions(wanted))
    return int(connection.execute(query).scalar_one())


def before_newest(connection: sa.Connection, wanted: Wanted, number: int) -> str | None:
    """Return the last id before the newest `number` files; None where there are no others."""
    query = sa.select(files.c.id).where(*_conditions(wanted)).order_by(files.c.id.desc())
    found = connection.execute(query.offset(number).limit(1)).scalar_one_or_none()
    return found if found is None else str(found)


def _conditions(wanted: Wanted) -> Iterator[sa.ColumnElement[bool]]:
    for name in ("stage", "status", "customer"):
        if (value := getattr(wanted, name)) is not None:
            yield files.c[name] == value
    if wanted.status not in {None, Status.DONE}:
        yield files.c.status != _DONE  # so that SQLite sees that the index of open files fits
    if wanted.feed is not None:  # a feed by its name, or all the feeds of a file type
        yield sa.or_(files.c.feed == wanted.feed, files.c.file_type == wanted.feed)
    if wanted.since is not None:
        yield files.c.first_seen_at >= wanted.since
        yield files.c.id >= first_id(wanted.since)  # there is no index on the time, but on ids
    if wanted.after is not None:
        yield files.c.id > wanted.after


def by_ids(connection: sa.Connection, ids: Iterable[str]) -> list[FileRecord]:
    """Return the files with these ids, in the order of the ids."""
    found: dict[str, FileRecord] = {}
    wanted = list(ids)
    for some in in_chunks(wanted, _AT_ONCE):
        query = sa.select(files).where(files.c.id.in_(some))
        found |= {row.id: file_of(row) for row in connection.execute(query)}
    return [found[id_] for id_ in wanted if id_ in found]


def known_ids(connection: sa.Connection, ids: Iterable[str]) -> set[str]:
    """Return which of these ids the ledger has files for."""
    found: set[str] = set()
    for some in in_chunks(ids, _AT_ONCE):
        found.update(
            connection.execute(sa.select(files.c.id).where(files.c.id.in_(some))).scalars()
        )
    return found


def matching(connection: sa.Connection, text: str) -> list[FileRecord]:
    """Return the files that a person may mean: by id, else by path, else by file name."""
    raw = os.fsencode(text)
    conditions = [files.c.path == raw, files.c.file_name == raw]
    if text.isascii():  # as every id is; lone surrogates could not be bound as text
        conditions.insert(0, files.c.id == text)
    for condition in conditions:
        rows = connection.execute(sa.select(files).where(condition).order_by(files.c.id)).all()
        if rows:
            return [file_of(row) for row in rows]
    return []


def history(connection: sa.Connection, file_id: str) -> list[Event]:
    """Return what happened to a file, oldest first."""
    query = sa.select(events).where(events.c.file_id == file_id).order_by(events.c.seq)
    return [event_of(row) for row in connection.execute(query)]


def receipts_of(connection: sa.Connection, file_ids: Sequence[str]) -> dict[str, Receipt]:
    """Return the receipts of these files, by file id."""
    found: dict[str, Receipt] = {}
    for some in in_chunks(file_ids, _AT_ONCE):
        query = sa.select(receipts).where(receipts.c.file_id.in_(some))
        found |= {row.file_id: receipt_of(row) for row in connection.execute(query)}
    return found


def batch(connection: sa.Connection, batch_id: str) -> Batch | None:
    """Return a batch; None where there is none of this id."""
    row = connection.execute(sa.select(batches).where(batches.c.id == batch_id)).one_or_none()
    return batch_of(row, members_of(connection, batch_id)) if row else None


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
    """Return which of these files were a member of another batch than `but` before."""
    found: set[str] = set()
    for some in in_chunks(file_ids, _AT_ONCE):
        query = sa.select(batch_members.c.file_id).where(
            batch_members.c.file_id.in_(some), batch_members.c.batch_id != but
        )
        found.update(connection.execute(query).scalars())
    return found


def running(connection: sa.Connection) -> list[FileRecord]:
    """Return the files that are running, each by itself: a batch runs as a whole."""
    query = sa.select(files).where(
        files.c.status != _DONE,
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
    return _time(connection.execute(query).scalar_one_or_none())


def _settling(query: sa.Select[Any], without: Collection[str]) -> sa.Select[Any]:
    query = query.where(files.c.stage == sa.literal_column("'settle'"), files.c.status == _WAITING)
    if without:
        query = query.where(files.c.feed.not_in(without))
    return query.order_by(files.c.next_attempt_at)


def next_due(connection: sa.Connection, stage: Stage, feeds: Collection[str]) -> float | None:
    """Return when the next waiting file of a stage and of these feeds is due; None: none."""
    # Looked up for each feed: no other one's backlog is gone through.
    wanted = sa.func.json_each(json.dumps(tuple(feeds))).table_valued("value", name="wanted")
    first = (
        sa.select(files.c.next_attempt_at)
        .where(files.c.stage == stage, files.c.status == _WAITING, files.c.feed == wanted.c.value)
        .order_by(files.c.next_attempt_at)
        .limit(1)
        .correlate(wanted)
        .scalar_subquery()
    )
    query = sa.select(sa.func.min(first)).select_from(wanted)
    return _time(connection.execute(query).scalar_one())


def next_due_batch(connection: sa.Connection, stage: Stage) -> float | None:
    """Return when the next waiting batch of a stage is due; None where none waits."""
    query = sa.select(sa.func.min(batches.c.next_attempt_at)).where(
        batches.c.stage == stage, batches.c.done_at.is_(None), batches.c.status == Status.WAITING
    )
    return _time(connection.execute(query).scalar_one())


def _time(value: object) -> float | None:
    return value if isinstance(value, float) else None


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
            files.c.status == _WAITING,
            files.c.batch_id.is_(None),
        )
        .order_by(files.c.stage_since)
        .limit(limit)
    ).subquery()
    query = sa.select(sa.func.count(), sa.func.min(waiting.c.stage_since))
    number, oldest = connection.execute(query).one()
    return number, oldest


def any_unfinished(
    connection: sa.Connection, feeds: Collection[str], stages: Collection[Stage] = ORDER
) -> bool:
    """Return whether time, or work under way, will move on a file of these feeds and stages."""
    query = sa.select(files.c.id).where(
        files.c.status != _DONE,
        files.c.status.in_([Status.WAITING, Status.RUNNING]),
        files.c.feed.in_(feeds),
        files.c.awaits == Awaits.NOTHING,
        files.c.stage.in_(stages),
    )
    return connection.execute(query.limit(1)).first() is not None


def not_done(connection: sa.Connection) -> int:
    """Count the files that are not done and wait for more than their time to be removed."""
    query = sa.select(sa.func.count()).where(files.c.status != _DONE, files.c.awaits != Awaits.KEEP)
    return int(connection.execute(query).scalar_one())


def seen_feeds(connection: sa.Connection) -> frozenset[str]:
    """Return the feeds whose directory was there once."""
    return frozenset(connection.execute(sa.select(feed_mounts.c.feed)).scalars())


def mounts(connection: sa.Connection) -> dict[str, FeedMount]:
    """Return where each feed was last seen."""
    open_files = sa.select(files.c.id).where(
        files.c.status != _DONE,
        files.c.status.in_([Status.WAITING, Status.RUNNING, Status.PARKED]),
        files.c.feed == feed_mounts.c.feed,
        files.c.local,
    )
    query = sa.select(feed_mounts, open_files.exists().label("has_files"))
    return {row.feed: _mount_of(row) for row in connection.execute(query)}


def _mount_of(row: sa.Row[Any]) -> FeedMount:
    return FeedMount(
        mount=os.fsdecode(row.mount),
        directory=None if row.directory is None else os.fsdecode(row.directory),
        real_path=None if row.real_path is None else os.fsdecode(row.real_path),
        has_files=bool(row.has_files),
    )


def place(connection: sa.Connection, name: str) -> str | None:
    """Return the mark of a place that the ledger writes to; None where it knows no such place."""
    query = sa.select(places.c.mark).where(places.c.name == name)
    found = connection.execute(query).scalar_one_or_none()
    return found if found is None else str(found)


def warehouse_sums(connection: sa.Connection, names: Iterable[str]) -> dict[str, str]:
    """Return the SHA-256 that these files of the warehouse were written with, where it is known."""
    found: dict[str, str] = {}
    for some in in_chunks(names, _AT_ONCE):
        query = sa.select(warehouse_files).where(warehouse_files.c.name.in_(some))
        found.update((row.name, row.sha256) for row in connection.execute(query))
    return found


def witnesses(connection: sa.Connection, limit: int) -> list[Witness]:
    """Return the newest copies that must be in the archive, newest first."""
    query = sa.select(receipts.c.archive_name, receipts.c.sent_bytes)
    rows = connection.execute(query.order_by(receipts.c.file_id.desc()).limit(limit))
    return [Witness(archive_name, sent_bytes) for archive_name, sent_bytes in rows]


def row_witnesses(connection: sa.Connection, limit: int) -> list[RowKey]:
    """Return the newest rows that must be in production, newest first."""
    query = (
        sa.select(files)
        .where(files.c.row_seen_at.is_not(None), files.c.file_timestamp.is_not(None))
        .order_by(files.c.id.desc())
        .limit(limit)
    )
    found = [file_of(row) for row in connection.execute(query)]
    return [RowKey(file.id, file.file_date) for file in found if file.file_date is not None]
