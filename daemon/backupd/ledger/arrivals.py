"""What came of each date of a feed, counted with the move by which a file's content is known.

A row for a date, however many files: it stays when they leave for the history, and a year of
thousands of feeds can be judged at once.
"""

from __future__ import annotations

import json
from collections import defaultdict
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa

from backupd.completeness.arrivals import (
    Came,
    Numbers,
    Span,
    arrival_of,
    came_with,
    together,
)
from backupd.completeness.dates import day_of, day_start
from backupd.completeness.judging import Excuse, Known
from backupd.completeness.sequences import with_number
from backupd.core.stages import Stage, Status
from backupd.ledger.arrival_tables import arrivals, arrived_numbers, excuses, watched_feeds
from backupd.ledger.engine import Prepared
from backupd.ledger.schema import files, restores

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence

    from backupd.completeness.expectations import Expectations
    from backupd.core.arrivals import Arrival
    from backupd.core.records import FileRecord

Day = tuple[str, int]
"""A feed and a date."""
Source = tuple[str, int, str]
"""The same, and a source."""


# -- counting ------------------------------------------------------------------------------------


def count(connection: sa.Connection, new: Sequence[Arrival]) -> None:
    """Add files to what came of their dates."""
    if not new:
        return
    write_days(connection, _added(connection, new))
    write_numbers(connection, _numbered(connection, new))


def arrivals_of(found: Iterable[FileRecord], expected: Expectations) -> Iterator[Arrival]:
    """Yield those of a feed's files whose content is known, no duplicates, a name once a date."""
    seen: set[tuple[str, int]] = set()
    for file in found:
        if file.sha256 is None or file.duplicate_of is not None:
            continue
        arrival = arrival_of(file, vars(file), expected)
        if arrival and (key := (file.relative_path, arrival.day)) not in seen:
            seen.add(key)
            yield arrival


def by_day(new: Iterable[Arrival], days: dict[Day, Came]) -> dict[Day, Came]:
    """Add files to dates, all of one date at once: its minutes are many."""
    lots: defaultdict[Day, list[Came]] = defaultdict(list)
    for arrival in new:
        lots[arrival.feed, arrival.day].append(came_with(arrival))
    for key, each in lots.items():
        lot = _in_one(each)
        days[key] = together(days[key], lot) if key in days else lot
    return days


def _in_one(each: list[Came]) -> Came:
    """Return what came of a date when each of these did."""
    first, *others = sorted(each, key=lambda one: one.first_at)
    return together(first, _joined(others)) if others else first


def _joined(each: list[Came]) -> Came:
    """Return these, in order of time, as one; each minute may be in it again and again."""
    pauses = (after.first_at - before.first_at for before, after in pairwise(each))
    return Came(
        len(each),
        sum(one.records for one in each),
        sum(one.size for one in each),
        each[0].first_at,
        each[-1].first_at,
        max(pauses, default=0.0),
        min(one.least_records for one in each),
        max(one.most_records for one in each),
        min(one.least_size for one in each),
        max(one.most_size for one in each),
        b"".join(one.minutes for one in each),
    )


def by_source(new: Iterable[Arrival], sources: dict[Source, Numbers]) -> dict[Source, Numbers]:
    """Add files' numbers to sources, in order: one that follows the last takes no time."""
    numbered = [(arrival.number, arrival) for arrival in new if arrival.number]
    for number, arrival in sorted(numbered, key=lambda each: each[0].number):
        key = (arrival.feed, arrival.day, number.source)
        sources[key] = with_number(sources.get(key), number, arrival.at)
    return sources


def days_there(connection: sa.Connection, keys: Iterable[Day]) -> dict[Day, Came]:
    """Return what is known of these dates."""
    rows = (
        (key, _DAY.run(connection, dict(zip(_DAY_KEY, key, strict=True))).first()) for key in keys
    )
    return {key: Came(*row[2:]) for key, row in rows if row is not None}


def all_days(connection: sa.Connection, feed: str) -> dict[Day, Came]:
    """Return what is known of all dates of a feed."""
    rows = connection.execute(sa.select(arrivals).where(arrivals.c.feed == feed))
    return {(row.feed, row.day): Came(*row[2:]) for row in rows}


def write_days(connection: sa.Connection, days: Mapping[Day, Came]) -> None:
    """Write dates, over what is there."""
    rows = [{"day": day, "feed": feed, **came._asdict()} for (feed, day), came in days.items()]
    if rows:
        _WRITE_DAYS.run_all(connection, rows)


def write_numbers(connection: sa.Connection, sources: Mapping[Source, Numbers]) -> None:
    """Write the numbers of sources, over what is there."""
    rows = [
        {
            "day": day,
            "feed": feed,
            "source": source,
            **numbers._asdict(),
            "spans": json.dumps(numbers.spans),
        }
        for (feed, day, source), numbers in sources.items()
    ]
    if rows:
        _WRITE_NUMBERS.run_all(connection, rows)


def _added(connection: sa.Connection, new: Sequence[Arrival]) -> dict[Day, Came]:
    there = days_there(connection, {(each.feed, each.day) for each in new})
    return by_day(new, there)


