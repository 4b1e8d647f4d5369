"""Dates, and when what belongs to one is due.

A date is a number: days since 1970-01-01. It is the date of a file as in the production table: the
day, UTC, of the time in its name.
"""

from __future__ import annotations

from datetime import date, datetime, time, timedelta
from functools import lru_cache
from typing import TYPE_CHECKING
from zoneinfo import ZoneInfo

if TYPE_CHECKING:
    from backupd.completeness.expectations import Expectations

DAY = 86_400.0  # seconds
_EPOCH = date(1970, 1, 1)
_FIRST_WEEKDAY = _EPOCH.weekday()
_WEEK = 7
_HOUR = 60  # minutes


def day_of(at: float) -> int:
    """Return the date of a time (seconds since the epoch)."""
    return int(at // DAY)


def day_from(text: str) -> int:
    """Read `YYYY-MM-DD`. Raises ValueError."""
    return (date.fromisoformat(text) - _EPOCH).days


def day_text(day: int) -> str:
    """Return a date as `YYYY-MM-DD`."""
    return (_EPOCH + timedelta(days=day)).isoformat()


def weekday(day: int) -> int:
    """Return 0 for a Monday, 6 for a Sunday."""
    return (day + _FIRST_WEEKDAY) % _WEEK


def is_expected(expected: Expectations, day: int) -> bool:
    """Return whether files of this date are expected at all."""
    return weekday(day) in expected.weekdays and day not in expected.excepted


def deadline(expected: Expectations, day: int) -> float:
    """Return when the files of a date are due, in seconds since the epoch.

    Never before the date, which is one of UTC, is over: east of there it may be a day later. A time
    of day that there is twice, or not at all, when clocks are changed is the later one.
    """
    return _due(day, expected.by, expected.time_zone)


@lru_cache(maxsize=16_384)
def _due(day: int, by: int, time_zone: str) -> float:
    next_day = moment_of(day + 1, by, time_zone)
    return next_day if next_day >= day_start(day + 1) else moment_of(day + 2, by, time_zone)


def moment_of(day: int, minutes: int, time_zone: str) -> float:
    """Return when clocks there show so many minutes after midnight, the later one of two."""
    at = time(minutes // _HOUR, minutes % _HOUR)
    local = datetime.combine(_EPOCH + timedelta(days=day), at, ZoneInfo(time_zone))
    return max(local.replace(fold=fold).timestamp() for fold in (0, 1))


def is_before_midnight(minutes: int, time_zone: str, year: int) -> bool:
    """Return whether at a time of day it is the day before in UTC, in a part of a year at least."""
    zone = ZoneInfo(time_zone)
    offsets = (datetime(year, month, 1, tzinfo=zone).utcoffset() for month in (1, 7))
    return any(offset and offset > timedelta(minutes=minutes) for offset in offsets)


def deadline_text(expected: Expectations, day: int) -> str:
    """Return when the files of a date are due, as people there say it."""
    at = datetime.fromtimestamp(deadline(expected, day), ZoneInfo(expected.time_zone))
    return f"{at:%Y-%m-%d %H:%M} {expected.time_zone}"


def next_deadline(expected: Expectations, now: float) -> int | None:
    """Return the date that is due next; None: nothing is, within a year."""
    if not expected.has_deadline:
        return None
    first = day_of(now) - 2
    days = (day for day in range(first, first + 370) if is_expected(expected, day))
    return next((day for day in days if deadline(expected, day) > now), None)


def day_start(day: int) -> float:
    """Return when a date begins, in seconds since the epoch."""
    return day * DAY
