"""What the ledger's files tell of a feed, added to what is counted of it meanwhile.

The files are read beside the writer, as they were at one moment, and with them what was counted
then. Whatever was counted since is on top of that: a date is written as its files tell, and what
came since. Done once more, after a kill, it comes to the same.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import sqlalchemy as sa

from backupd.completeness.arrivals import Came, Numbers, between, together
from backupd.completeness.sequences import both
from backupd.ledger import arrivals as counting
from backupd.ledger.arrival_tables import watched_feeds
from backupd.ledger.rows import file_of, in_chunks
from backupd.ledger.schema import DONE, files

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from backupd.core.records import FileRecord
    from backupd.ledger.watching import Watch

_FILES = 10_000  # at once
_DATES = 30  # in one transaction: others write in between


class Counted(NamedTuple):
    """What the files of a feed tell of some dates, and what was counted of these at that moment."""

    feed: str
    terms: str
    days: Mapping[counting.Day, Came]
    there: Mapping[counting.Day, Came]
    sources: Mapping[counting.Source, Numbers]
    is_last: bool


def counted(connection: sa.Connection, item: Watch) -> list[Counted]:
    """Return what the files of a feed tell, as of one moment."""
    days: dict[counting.Day, Came] = {}
    sources: dict[counting.Source, Numbers] = {}
    found = counting.arrivals_of(_files(connection, item.feed), item.expected)
    for some in in_chunks(found, _FILES):
        counting.by_day(some, days)
        counting.by_source(some, sources)
    there = counting.all_days(connection, item.feed)
    return list(_in_pieces(item, days, there, _whole(days, there, sources)))


def _files(connection: sa.Connection, feed: str) -> Iterator[FileRecord]:
    """Yield the files of a feed whose content is known."""
    of_feed = sa.select(files).where(files.c.feed == feed, files.c.sha256.is_not(None))
    for state in (files.c.done_at.is_not(None), files.c.status != DONE):
        yield from map(file_of, connection.execute(of_feed.where(state)))


def _whole(
    days: Mapping[counting.Day, Came],
    there: Mapping[counting.Day, Came],
    sources: Mapping[counting.Source, Numbers],
) -> dict[counting.Source, Numbers]:
    """Return the numbers behind the last date of which files left for the history.

    Those that left would be gaps. Before the first number that is known there is none.
    """
    left = [
        key[1] for key, came in there.items() if key not in days or not _is_more(days, came, key)
    ]
    last = max(left, default=-1)
    return {key: numbers for key, numbers in sources.items() if key[1] > last}


def _is_more(days: Mapping[counting.Day, Came], there: Came | None, key: counting.Day) -> bool:
    return there is None or days[key].files >= there.files


def _in_pieces(
    item: Watch,
    days: Mapping[counting.Day, Came],
    there: Mapping[counting.Day, Came],
    sources: Mapping[counting.Source, Numbers],
) -> Iterator[Counted]:
    more = sorted(key for key in days if _is_more(days, there.get(key), key))
    pieces = list(in_chunks(more, _DATES)) or [[]]
    for number, keys in enumerate(pieces, 1):
        of_piece = set(keys)
        yield Counted(
            item.feed,
            item.terms,
            {key: days[key] for key in keys},
            {key: there[key] for key in keys if key in there},
            {key: each for key, each in sources.items() if key[:2] in of_piece},
            number == len(pieces),
        )


def add(connection: sa.Connection, pieces: Sequence[Counted]) -> list[None]:
    """Write what files tell, and what was counted since; with the last piece a feed is counted."""
    for piece in pieces:
        is_piece = (watched_feeds.c.feed == piece.feed, watched_feeds.c.terms == piece.terms)
        if connection.execute(sa.select(watched_feeds.c.feed).where(*is_piece)).first() is None:
            continue  # other things are expected by now
        _add(connection, piece)
        if piece.is_last:
            connection.execute(sa.update(watched_feeds).where(*is_piece).values(is_counted=True))
    return [None] * len(pieces)


def _add(connection: sa.Connection, piece: Counted) -> None:
    now = counting.days_there(connection, piece.days)
    days = {
        key: _with_later(came, piece.there.get(key), now.get(key))
        for key, came in piece.days.items()
    }
    counting.write_days(connection, days)
    numbers = counting.numbers_there(connection, piece.sources)
    sources = {key: both(each, numbers.get(key)) for key, each in piece.sources.items()}
    counting.write_numbers(connection, sources)


def _with_later(came: Came, then: Came | None, now: Came | None) -> Came:
    """Return what came, and what was counted between then and now."""
    if now is None or now == then:
        return came
    return together(came, now if then is None else between(then, now))
