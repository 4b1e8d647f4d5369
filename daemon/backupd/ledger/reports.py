"""What people ask of the ledger. Every query only reads."""

from __future__ import annotations

import os
from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING

import sqlalchemy as sa

from backupd.core.records import first_id
from backupd.core.stages import Stage, Status
from backupd.ledger.history import last_left, left
from backupd.ledger.rows import file_of
from backupd.ledger.schema import DONE, IS_NAMED, files
from backupd.ledger.stories import told

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator

    from backupd.core.records import Event, FileRecord


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
    """Count the files by feed, stage and status: done ones also if they left for the history."""
    columns = (files.c.feed, files.c.stage, files.c.status)
    still_open = sa.select(*columns, sa.func.count()).where(files.c.status != DONE)
    done = sa.select(files.c.feed, sa.func.count()).where(files.c.done_at.is_not(None))
    done_files = Counter[str](dict(connection.execute(done.group_by(files.c.feed)).all()))
    done_files.update(left(connection))
    return [
        Count(feed=feed, stage=Stage(stage), status=Status(status), files=number)
        for feed, stage, status, number in connection.execute(still_open.group_by(*columns))
    ] + [
        Count(feed=feed, stage=Stage.CLEANUP, status=Status.DONE, files=number)
        for feed, number in sorted(done_files.items())
        if number
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
        .where(sa.or_(files.c.status != DONE, files.c.done_at >= since))
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
        .where(files.c.status != DONE, files.c.status.in_([Status.WAITING, Status.RUNNING]))
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

    last = last_done(connection, [feed]).get(feed)
    return Done(since=number(since), lately=number(lately), last_at=last)


def last_done(connection: sa.Connection, feeds: Collection[str]) -> dict[str, float]:
    """Return when the last file of each of these feeds was done, also if it left for the history.

    Feeds without one are left out.
    """
    at = files.c.done_at
    query = sa.select(sa.func.max(at)).where(files.c.feed == sa.bindparam("of"), at.is_not(None))
    found = last_left(connection, feeds)
    for feed in feeds:
        here = connection.execute(query, {"of": feed}).scalar_one()
        if here is not None:
            found[feed] = max(here, found.get(feed, here))
    return found


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
        yield files.c.status != DONE  # so that SQLite sees that the index of open files fits
    if wanted.feed is not None:  # a feed by its name, or all the feeds of a file type
        yield sa.or_(files.c.feed == wanted.feed, files.c.file_type == wanted.feed)
    if wanted.since is not None:
        yield files.c.first_seen_at >= wanted.since
        yield files.c.id >= first_id(wanted.since)  # there is no index on the time, but on ids
    if wanted.after is not None:
        yield files.c.id > wanted.after


def matching(connection: sa.Connection, text: str) -> list[FileRecord]:
    """Return the files that a person may mean: by id, else by path, else by file name."""
    raw = os.fsencode(text)
    by_name = sa.or_(
        sa.and_(IS_NAMED, files.c.file_name == raw),
        sa.and_(~IS_NAMED, files.c.relative_path == raw),
    )
    conditions = [files.c.path == raw, by_name]
    if text.isascii():  # as every id is; lone surrogates could not be bound as text
        conditions.insert(0, files.c.id == text)
    for condition in conditions:
        rows = connection.execute(sa.select(files).where(condition).order_by(files.c.id)).all()
        if rows:
            return [file_of(row) for row in rows]
    return []


def history(connection: sa.Connection, file_id: str) -> list[Event]:
    """Return what happened to a file, oldest first."""
    return told(connection, [file_id])[file_id].events
