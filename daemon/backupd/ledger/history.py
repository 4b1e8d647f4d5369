"""What leaves the ledger for the history, and what comes back.

A file may leave once it is done, folded, and no local file of it is there; if its row and its copy
were seen, or it is a duplicate, or it left no trace; and nothing in the ledger hangs on it.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from dataclasses import dataclass
from itertools import compress
from typing import TYPE_CHECKING, Any, NamedTuple

import sqlalchemy as sa
from sqlalchemy.dialects import sqlite

from backupd.core.history import Remembered, Story, done_date
from backupd.core.records import first_id
from backupd.ledger.duplicates import is_no_original
from backupd.ledger.folding import fold
from backupd.ledger.remembered import is_known_here_alone, recognised_by, remember
from backupd.ledger.rows import file_of, found_among, in_chunks, new_file_row
from backupd.ledger.schema import (
    DONE,
    batch_members,
    batches,
    events,
    files,
    files_left,
    history_batches,
    history_hosts,
    history_members,
    in_history,
    receipts,
    restores,
    stories,
)
from backupd.ledger.stories import told

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Sequence

    from backupd.core.records import FileRecord

BACK_FOR = 600.0  # seconds that a file which came back stays at least


class Place(NamedTuple):
    """Where a look at the done files is: behind a file by its time and row number."""

    done_at: float
    row: int


START = Place(-1.0, 0)


@dataclass(frozen=True, slots=True, kw_only=True)
class Leaving:
    """The done files behind a place, of one date, that may leave.

    `reached` is how far was looked; None: at all there are.
    """

    done_date: str
    new: list[str]
    known: list[str]  # those whose story is in the history
    reached: Place | None


@dataclass(frozen=True, slots=True, kw_only=True)
class HistoryBatch:
    """Stories of one date on their way into the history."""

    id: str
    done_date: str
    members: tuple[str, ...]  # file ids


@dataclass(frozen=True, slots=True, kw_only=True)
class Recall:
    """A story that goes back into the ledger."""

    story: Story
    at: float


# -- reading -------------------------------------------------------------------------------------


def leaving(
    connection: sa.Connection, behind: Place, before: float, limit: int, now: float
) -> Leaving:
    """Look at up to `limit` files done before a time, from a place on, of one date."""
    values = {"at": behind.done_at, "row": behind.row, "before": before, "now": now}
    first = connection.execute(_FIRST, values).scalar_one_or_none()
    if first is None:
        return Leaving(done_date="", new=[], known=[], reached=None)
    end = (first // _DAY + 1) * _DAY
    rows = connection.execute(
        _WINDOW, {**values, "before": min(before, end), "at_most": limit}
    ).all()
    may_leave = [row for row in rows if row.may_leave]
    last = rows[-1]
    return Leaving(
        done_date=done_date(first),
        new=[row.id for row in may_leave if not row.is_known],
        known=[row.id for row in may_leave if row.is_known],
        reached=Place(last.done_at, last.row),
    )


_DAY = 86_400.0
_ROW: sa.ColumnClause[int] = sa.literal_column("files.rowid")
_OTHER = files.alias("other")
_PROVEN = sa.and_(
    files.c.duplicate_of.is_(None),
    files.c.row_seen_at.is_not(None),
    sa.exists().where(stories.c.file_id == files.c.id, stories.c.has_receipt),
)
_DUPLICATE = sa.and_(
    files.c.duplicate_of.is_not(None),
    ~sa.exists().where(_OTHER.c.id == files.c.duplicate_of, _OTHER.c.status != DONE),
)
_WITHOUT_TRACE = sa.and_(files.c.row_seen_at.is_(None), files.c.reason != "")
_IS_OVER = sa.and_(
    files.c.status == DONE,
    ~files.c.local,
    sa.exists().where(stories.c.file_id == files.c.id),
    ~sa.exists().where(events.c.file_id == files.c.id),
    ~sa.exists().where(_OTHER.c.duplicate_of == files.c.id),
)
_NOW = sa.bindparam("now", type_=sa.Float)
_IS_BACK = sa.exists().where(
    in_history.c.file_id == files.c.id,
    # A time that is to come is of a clock that was ahead, and holds nothing.
    sa.or_(in_history.c.digest.is_(None), in_history.c.since.between(_NOW - BACK_FOR, _NOW)),
)
_BEHIND = [
    files.c.done_at.is_not(None),
    sa.tuple_(files.c.done_at, _ROW)
    > sa.tuple_(sa.bindparam("at", type_=sa.Float), sa.bindparam("row", type_=sa.Integer)),
    files.c.done_at < sa.bindparam("before", type_=sa.Float),
]
_FIRST = sa.select(files.c.done_at).where(*_BEHIND).order_by(files.c.done_at).limit(1)
_WINDOW = (
    sa.select(
        files.c.id,
        files.c.done_at,
        _ROW.label("row"),
        sa.and_(_IS_OVER, sa.or_(_PROVEN, _DUPLICATE, _WITHOUT_TRACE), ~_IS_BACK).label(
            "may_leave"
        ),
        sa.exists().where(in_history.c.file_id == files.c.id).label("is_known"),
    )
    .where(*_BEHIND)
    .order_by(files.c.done_at, _ROW)
    .limit(sa.bindparam("at_most"))
)


def stories_of(connection: sa.Connection, host: str, ids: Sequence[str]) -> list[Story]:
    """Return the stories of those of these files that are over; the others go on."""
    found: dict[str, Story] = {}
    for some in in_chunks(ids):
        over = _over(connection, some)
        for file_id, known in told(connection, list(over)).items():
            found[file_id] = Story(
                host=host, file=over[file_id], receipt=known.receipt, events=tuple(known.events)
            )
    return [found[file_id] for file_id in ids if file_id in found]


def _over(connection: sa.Connection, ids: Sequence[str]) -> dict[str, FileRecord]:
    rows = connection.execute(sa.select(files).where(files.c.id.in_(ids), _IS_OVER))
    return {row.id: file_of(row) for row in rows}


def open_batch(connection: sa.Connection) -> HistoryBatch | None:
    """Return the batch whose stories are on their way; None: there is none."""
    row = connection.execute(sa.select(history_batches).limit(1)).one_or_none()
    if row is None:
        return None
    members = sa.select(history_members.c.file_id).where(history_members.c.batch_id == row.id)
    ids = connection.execute(members).scalars()
    return HistoryBatch(id=row.id, done_date=row.done_date, members=tuple(ids))


def digests(connection: sa.Connection, ids: Sequence[str]) -> dict[str, bytes]:
    """Return the digests of the stories that the history has of these files."""
    found: dict[str, bytes] = {}
    for some in in_chunks(ids):
        query = sa.select(in_history.c.file_id, in_history.c.digest).where(
            in_history.c.file_id.in_(some), in_history.c.digest.is_not(None)
        )
        found.update((file_id, digest) for file_id, digest in connection.execute(query))
    return found


def last_restore(connection: sa.Connection) -> float:
    """Return when a snapshot was last put in place; 0: never."""
    query = sa.select(sa.func.max(restores.c.at))
    return float(connection.execute(query).scalar_one() or 0.0)


def left(connection: sa.Connection) -> dict[str, int]:
    """Return how many files of each feed are in the history and not in the ledger."""
    query = sa.select(files_left.c.feed, files_left.c.files)
    return dict(connection.execute(query).all())


def last_left(connection: sa.Connection, feeds: Collection[str]) -> dict[str, float]:
    """Return when the last file of each of these feeds that ever left was done."""
    found: dict[str, float] = {}
    for some in in_chunks(feeds):
        query = sa.select(files_left.c.feed, files_left.c.last_done_at)
        found |= dict(connection.execute(query.where(files_left.c.feed.in_(some))).all())
    return found


def complete_since(connection: sa.Connection) -> str:
    """Return from which id on the ledger has all files of every batch; "" before any file left.

    A batch is formed before its files are done. So none left of a batch that was formed after the
    last of those that left was done: a day after, as a clock may have been set back.
    """
    last = connection.execute(sa.select(sa.func.max(files_left.c.last_done_at))).scalar_one()
    return "" if last is None else first_id(last + _DAY)


def hosts(connection: sa.Connection) -> set[str]:
    """Return the host names under which this ledger's stories were written."""
    return set(connection.execute(sa.select(history_hosts.c.host)).scalars())


