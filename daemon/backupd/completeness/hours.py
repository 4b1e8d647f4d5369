"""The hours of a date: how many of its files came in each, and how many do at that hour else.

The hours beside it count as well, so that nothing is told where a feed is quiet or busy around that
time, or clocks were changed; and how much hours differ, so that what comes by a timetable is judged
sharply, and what comes by chance hardly ever.
"""

from __future__ import annotations

from math import ceil
from operator import sub
from statistics import median
from typing import TYPE_CHECKING, NamedTuple

from backupd.completeness.arrivals import arrived_before
from backupd.completeness.dates import day_start
from backupd.completeness.usual import FAR, LEARNT, past_weeks
from backupd.core.numbers import counted

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from backupd.completeness.arrivals import Came
    from backupd.completeness.expectations import Expectations
    from backupd.completeness.judging import Known

_HOURS = 24
_HOUR = 3600.0  # seconds
_MINUTES = 60
_FEWEST = 3  # files an hour: where fewer are usual, one more or less is chance
_BY_CHANCE = 6  # times as far from the median as its hours are on the whole
_GRACE = 15  # minutes after an hour in which its files may still come
_ENDS = [_MINUTES * hour for hour in range(_HOURS + 1)]
_GRACE_ENDS = [end + _GRACE for end in _ENDS]


class Hours(NamedTuple):
    """Hours of a date, both included, one after the other, with far fewer or more than usual."""

    first: int
    last: int
    files: int
    usual: int

    def __str__(self) -> str:
        is_one = self.first == self.last
        hours = f"hour {self.first:02}" if is_one else f"hours {self.first:02} to {self.last:02}"
        there = "at that hour" if is_one else "in these hours"
        files = counted(self.files, "file")
        return f"{hours} UTC: {files}, where {self.usual:,} are usual {there} on this weekday"


def unusual_hours(
    expected: Expectations | None, known: Known, day: int, now: float
) -> Iterator[Hours]:
    """Yield the hours of a date, over at a time, that are not as at that hour in the last weeks."""
    begin = day_start(day)
    first = max(ceil((known.hours_from - begin) / _HOUR), 0)
    stop = min(int((now - begin - _GRACE * _MINUTES) // _HOUR), _HOURS)
    past = past_weeks(expected, known.seen, day)
    if first < stop and len(past) >= LEARNT:
        weeks = [arrived_before(came, _ENDS) for came in past]
        yield from _in_runs(_Compared(known.seen.get(day), weeks, stop), first)


def _in_runs(compared: _Compared, first: int) -> Iterator[Hours]:
    """Yield hours of one kind that follow each other as one."""
    begin, kind = first, 0
    for hour in range(first, compared.stop + 1):
        now = compared.kind(hour) if hour < compared.stop else 0
        if now != kind:
            if kind:
                files, weeks = compared.between(begin, hour)
                yield Hours(begin, hour - 1, files, round(median(weeks)))
            begin, kind = hour, now


class _Compared:
    """A date beside the same weekday of the last weeks: files that came before each hour."""

    def __init__(self, came: Came | None, weeks: Sequence[Sequence[int]], stop: int) -> None:
        """Hours before `stop` are over."""
        self.stop = stop
        self._came = came
        self._before = arrived_before(came, _ENDS) if came else [0] * len(_ENDS)
        self._weeks = weeks
        by_hour = [list(map(sub, before[1:], before)) for before in (self._before, *weeks)]
        least, most = map(min, *by_hour[1:]), map(max, *by_hour[1:])
        self._is_within = [
            low <= files <= high for files, low, high in zip(by_hour[0], least, most, strict=True)
        ]

    def between(self, first: int, stop: int) -> tuple[int, list[int]]:
        """Return how many files came from one hour to another, and in the last weeks."""
        weeks = [before[stop] - before[first] for before in self._weeks]
        return self._before[stop] - self._before[first], weeks

    def kind(self, hour: int) -> int:
        """Return 1 if it has too many files, -1 if too few, else 0."""
        if self._is_within[hour]:  # nearly always: as in one of these weeks, or between two
            return 0
        files, weeks = self.between(hour, hour + 1)
        middle = round(median(weeks))
        if middle < _FEWEST or self._is_chance(files, middle):
            return 0
        least, most = self._around(hour)
        if files * FAR < middle and files < least:
            return 0 if self._came_later(hour) else -1
        if files > middle * FAR and files > most:
            return 0 if self._lacked_before(hour) else 1
        return 0

    def _is_chance(self, files: int, middle: int) -> bool:
        """Return whether the last weeks differ so much from hour to hour: as squares, by file."""
        differ = usual = 0
        for hour in range(_HOURS):
            _, weeks = self.between(hour, hour + 1)
            of_hour = round(median(weeks))
            differ += sum((each - of_hour) ** 2 for each in weeks)
            usual += of_hour * (len(weeks) - 1)
        return (files - middle) ** 2 * usual <= _BY_CHANCE**2 * differ * middle

    def _around(self, hour: int) -> tuple[int, int]:
        """Return the least and the most of the last weeks in an hour and those beside it."""
        hours = range(max(hour - 1, 0), min(hour + 2, _HOURS))
        weeks = [number for each in hours for number in self.between(each, each + 1)[1]]
        return min(weeks), max(weeks)

    def _came_later(self, hour: int) -> bool:
        """Return whether since an hour began as many came as in one of these weeks."""
        with_grace = arrived_before(self._came, _GRACE_ENDS) if self._came else self._before
        return any(
            with_grace[stop] - self._before[hour] >= min(self.between(hour, stop)[1])
            for stop in range(hour + 1, self.stop + 1)
        )

    def _lacked_before(self, hour: int) -> bool:
        """Return whether since an hour that lacked some no more came than in one of these weeks."""
        for first in range(hour):
            files, weeks = self.between(first, first + 1)
            so_far, usual = self.between(first, hour + 1)
            if files < min(weeks) and so_far <= max(usual):
                return True
        return False
