"""The feeds of which something is expected: from when on they are counted; what is excused."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

import sqlalchemy as sa
from sqlalchemy.dialects import sqlite

from backupd.ledger import arrivals as counting
from backupd.ledger.arrival_tables import arrivals, arrived_numbers, excuses, watched_feeds
from backupd.ledger.rows import file_of, in_chunks
from backupd.ledger.schema import DONE, files

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from backupd.completeness.arrivals import Came, Numbers
    from backupd.completeness.expectations import Expectations
    from backupd.completeness.judging import Excuse
    from backupd.core.records import FileRecord

_AT_ONCE = 1000  # files


@dataclass(frozen=True, slots=True, kw_only=True)
class Watch:
    """A feed that is watched from `since` on (seconds since the epoch), unless it was before."""

    feed: str
    expected: Expectations
    since: float

    @property
    def rule(self) -> str:
        """By what its numbers are read."""
        return self.expected.sequence.regex if self.expected.sequence else ""


def rules(connection: sa.Connection) -> dict[str, str]:
    """Return by watched feed by what its numbers are read."""
    query = sa.select(watched_feeds.c.feed, watched_feeds.c.rule)
    return dict(connection.execute(query).all())


def watch(connection: sa.Connection, items: Sequence[Watch]) -> list[None]:
    """Watch feeds, and count what the ledger has of them already.

    In one transaction: whatever is counted from then on is counted to that. A date that has more
    files already keeps them: some of these left for the history.
    """
    for item in items:
        connection.execute(_WATCH, {"feed": item.feed, "rule": item.rule, "since": item.since})
        connection.execute(sa.delete(arrived_numbers).where(arrived_numbers.c.feed == item.feed))
        days: dict[counting.Day, Came] = {}
        sources: dict[counting.Source, Numbers] = {}
        found = counting.arrivals_of(_files(connection, item.feed), item.expected)
        for some in in_chunks(found, _AT_ONCE):
            counting.by_day(some, days)
            counting.by_source(some, sources)
        there = counting.days_there(connection, days)
        more = {key: day for key, day in days.items() if _is_more(day, there.get(key))}
        counting.write_days(connection, more)
        counting.write_numbers(connection, sources)
    return [None] * len(items)


def _is_more(day: Came, there: Came | None) -> bool:
    return there is None or day.files >= there.files


def _files(connection: sa.Connection, feed: str) -> Iterator[FileRecord]:
    """Yield the files of a feed whose content is known."""
    of_feed = sa.select(files).where(files.c.feed == feed, files.c.sha256.is_not(None))
    for state in (files.c.done_at.is_not(None), files.c.status != DONE):
        yield from map(file_of, connection.execute(of_feed.where(state)))


def watch_no_more(connection: sa.Connection, feeds: Sequence[str]) -> list[None]:
    """Nothing is expected of feeds any more; what came of them stays."""
    for some in in_chunks(feeds):
        connection.execute(sa.delete(watched_feeds).where(watched_feeds.c.feed.in_(some)))
    return [None] * len(feeds)


def forget(connection: sa.Connection, befores: Sequence[int]) -> list[None]:
    """Forget what came of dates before these."""
    for table in (arrivals, arrived_numbers):
        feeds = _feeds_of(table)
        of_feeds = table.c.feed.in_(sa.select(feeds.c.feed))
        connection.execute(sa.delete(table).where(of_feeds, table.c.day < max(befores)))
    return [None] * len(befores)


def _feeds_of(table: sa.Table) -> sa.CTE:
    """Return the feeds of a table, each looked up behind the one before: its rows are many."""
    feeds = sa.select(sa.func.min(table.c.feed).label("feed")).cte("feeds", recursive=True)
    behind = sa.select(sa.func.min(table.c.feed)).where(table.c.feed > feeds.c.feed)
    return feeds.union_all(sa.select(behind.scalar_subquery()).where(feeds.c.feed.is_not(None)))


def excuse(connection: sa.Connection, items: Sequence[Excuse]) -> list[None]:
    """Write down what will never come."""
    connection.execute(sa.insert(excuses), [asdict(item) for item in items])
    return [None] * len(items)


_WATCH_INSERT = sqlite.insert(watched_feeds)
_WATCH = _WATCH_INSERT.on_conflict_do_update(
    index_elements=[watched_feeds.c.feed], set_={"rule": _WATCH_INSERT.excluded.rule}
)