def digest_of(story: Story) -> bytes:
    """Return what tells a story from any other: all but the host name, which may change."""
    file = new_file_row(story.file)
    receipt = story.receipt and vars(story.receipt)
    return hashlib.sha256(repr((file, receipt, [*map(vars, story.events)])).encode()).digest()


# -- leaving -------------------------------------------------------------------------------------


def begin(connection: sa.Connection, items: Sequence[HistoryBatch]) -> list[None]:
    """Write down which stories go into the history, before they are written there.

    A batch that is there gets these members instead of its own.
    """
    end(connection, [batch.id for batch in items])
    for batch in items:
        members = [{"batch_id": batch.id, "file_id": file_id} for file_id in batch.members]
        connection.execute(
            sa.insert(history_batches), {"id": batch.id, "done_date": batch.done_date}
        )
        if members:
            connection.execute(sa.insert(history_members), members)
    return [None] * len(items)


def writes_as(connection: sa.Connection, hosts: Sequence[str]) -> list[None]:
    """Write down under which host names stories are written from now on."""
    connection.execute(
        sa.insert(history_hosts).prefix_with("OR IGNORE"), [{"host": host} for host in hosts]
    )
    return [None] * len(hosts)


def end(connection: sa.Connection, batch_ids: Sequence[str]) -> list[None]:
    """Forget batches: what became of their stories is written."""
    connection.execute(sa.delete(history_members).where(history_members.c.batch_id.in_(batch_ids)))
    connection.execute(sa.delete(history_batches).where(history_batches.c.id.in_(batch_ids)))
    return [None] * len(batch_ids)


