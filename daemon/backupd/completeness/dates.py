"""Dates, and when what belongs to one is due.

A date is a number: days since 1970-01-01. It is the date of a file as in the production table: the
day, UTC, of the time in its name.
"""

from __future__ import annotations

from datetime import UTC, date, datetime, time, timedelta
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

    A time of day that there is twice, or not at all, when clocks are changed is the later one.
    """
    return _due(day, expected.by, expected.time_zone)


@lru_cache(maxsize=16_384)
def _due(day: int, by: int, time_zone: str) -> float:
    at = time(by // _HOUR, by % _HOUR)
    local = datetime.combine(_EPOCH + timedelta(days=day + 1), at, ZoneInfo(time_zone))
    return max(local.replace(fold=fold).timestamp() for fold in (0, 1))


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
    return datetime.combine(_EPOCH + timedelta(days=day), time(), UTC).timestamp()