def _numbered(connection: sa.Connection, new: Sequence[Arrival]) -> dict[Source, Numbers]:
    keys = {(each.feed, each.day, each.number.source) for each in new if each.number}
    return by_source(new, numbers_there(connection, keys))


def numbers_there(connection: sa.Connection, keys: Iterable[Source]) -> dict[Source, Numbers]:
    """Return what is known of these sources."""
    rows = (
        (key, _SOURCE.run(connection, dict(zip(_SOURCE_KEY, key, strict=True))).first())
        for key in keys
    )
    return {key: _numbers_of(row) for key, row in rows if row is not None}


def _numbers_of(row: sa.Row[Any]) -> Numbers:
    spans = tuple(Span(*span) for span in json.loads(row.spans))
    return Numbers(spans, row.before, row.after, row.width)


def _prepared(table: sa.Table, keys: Iterable[str]) -> Prepared:
    return Prepared(sa.select(table).where(*(table.c[key] == sa.bindparam(key) for key in keys)))


def _replacing(table: sa.Table) -> Prepared:
    values: dict[str, Any] = {column.name: sa.bindparam(column.name) for column in table.c}
    return Prepared(sa.insert(table).prefix_with("OR REPLACE").values(values))


_DAY_KEY, _SOURCE_KEY = ("feed", "day"), ("feed", "day", "source")
_DAY, _SOURCE = _prepared(arrivals, _DAY_KEY), _prepared(arrived_numbers, _SOURCE_KEY)
_WRITE_DAYS, _WRITE_NUMBERS = _replacing(arrivals), _replacing(arrived_numbers)


# -- reading -------------------------------------------------------------------------------------


def known(
    connection: sa.Connection, first: int, last: int, feeds: Collection[str]
) -> dict[str, Known]:
    """Return what is known of those of these feeds that are watched, from one date to another."""
    since = _since(connection, feeds)
    seen = _seen(connection, _of(arrivals, first, last, feeds))
    numbers = _sources(connection, first, last, feeds)
    excused = _excuses(connection, first, last, feeds)
    return {
        name: Known(seen=seen[name], numbers=numbers[name], excuses=excused[name], since=at)
        for name, at in since.items()
    }


def _since(connection: sa.Connection, feeds: Collection[str]) -> dict[str, float]:
    """Return since when feeds are watched; after a restore, as if it had begun the day after.

    What came between the snapshot and the loss of the ledger is not known.
    """
    query = sa.select(watched_feeds.c.feed, watched_feeds.c.since)
    found = connection.execute(query.where(_is_of(watched_feeds, feeds)))
    restored = connection.execute(sa.select(sa.func.max(restores.c.at))).scalar_one()
    known_from = 0.0 if restored is None else day_start(day_of(restored) + 1)
    return {name: max(at, known_from) for name, at in found}


def _is_of(table: sa.Table, feeds: Collection[str]) -> sa.ColumnElement[bool]:
    wanted = sa.func.json_each(json.dumps(list(feeds))).table_valued("value")
    return table.c.feed.in_(sa.select(wanted.c.value))


def _of(table: sa.Table, first: int, last: int, feeds: Collection[str]) -> sa.Select[Any]:
    of_dates = table.c.day.between(first, last)
    return sa.select(table).where(of_dates, _is_of(table, feeds))


def came(
    connection: sa.Connection, first: int, last: int, feeds: Collection[str]
) -> dict[str, dict[int, Came]]:
    """Return what came of these feeds, watched or not, from one date to another, by date."""
    return _seen(connection, _of(arrivals, first, last, feeds))


def _seen(connection: sa.Connection, query: sa.Select[Any]) -> defaultdict[str, dict[int, Came]]:
    found: defaultdict[str, dict[int, Came]] = defaultdict(dict)
    for name, day, *rest in connection.execute(query):
        found[name][day] = Came(*rest)
    return found


def _sources(
    connection: sa.Connection, first: int, last: int, feeds: Collection[str]
) -> defaultdict[str, dict[str, dict[int, Numbers]]]:
    found: defaultdict[str, dict[str, dict[int, Numbers]]] = defaultdict(dict)
    for row in connection.execute(_of(arrived_numbers, first, last, feeds)):
        found[row.feed].setdefault(row.source, {})[row.day] = _numbers_of(row)
    return found


def _excuses(
    connection: sa.Connection, first: int, last: int, feeds: Collection[str]
) -> defaultdict[str, list[Excuse]]:
    found: defaultdict[str, list[Excuse]] = defaultdict(list)
    for row in connection.execute(_of(excuses, first, last, feeds)):
        excuse = Excuse(
            feed=row.feed, day=row.day, low=row.low, high=row.high, why=row.why, at=row.at
        )
        found[row.feed].append(excuse)
    return found


def pending(connection: sa.Connection, after: float) -> dict[str, float]:
    """Return by feed when the oldest file was first seen, after a time, that is not counted yet."""
    query = (
        sa.select(files.c.feed, sa.func.min(files.c.first_seen_at))
        .where(
            files.c.status != sa.literal_column("'done'"),
            files.c.status.in_([Status.WAITING, Status.RUNNING]),
            files.c.stage.in_([Stage.SETTLE, Stage.MANIFEST]),
            files.c.first_seen_at > after,
        )
        .group_by(files.c.feed)
    )
    return dict(connection.execute(query).all())
