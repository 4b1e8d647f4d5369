"""The feeds of which something is expected: from when on they are counted; what is excused."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

import sqlalchemy as sa
from sqlalchemy.dialects import sqlite

from backupd.ledger.arrival_tables import arrivals, arrived_numbers, excuses, watched_feeds
from backupd.ledger.rows import in_chunks

if TYPE_CHECKING:
    from collections.abc import Sequence

    from backupd.completeness.expectations import Expectations
    from backupd.completeness.judging import Excuse


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

    @property
    def terms(self) -> str:
        """All that is expected, as a digest."""
        text = json.dumps(asdict(self.expected), default=sorted, sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()[:32]


def terms(connection: sa.Connection) -> dict[str, str]:
    """Return by watched feed what is expected, as a digest; "": it is not counted yet."""
    of_counted = sa.case((watched_feeds.c.is_counted, watched_feeds.c.terms), else_="")
    return dict(connection.execute(sa.select(watched_feeds.c.feed, of_counted)).all())


def terms_since(connection: sa.Connection) -> dict[str, float]:
    """Return by watched feed since when what is expected of it was not changed."""
    query = sa.select(watched_feeds.c.feed, watched_feeds.c.terms_since)
    return dict(connection.execute(query).all())


def begin(connection: sa.Connection, items: Sequence[Watch]) -> list[bool]:
    """Watch feeds. Returns which of them are to be counted.

    These have no numbers any more: whatever comes from then on is counted by the new pattern.
    """
    table = watched_feeds
    is_new: list[bool] = []
    for item in items:
        is_counted = (table.c.feed == item.feed, table.c.rule == item.rule, table.c.is_counted)
        same = connection.execute(sa.select(table.c.feed).where(*is_counted)).first()
        is_new.append(same is None)
        if same is None:
            of_feed = arrived_numbers.c.feed == item.feed
            connection.execute(sa.delete(arrived_numbers).where(of_feed))
        connection.execute(_WATCH, _row(item, is_counted=same is not None))
    return is_new


def _row(item: Watch, *, is_counted: bool) -> dict[str, str | float | bool]:
    return {
        "feed": item.feed,
        "rule": item.rule,
        "since": item.since,
        "terms": item.terms,
        "terms_since": item.since,
        "is_counted": is_counted,
    }


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
_NEW = _WATCH_INSERT.excluded
_IS_SAME = watched_feeds.c.terms == _NEW.terms
_WATCH = _WATCH_INSERT.on_conflict_do_update(
    index_elements=[watched_feeds.c.feed],
    set_={
        "rule": _NEW.rule,
        "terms": _NEW.terms,
        "terms_since": sa.case((_IS_SAME, watched_feeds.c.terms_since), else_=_NEW.terms_since),
        "is_counted": _NEW.is_counted,
    },
)
