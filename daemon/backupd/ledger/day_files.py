"""What became of the files of one day, feed by feed: in three statements, however many files.

A file is of the day (UTC) of the time in its name, as in the production table; one whose name tells
none, of the day on which it was first seen.
"""

from __future__ import annotations

from array import array
from collections import defaultdict
from dataclasses import dataclass, replace
from math import ceil
from typing import TYPE_CHECKING

import sqlalchemy as sa

from backupd.completeness.dates import DAY
from backupd.core.records import first_id
from backupd.core.stages import Status
from backupd.ledger.folding import shipped_at
from backupd.ledger.schema import files, receipts, stories

if TYPE_CHECKING:
    from collections.abc import Mapping

_EARLY, _LATE = 1 * DAY, 7 * DAY  # so much sooner or later than its day a file may be seen
_AT_ONCE = 2000  # rows


@dataclass(frozen=True, slots=True, kw_only=True)
class Passage:
    """How long files took from the first sight into the archive, in seconds."""

    half: float  # no longer than this, of half of them
    most: float  # of 95 in 100
    longest: float


@dataclass(frozen=True, slots=True, kw_only=True)
class DayFiles:
    """The files of a feed's day."""

    duplicates: int = 0
    empty: int = 0  # with no record, duplicates apart
    parked: int = 0
    passage: Passage | None = None  # None: none is in the archive


def files_of_day(connection: sa.Connection, begins_at: float) -> dict[str, DayFiles]:
    """Return for each feed what is in the ledger of a day, which begins then."""
    of_day = _of_day(begins_at)
    found = _counts(connection, of_day)
    for feed, taken in _taken(connection, of_day).items():
        found[feed] = replace(found[feed], passage=_passage(taken))
    return found


def _of_day(begins_at: float) -> tuple[sa.ColumnElement[bool], ...]:
    """Return the condition; there is no index on the day, but on ids, which tell when."""
    day = sa.func.coalesce(files.c.file_timestamp, files.c.first_seen_at)
    return (
        files.c.id >= first_id(begins_at - _EARLY),
        files.c.id < first_id(begins_at + DAY + _LATE),
        day >= begins_at,
        day < begins_at + DAY,
    )


def _counts(
    connection: sa.Connection, of_day: tuple[sa.ColumnElement[bool], ...]
) -> dict[str, DayFiles]:
    is_duplicate = files.c.duplicate_of.is_not(None)
    query = sa.select(
        files.c.feed,
        sa.func.total(is_duplicate),
        sa.func.total(sa.and_(files.c.record_count == 0, ~is_duplicate)),
        sa.func.total(files.c.status == Status.PARKED),
    ).where(*of_day)
    return {
        feed: DayFiles(duplicates=int(duplicates), empty=int(empty), parked=int(parked))
        for feed, duplicates, empty, parked in connection.execute(query.group_by(files.c.feed))
    }


def _taken(
    connection: sa.Connection, of_day: tuple[sa.ColumnElement[bool], ...]
) -> Mapping[str, array[float]]:
    """Return the seconds that each feed's files took: eight bytes a file."""
    taken: defaultdict[str, array[float]] = defaultdict(lambda: array("d"))
    columns = (files.c.feed, files.c.first_seen_at)
    plain = sa.select(*columns, receipts.c.shipped_at).join(
        receipts, receipts.c.file_id == files.c.id
    )
    folded = (
        sa.select(*columns, stories.c.body)
        .join(stories, stories.c.file_id == files.c.id)
        .where(stories.c.has_receipt)
    )
    options = {"yield_per": _AT_ONCE}
    for feed, seen_at, at in connection.execute(plain.where(*of_day), execution_options=options):
        taken[feed].append(max(at - seen_at, 0.0))
    for feed, seen_at, body in connection.execute(folded.where(*of_day), execution_options=options):
        taken[feed].append(max(shipped_at(body) - seen_at, 0.0))
    return taken


def _passage(taken: array[float]) -> Passage:
    ordered = sorted(taken)
    half, most = (ordered[ceil(len(ordered) * share) - 1] for share in (0.5, 0.95))
    return Passage(half=half, most=most, longest=ordered[-1])
