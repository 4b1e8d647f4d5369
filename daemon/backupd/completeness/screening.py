"""Finds the dates that have to be looked at closely: a year of thousands of feeds, nearly all well.

A date that is not among them is as it is expected, whether it is due or not. It takes a few
comparisons for each, where `judging` makes a verdict of each.
"""

from __future__ import annotations

from functools import lru_cache
from itertools import takewhile
from math import inf
from typing import TYPE_CHECKING

from backupd.completeness.dates import deadline, weekday
from backupd.completeness.hours import unusual_hours
from backupd.completeness.sequences import gaps
from backupd.completeness.usual import WEEKS

if TYPE_CHECKING:
    from collections.abc import Iterator

    from backupd.completeness.arrivals import Seen
    from backupd.completeness.expectations import Bounds, Expectations
    from backupd.completeness.judging import Known

_WEEK = 7


def doubtful(expected: Expectations, known: Known, days: range, now: float) -> list[int]:
    """Return those of these dates that may not be as they are expected at a time, in order.

    Dates that are due are not looked at by the hour.
    """
    wanted = _wanted(days, expected.weekdays, expected.excepted)
    found = set(_out_of_bounds(expected, known.seen))
    if expected.has_deadline:
        found |= wanted - known.seen.keys()
    if expected.trend:
        found.update(_out_of_line(expected, known.seen, days))
        not_due = takewhile(lambda day: deadline(expected, day) > now, reversed(days))
        found.update(day for day in not_due if any(unusual_hours(expected, known, day, now)))
    if expected.sequence:
        found.update(gaps(expected.sequence, known.numbers))
    return sorted(found.intersection(days))


def _out_of_bounds(expected: Expectations, seen: Seen) -> list[int]:
    least_files, most_files = _ends(expected.files)
    least_each, most_each = _ends(expected.records)
    least_size, most_size = _ends(expected.size)
    least_records, most_records = _ends(expected.records_a_day)
    least_bytes, most_bytes = _ends(expected.bytes_a_day)
    return [
        day
        for day, (files, records, size, _, _, _, each, most, small, large, _) in seen.items()
        if not (
            least_files <= files <= most_files
            and least_each <= each
            and most <= most_each
            and least_size <= small
            and large <= most_size
            and least_records <= records <= most_records
            and least_bytes <= size <= most_bytes
        )
    ]


def _ends(bounds: Bounds | None) -> tuple[float, float]:
    if bounds is None:
        return -inf, inf
    least, most = bounds.least, bounds.most
    return -inf if least is None else least, inf if most is None else most


def _out_of_line(expected: Expectations, seen: Seen, days: range) -> Iterator[int]:
    """Yield dates whose records none of the weeks before had, so few or so many."""
    first = days.start - _WEEK * WEEKS
    there = range(first, days.stop)
    counted = _wanted(there, expected.weekdays, expected.excepted)
    few, many = [inf] * len(there), [-inf] * len(there)
    for day, came in seen.items():
        if day in counted:
            few[day - first] = many[day - first] = came.records
    starts = range(0, _WEEK * WEEKS, _WEEK)
    least = map(min, *(few[start : start + len(days)] for start in starts))
    most = map(max, *(many[start : start + len(days)] for start in starts))
    for day, here, low, high in zip(days, many[_WEEK * WEEKS :], least, most, strict=True):
        if low <= high and not low <= here <= high:  # no week is known: nothing is usual
            yield day


@lru_cache(maxsize=64)
def _wanted(days: range, weekdays: frozenset[int], excepted: frozenset[int]) -> frozenset[int]:
    """Return the dates that need something."""
    return frozenset(day for day in days if weekday(day) in weekdays and day not in excepted)
