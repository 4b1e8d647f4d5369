"""Expectations in words."""

from __future__ import annotations

from typing import TYPE_CHECKING

from backupd.completeness.dates import day_text, deadline_text, is_before_midnight, next_deadline
from backupd.completeness.expectations import EVERY_WEEKDAY
from backupd.core.times import span

if TYPE_CHECKING:
    from collections.abc import Iterator

    from backupd.completeness.expectations import Expectations

WEEKDAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
_HOUR = 60  # minutes
_SOME_YEAR = 2026  # of which is told whether a date may be due a day later


def in_words(expected: Expectations) -> list[str]:
    """Return what is expected, a sentence each without its full stop."""
    return [*_of_files(expected), *_of_content(expected), *_of_dates(expected)]


def due_next(expected: Expectations, now: float) -> str | None:
    """Return which date is due next, and when; None: none has a deadline."""
    day = next_deadline(expected, now)
    return None if day is None else f"{day_text(day)} is due {deadline_text(expected, day)}"


def clock(minutes: int) -> str:
    """Return minutes after midnight as `06:30`."""
    return f"{minutes // _HOUR:02}:{minutes % _HOUR:02}"


def _of_files(expected: Expectations) -> Iterator[str]:
    if expected.every is not None:
        yield f"a file every {span(expected.every)} at least"
    if expected.files:
        yield f"{expected.files} files a date"
    if rule := expected.sequence:
        wraps = f", after {rule.wraps_at} from the beginning" if rule.wraps_at else ""
        resets = ", anew each date" if rule.resets == "daily" else ""
        yield f"no gap in the numbers of their names{wraps}{resets}; waited for: {span(rule.wait)}"


def _of_content(expected: Expectations) -> Iterator[str]:
    for bounds, what in (
        (expected.records, "records in each file"),
        (expected.size, "bytes in each file"),
        (expected.records_a_day, "records a date"),
        (expected.bytes_a_day, "bytes a date"),
    ):
        if bounds:
            yield f"{bounds} {what}"
    if expected.trend:
        yield "about as many records a date as on the same weekday of the last weeks"
        yield "about as many files in each hour, UTC, as at that hour on that weekday"


def _of_dates(expected: Expectations) -> Iterator[str]:
    if expected.has_deadline:
        yield f"a date is due at {clock(expected.by)} of the next day, {expected.time_zone}"
        if is_before_midnight(expected.by, expected.time_zone, _SOME_YEAR):
            yield "that is a day later wherever the date, UTC, is not over by then"
    if expected.weekdays != EVERY_WEEKDAY:
        yield f"only dates that are {', '.join(WEEKDAYS[day] for day in sorted(expected.weekdays))}"
    if expected.excepted:
        yield f"not {', '.join(day_text(day) for day in sorted(expected.excepted))}"
