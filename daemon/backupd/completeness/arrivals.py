"""What came of a feed's date, in a few numbers, however many files.

The minutes are those in which files came, counted from the date's beginning, each followed by how
many: two bytes each, so that a file takes four bytes at most.
"""

from __future__ import annotations

import re
import sys
from array import array
from bisect import bisect_left
from functools import lru_cache
from itertools import accumulate, pairwise
from typing import TYPE_CHECKING, NamedTuple

from backupd.completeness.dates import day_of, day_start
from backupd.core.arrivals import Arrival, Number
from backupd.core.times import has_date

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from typing import Any

    from backupd.completeness.expectations import Expectations, SequenceRule
    from backupd.core.records import FileRecord

_MINUTE = 60.0  # seconds
_MOST = 0xFFFF  # of two bytes: minutes are 45 days, then all that comes is of the last one
_NS = 1e9


class Came(NamedTuple):
    """What came of one date. Times are seconds since the epoch."""

    files: int
    records: int
    size: int  # bytes
    first_at: float
    last_at: float
    quiet: float  # seconds: the longest from one arrival to the next
    least_records: int  # of a file, as the next three
    most_records: int
    least_size: int
    most_size: int
    minutes: bytes


class Span(NamedTuple):
    """Numbers without a gap, both ends included; when the first of them came."""

    low: int
    high: int
    since: float


class Numbers(NamedTuple):
    """The numbers of one source that came on a date, in order; names around them, where alike."""

    spans: tuple[Span, ...]
    before: str = ""
    after: str = ""
    width: int = 0  # 0: the names differ in more than the number

    def name(self, number: int) -> str | None:
        """Return the name that has this number; None where the names do not tell."""
        return f"{self.before}{number:0{self.width}}{self.after}" if self.width else None


Seen = dict[int, Came]
"""What came, by date."""


def arrival_of(file: FileRecord, read: Mapping[str, Any], expected: Expectations) -> Arrival | None:
    """Return a file as it is counted. `read` is what is known of it after manifest.

    None: its date is not known, or cannot be written down. It may have lain there before it was
    seen: it came when it was last written to, or renamed, on this host.
    """
    timestamp = read.get("file_timestamp")
    if timestamp is None or not has_date(timestamp):
        return None
    rule = expected.sequence
    return Arrival(
        feed=file.feed,
        day=day_of(timestamp),
        at=min(file.first_seen_at, file.identity.ctime_ns / _NS),
        records=read["record_count"] or 0,
        size=read["size_bytes"] or 0,
        number=number_in(file.file_name, rule) if rule else None,
    )


def number_in(name: str, rule: SequenceRule) -> Number | None:
    """Return the number in a file's name; None where the name has none."""
    pattern = _compiled(rule.regex)
    match = pattern.search(name)
    if match is None:
        return None
    source = pattern.groupindex.get("source", 0)
    group = next(each for each in range(1, pattern.groups + 1) if each != source)
    digits = match[group]
    if not (digits and digits.isascii() and digits.isdigit()):
        return None
    start, end = match.span(group)
    of = (match[source] or "") if source else ""
    return Number(of, int(digits), name[:start], name[end:], len(digits))


@lru_cache(maxsize=4096)
def _compiled(regex: str) -> re.Pattern[str]:
    return re.compile(regex)


def came(at: float, records: int, size: int, day: int) -> Came:
    """Return what came of a date when one file of it came."""
    minutes = _packed([(_minute(at, day), 1)])
    return Came(1, records, size, at, at, 0.0, records, records, size, size, minutes)


def came_with(arrival: Arrival) -> Came:
    """Return what came of a date when this file of it came."""
    return came(arrival.at, arrival.records, arrival.size, arrival.day)


def together(one: Came, other: Came) -> Came:
    """Return what came when both did."""
    minutes = _merged(_counts(one.minutes), _counts(other.minutes))
    return Came(
        one.files + other.files,
        one.records + other.records,
        one.size + other.size,
        min(one.first_at, other.first_at),
        max(one.last_at, other.last_at),
        _quiet(one, other, minutes),
        min(one.least_records, other.least_records),
        max(one.most_records, other.most_records),
        min(one.least_size, other.least_size),
        max(one.most_size, other.most_size),
        _packed(sorted(minutes.items())),
    )


def between(then: Came, now: Came) -> Came:
    """Return what made of one the other. What is least and most may be of both."""
    minutes = _counts(now.minutes)
    for minute, number in _pairs(then.minutes):
        minutes[minute] = minutes.get(minute, 0) - number
    return now._replace(
        files=now.files - then.files,
        records=now.records - then.records,
        size=now.size - then.size,
        minutes=_packed(sorted(minutes.items())),
    )


def arrived_by(of: Came, day: int, at: float) -> int:
    """Return how many files of a date came until a time, to the minute."""
    if of.last_at <= at:
        return of.files
    last = (at - day_start(day)) // _MINUTE
    return sum(number for minute, number in _pairs(of.minutes) if minute <= last)


def arrived_before(of: Came, minutes: Iterable[int]) -> list[int]:
    """Return how many files came before each of these minutes of their date."""
    numbers = _numbers(of.minutes)
    times = numbers[::2]
    sums = list(accumulate(numbers[1::2], initial=0))
    return [sums[bisect_left(times, minute)] for minute in minutes]


def seconds_late(of: Came, due: float) -> float:
    """Return how long after a time the last file came; none in that minute, as in `arrived_by`."""
    return of.last_at - due if of.last_at // _MINUTE > due // _MINUTE else 0.0


def last_by(of: Came, day: int, at: float) -> float | None:
    """Return when the last file until a time came, to the minute where others came later."""
    if of.last_at <= at:
        return of.last_at
    starts = (day_start(day) + minute * _MINUTE for minute, _ in _pairs(of.minutes))
    return max((start for start in starts if start <= at), default=None)


def _quiet(one: Came, other: Came, minutes: Mapping[int, int]) -> float:
    """Return the longest pause; where one came among the other it is known to the minute."""
    early, late = sorted((one, other), key=lambda each: each.first_at)
    if early.last_at <= late.first_at:
        return max(early.quiet, late.quiet, late.first_at - early.last_at)
    times = sorted(minutes)
    return max((b - a for a, b in pairwise(times)), default=0) * _MINUTE


def _minute(at: float, day: int) -> int:
    return int(min(max((at - day_start(day)) // _MINUTE, 0), _MOST))


def _counts(minutes: bytes) -> dict[int, int]:
    counts: dict[int, int] = {}
    for minute, number in _pairs(minutes):
        counts[minute] = counts.get(minute, 0) + number
    return counts


def _merged(one: dict[int, int], other: Mapping[int, int]) -> dict[int, int]:
    for minute, number in other.items():
        one[minute] = one.get(minute, 0) + number
    return one


def _pairs(minutes: bytes) -> list[tuple[int, int]]:
    numbers = _numbers(minutes)
    return list(zip(numbers[::2], numbers[1::2], strict=True))


def _numbers(minutes: bytes) -> array[int]:
    numbers = array("H", minutes)
    if sys.byteorder == "big":
        numbers.byteswap()
    return numbers


def _packed(pairs: list[tuple[int, int]]) -> bytes:
    numbers = array("H")
    for minute, number in pairs:
        rest = number
        while rest > 0:
            numbers.extend((minute, min(rest, _MOST)))
            rest -= _MOST
    if sys.byteorder == "big":
        numbers.byteswap()
    return numbers.tobytes()