def remove(connection: sa.Connection, items: Sequence[Story]) -> list[bool]:
    """Remove files whose stories were seen in the history; False for one that went on meanwhile.

    Such a one is noted with the digest of that story, so that it is not written there again.
    """
    answers: list[bool] = []
    for some in in_chunks(items):
        over = _over(connection, [story.file.id for story in some])
        gone = [over.get(story.file.id) == story.file for story in some]
        _remove(connection, list(compress(some, gone)))
        _note(connection, [story for story, went in zip(some, gone, strict=True) if not went])
        answers += gone
    return answers


def _remove(connection: sa.Connection, gone: Sequence[Story]) -> None:
    if not gone:
        return
    ids = [story.file.id for story in gone]
    _leave_batches(connection, ids)
    for table in (stories, receipts, in_history):
        connection.execute(sa.delete(table).where(table.c.file_id.in_(ids)))
    connection.execute(sa.delete(files).where(files.c.id.in_(ids)))
    remember(connection, [each for story in gone for each in _remembered(story)])
    _count(connection, [(story, 1) for story in gone])


def _note(connection: sa.Connection, stayed: Sequence[Story]) -> None:
    there = found_among(connection, files.c.id, [story.file.id for story in stayed])
    rows = [
        {"file_id": story.file.id, "digest": digest_of(story), "since": 0.0}
        for story in stayed
        if story.file.id in there
    ]
    _write_marks(connection, rows)


def _write_marks(connection: sa.Connection, rows: Sequence[dict[str, Any]]) -> None:
    if rows:
        connection.execute(sa.insert(in_history).prefix_with("OR REPLACE"), rows)


def _remembered(story: Story) -> Iterator[Remembered]:
    if story.file.duplicate_of is None and not is_no_original(story.file):
        lasts = is_known_here_alone(story.file)
        for row_id in recognised_by(story.file):
            yield Remembered(row_id, story.done_date, lasts)


def _leave_batches(connection: sa.Connection, ids: Sequence[str]) -> None:
    """Remove files from their batches, and batches that are empty then."""
    of_files = batch_members.c.file_id.in_(ids)
    query = sa.select(batch_members.c.batch_id).where(of_files).distinct()
    touched = connection.execute(query).scalars().all()
    connection.execute(sa.delete(batch_members).where(of_files))
    for some in in_chunks(touched):
        connection.execute(
            sa.delete(batches).where(
                batches.c.id.in_(some),
                batches.c.done_at.is_not(None),
                ~sa.exists().where(batch_members.c.batch_id == batches.c.id),
            )
        )


def _count(connection: sa.Connection, changes: Sequence[tuple[Story, int]]) -> None:
    more, last = Counter[str](), dict[str, float]()
    for story, number in changes:
        feed = story.file.feed
        more[feed] += number
        last[feed] = max(last.get(feed, 0.0), story.file.done_at or 0.0)
    rows = [{"feed": feed, "files": more[feed], "last_done_at": last[feed]} for feed in last]
    connection.execute(_COUNT, rows)


_INSERT_COUNT = sqlite.insert(files_left)
_COUNT = _INSERT_COUNT.on_conflict_do_update(
    index_elements=[files_left.c.feed],
    set_={
        "files": files_left.c.files + _INSERT_COUNT.excluded.files,
        "last_done_at": sa.func.max(files_left.c.last_done_at, _INSERT_COUNT.excluded.last_done_at),
    },
)


def differ(connection: sa.Connection, ids: Sequence[str]) -> list[bool]:
    """Have files stay for good: the history has their stories, but as they were before.

    False for one that is not in the ledger.
    """
    there = found_among(connection, files.c.id, ids)
    _write_marks(connection, [{"file_id": each, "digest": None, "since": 0.0} for each in there])
    return [file_id in there for file_id in ids]


# -- coming back ---------------------------------------------------------------------------------


def recall(connection: sa.Connection, items: Sequence[Recall]) -> list[bool]:
    """Put files back as they were; False for one that is there."""
    there = found_among(connection, files.c.id, [item.story.file.id for item in items])
    return [_recall(connection, item, there) for item in items]


def _recall(connection: sa.Connection, item: Recall, there: set[str]) -> bool:
    story = item.story
    if story.file.id in there:
        return False
    there.add(story.file.id)
    mark = {"file_id": story.file.id, "digest": digest_of(story), "since": item.at}
    connection.execute(sa.insert(files), new_file_row(story.file))
    connection.execute(sa.insert(stories), _folded(story))
    connection.execute(sa.insert(in_history), mark)
    _count(connection, [(story, -1)])
    return True


def _folded(story: Story) -> dict[str, Any]:
    return {
        "file_id": story.file.id,
        "has_receipt": story.receipt is not None,
        "body": fold(story.events, story.receipt),
    }
