"""Stories: what happened to files that are done for a while, a compressed row each.

A file that goes on gets events and a receipt as any other does; they are folded into its story once
it is done again.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from typing import TYPE_CHECKING

import sqlalchemy as sa

from backupd.ledger.engine import Prepared
from backupd.ledger.folding import fold, unfold
from backupd.ledger.rows import event_of, found_among, in_chunks, receipt_of
from backupd.ledger.schema import DONE, events, files, receipts, stories

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from backupd.core.records import Event, Receipt


@dataclass(frozen=True, slots=True, kw_only=True)
class Folding:
    """A story to be written in place of a file's events up to `last_seq`, and of its receipt."""

    file_id: str
    last_seq: int
    has_receipt: bool
    body: bytes


@dataclass(frozen=True, slots=True)
class Told:
    """All that happened to a file, oldest first, and its receipt."""

    events: list[Event]
    receipt: Receipt | None


def told(connection: sa.Connection, file_ids: Sequence[str]) -> dict[str, Told]:
    """Return what is known of files beside their rows, folded or not, by file id."""
    return {file_id: found for file_id, (found, _) in _told(connection, file_ids).items()}


def _told(connection: sa.Connection, file_ids: Sequence[str]) -> dict[str, tuple[Told, int]]:
    """Return it with the number of the last event that is not folded; 0: all are."""
    found = {file_id: (Told([], None), 0) for file_id in file_ids}
    found |= {file_id: (story, 0) for file_id, story in folded(connection, file_ids).items()}
    for file_id, receipt in _unfolded_receipts(connection, file_ids).items():
        found[file_id] = (Told(found[file_id][0].events, receipt), 0)
    for file_id, (later, last_seq) in _unfolded_events(connection, file_ids).items():
        story, _ = found[file_id]
        found[file_id] = (Told([*story.events, *later], story.receipt), last_seq)
    return found


def folded(connection: sa.Connection, file_ids: Iterable[str]) -> dict[str, Told]:
    """Return the folded stories of these files, by file id."""
    found: dict[str, Told] = {}
    for some in in_chunks(file_ids):
        query = sa.select(stories.c.file_id, stories.c.body).where(stories.c.file_id.in_(some))
        for file_id, body in connection.execute(query):
            found[file_id] = Told(*unfold(file_id, body))
    return found


def receipts_of(connection: sa.Connection, file_ids: Sequence[str]) -> dict[str, Receipt]:
    """Return the receipts of these files, by file id."""
    found = _unfolded_receipts(connection, file_ids)
    rest = [file_id for file_id in file_ids if file_id not in found]
    for file_id, story in folded(connection, rest).items():
        if story.receipt is not None:
            found[file_id] = story.receipt
    return found


def with_receipt(connection: sa.Connection, ids: Sequence[str]) -> set[str]:
    """Return which of these files have a receipt of their own."""
    unfolded = found_among(connection, receipts.c.file_id, ids)
    return unfolded | found_among(connection, stories.c.file_id, ids, stories.c.has_receipt)


def has_receipt(file_id: sa.ColumnElement[str]) -> sa.ColumnElement[bool]:
    """Return the condition that the file of this id has a receipt."""
    return sa.or_(
        sa.exists().where(receipts.c.file_id == file_id),
        sa.exists().where(stories.c.file_id == file_id, stories.c.has_receipt),
    )


def newest_receipts(connection: sa.Connection, limit: int) -> list[Receipt]:
    """Return the receipts of the newest files, newest first."""
    query = sa.select(receipts).order_by(receipts.c.file_id.desc()).limit(limit)
    found = [receipt_of(row) for row in connection.execute(query)]
    last = (
        sa.select(stories.c.file_id)
        .where(stories.c.has_receipt)
        .order_by(stories.c.file_id.desc())
        .limit(limit)
    )
    of_stories = folded(connection, connection.execute(last).scalars().all())
    found += [story.receipt for story in of_stories.values() if story.receipt is not None]
    by_id = {receipt.file_id: receipt for receipt in reversed(found)}  # the first of two counts
    return [by_id[file_id] for file_id in sorted(by_id, reverse=True)][:limit]


def _unfolded_receipts(connection: sa.Connection, file_ids: Iterable[str]) -> dict[str, Receipt]:
    found: dict[str, Receipt] = {}
    for some in in_chunks(file_ids):
        query = sa.select(receipts).where(receipts.c.file_id.in_(some))
        found |= {row.file_id: receipt_of(row) for row in connection.execute(query)}
    return found


def _unfolded_events(
    connection: sa.Connection, file_ids: Iterable[str]
) -> dict[str, tuple[list[Event], int]]:
    """Return the events that are not folded, and the number of the last one, by file id."""
    found: defaultdict[str, tuple[list[Event], int]] = defaultdict(lambda: ([], 0))
    for some in in_chunks(file_ids):
        query = sa.select(events).where(events.c.file_id.in_(some)).order_by(events.c.seq)
        for row in connection.execute(query):
            later, _ = found[row.file_id]
            later.append(event_of(row))
            found[row.file_id] = (later, row.seq)
    return found


# -- folding -------------------------------------------------------------------------------------


def foldings(connection: sa.Connection, before: float, limit: int) -> list[Folding]:
    """Return stories of up to `limit` files that are done, and to which nothing happened since."""
    found = connection.execute(_TO_FOLD, {"before": before, "at_most": limit}).scalars()
    made = _told(connection, list(dict.fromkeys(found)))
    return [
        Folding(
            file_id=file_id,
            last_seq=last_seq,
            has_receipt=story.receipt is not None,
            body=fold(story.events, story.receipt),
        )
        for file_id, (story, last_seq) in made.items()
    ]


_TO_FOLD = (
    sa.select(events.c.file_id)
    .select_from(events.join(files, files.c.id == events.c.file_id))
    .where(
        events.c.status == DONE,
        events.c.at <= sa.bindparam("before"),
        files.c.status == sa.literal_column("'done'"),
    )
    .order_by(events.c.at)
    .limit(sa.bindparam("at_most"))
)


def write(connection: sa.Connection, items: Sequence[Folding]) -> list[bool]:
    """Write stories in place of what they tell; False for one whose file went on meanwhile."""
    written = [_STILL.run(connection, _keys(item)).first() is not None for item in items]
    rows = [_keys(item) for item, done in zip(items, written, strict=True) if done]
    if rows:
        for statement in (_WRITE, _FORGET_EVENTS, _FORGET_RECEIPTS):
            statement.run_all(connection, rows)
    return written


def _keys(item: Folding) -> dict[str, object]:
    return {
        "file_id": item.file_id,
        "of": item.file_id,
        "last": item.last_seq,
        "has_receipt": item.has_receipt,
        "body": item.body,
    }


# Whatever changes a done file, or its receipt, has left an event behind.
_STILL = Prepared(
    sa.select(files.c.id).where(
        files.c.id == sa.bindparam("of"),
        files.c.status == sa.literal_column("'done'"),
        sa.select(sa.func.max(events.c.seq)).where(events.c.file_id == files.c.id).scalar_subquery()
        == sa.bindparam("last"),
    )
)
_WRITE = Prepared(
    sa.insert(stories)
    .prefix_with("OR REPLACE")
    .values({name: sa.bindparam(name) for name in ("file_id", "has_receipt", "body")})
)
_FORGET_EVENTS = Prepared(sa.delete(events).where(events.c.file_id == sa.bindparam("of")))
_FORGET_RECEIPTS = Prepared(sa.delete(receipts).where(receipts.c.file_id == sa.bindparam("of")))
