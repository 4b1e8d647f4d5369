"""Judges what came the long way round: from the list of all files, a minute and a number at a time.

Nothing of it is shared with the product but the words of the config.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from fractions import Fraction
from itertools import pairwise
from statistics import median
from typing import TYPE_CHECKING
from zoneinfo import ZoneInfo

from backupd.completeness.arrivals import Numbers, came, together
from backupd.completeness.judging import Known
from backupd.completeness.sequences import added
from backupd.core.arrivals import Arrival
from backupd.ledger.arrivals import by_day

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from backupd.completeness.expectations import Bounds, Expectations

_EPOCH = date(1970, 1, 1)


@dataclass(frozen=True, kw_only=True)
class File:
    """One file that came."""

    day: int
    at: float
    records: int = 10
    size: int = 100
    number: int | None = None
    source: str = ""


@dataclass(frozen=True, kw_only=True)
class SlowVerdict:
    """What is so of a date."""

    arrived: int
    on_time: int
    late_by: float
    missing: int
    is_due: bool
    records: int
    usual: int | None
    oddities: int


def known_of(files: Iterable[File], since: float = 0.0) -> Known:
    """Add file to file, in the order in which they are given, as the ledger does."""
    known = Known(since=since)
    numbers: dict[str, dict[int, Numbers]] = {}
    for file in files:
        one = came(file.at, file.records, file.size, file.day)
        before = known.seen.get(file.day)
        known.seen[file.day] = together(before, one) if before else one
        if file.number is not None:
            days = numbers.setdefault(file.source, {})
            spans = days[file.day].spans if file.day in days else ()
            days[file.day] = Numbers(added(spans, file.number, file.at))
    return Known(seen=known.seen, numbers=numbers, since=since)


def known_at_once(files: Iterable[File]) -> Known:
    """Count many files together, as the ledger does where it finds them."""
    new = (
        Arrival(
            feed="", day=each.day, at=each.at, records=each.records, size=each.size, number=None
        )
        for each in files
    )
    return Known(seen={day: of_day for (_, day), of_day in by_day(new, {}).items()})


def slow_verdict(
    expected: Expectations, files: Sequence[File], day: int, now: float
) -> SlowVerdict:
    of_day = sorted((file for file in files if file.day == day), key=lambda file: file.at)
    due = slow_deadline(expected, day)
    wanted = slow_is_expected(expected, day)
    least = expected.files.least if expected.files else None
    is_due = wanted and now >= due
    usual = _usual(expected, files, day) if expected.trend and wanted else None
    return SlowVerdict(
        arrived=len(of_day),
        on_time=sum(file.at // 60 <= due // 60 for file in of_day),
        late_by=_late_by(expected, files, day, due) if wanted else 0.0,
        missing=max((least or 0) - len(of_day), 0) if is_due else 0,
        is_due=is_due,
        records=sum(file.records for file in of_day),
        usual=usual[1] if usual else None,
        oddities=_oddities(expected, of_day, usual, is_due=is_due),
    )


def slow_is_expected(expected: Expectations, day: int) -> bool:
    return (_EPOCH + timedelta(days=day)).weekday() in expected.weekdays and (
        day not in expected.excepted
    )


def slow_deadline(expected: Expectations, day: int) -> float:
    """Return the first of those of the next days at which the date is over in UTC."""
    over = (day + 1) * 86_400
    times = (_clock_time(expected, day + 1), _clock_time(expected, day + 2))
    return min(at for at in times if at >= over)


def _clock_time(expected: Expectations, day: int) -> float:
    """Go through the minutes of a day; of a time that is there twice the second counts."""
    zone = ZoneInfo(expected.time_zone)
    next_day = _EPOCH + timedelta(days=day)
    first = datetime(next_day.year, next_day.month, next_day.day, tzinfo=UTC) - timedelta(hours=15)
    found = None
    for minute in range(55 * 60):
        at = first + timedelta(minutes=minute)
        local = at.astimezone(zone)
        if local.date() == next_day and 60 * local.hour + local.minute == expected.by:
            found = at.timestamp()
    if found is None:  # clocks were set forward over it: as long after midnight as ever
        midnight = datetime(next_day.year, next_day.month, next_day.day, tzinfo=zone)
        found = midnight.timestamp() + expected.by * 60
    return found


def _late_by(expected: Expectations, files: Sequence[File], day: int, due: float) -> float:
    times = sorted(file.at for file in files if file.day == day)
    if not times:
        return 0.0
    late = [0.0]
    if expected.has_deadline:
        late.append(times[-1] - due if times[-1] // 60 > due // 60 else 0.0)
    if expected.every is not None:
        before = [file.at for file in files if file.day == day - 1]
        if before and slow_is_expected(expected, day - 1):
            times = [max(before), *times]
        late += [b - a - expected.every for a, b in pairwise(times)]
    return max(late)


def _usual(expected: Expectations, files: Sequence[File], day: int) -> tuple[int, int, int] | None:
    past = []
    for week in range(1, 7):
        of_week = [file.records for file in files if file.day == day - 7 * week]
        if of_week and slow_is_expected(expected, day - 7 * week):
            past.append(sum(of_week))
    return (min(past), round(median(past)), max(past)) if len(past) >= 3 else None


def _oddities(
    expected: Expectations,
    files: Sequence[File],
    usual: tuple[int, int, int] | None,
    *,
    is_due: bool,
) -> int:
    """Count what is unusual: of files one of the least and one of the most."""
    odd = len(_odd_ones(expected.records, [file.records for file in files]))
    odd += len(_odd_ones(expected.size, [file.size for file in files]))
    if files and expected.files and expected.files.most is not None:
        odd += len(files) > expected.files.most
    records, size = sum(file.records for file in files), sum(file.size for file in files)
    if is_due:
        odd += not _within(expected.records_a_day, records)
        odd += not _within(expected.bytes_a_day, size)
        if usual:
            odd += 2 * records < usual[1] and records < usual[0]
            odd += records > 2 * usual[1] and records > usual[2]
    return odd


def slow_hours(
    expected: Expectations, files: Sequence[File], day: int, now: float, hours_from: float
) -> list[tuple[int, int, int, int]]:
    """Return runs of hours of a date that are not as usual: first, last, files, usual."""
    weeks = [day - 7 * week for week in range(1, 7)]
    weeks = [each for each in weeks if slow_is_expected(expected, each)]
    weeks = [each for each in weeks if any(file.day == each for file in files)]
    if len(weeks) < 3:
        return []
    dates = [_Minutes(files, each) for each in (day, *weeks)]
    runs: list[tuple[int, int, str]] = []
    for hour in range(24):
        begin = day * 86_400 + hour * 3600
        if begin < hours_from or begin + 4500 > now:
            continue
        way = _way(dates[0], dates[1:], hour, now - day * 86_400)
        if way and runs and runs[-1][1:] == (hour - 1, way):
            runs[-1] = (runs[-1][0], hour, way)
        elif way:
            runs.append((hour, hour, way))
    return [
        (
            first,
            last,
            dates[0].between(first, last + 1),
            round(median([week.between(first, last + 1) for week in dates[1:]])),
        )
        for first, last, _ in runs
    ]


class _Minutes:
    """The minutes of a date, and how many files came in each."""

    def __init__(self, files: Sequence[File], day: int) -> None:
        times = [(file.at - day * 86_400) / 60 for file in files if file.day == day]
        self.minutes = [0] * 25 * 60
        for each in times:
            self.minutes[min(max(int(each // 1), 0), 25 * 60 - 1)] += 1

    def between(self, first: int, stop: int, more: int = 0) -> int:
        """Count from an hour to another, and so many minutes of that."""
        return sum(self.minutes[first * 60 : stop * 60 + more])


def _way(date_: _Minutes, weeks: Sequence[_Minutes], hour: int, age: float) -> str:
    """Return whether an hour has too "few" or "many" files; "": neither."""
    here = date_.between(hour, hour + 1)
    middle = round(median([week.between(hour, hour + 1) for week in weeks]))
    beside = [each for each in (hour - 1, hour, hour + 1) if 0 <= each < 24]
    around = [week.between(each, each + 1) for week in weeks for each in beside]
    if middle < 3 or (here - middle) ** 2 <= 36 * _variance(weeks) * middle:
        return ""
    if here < middle / 2 and here < min(around):
        for stop in range(hour + 1, 25):
            least = min(week.between(hour, stop) for week in weeks)
            if stop * 3600 + 900 <= age and date_.between(hour, stop, 15) >= least:
                return ""  # they came later
        return "few"
    if here > middle * 2 and here > max(around):
        for first in range(hour):
            was_low = all(
                date_.between(first, first + 1) < week.between(first, first + 1) for week in weeks
            )
            most = max(week.between(first, hour + 1) for week in weeks)
            if was_low and date_.between(first, hour + 1) <= most:
                return ""  # they are those that did not come before
        return "many"
    return ""


def _variance(weeks: Sequence[_Minutes]) -> Fraction:
    """Return how much the hours differ from week to week, for each file."""
    hours = [[week.between(hour, hour + 1) for week in weeks] for hour in range(24)]
    medians = [round(median(each)) for each in hours]
    squares = sum((n - m) ** 2 for each, m in zip(hours, medians, strict=True) for n in each)
    return Fraction(squares, sum(medians) * (len(weeks) - 1))


def _odd_ones(bounds: Bounds | None, numbers: Sequence[int]) -> set[int]:
    ends = {min(numbers), max(numbers)} if numbers else set()
    return {number for number in ends if not _within(bounds, number)}


def _within(bounds: Bounds | None, number: int) -> bool:
    if bounds is None:
        return True
    least = 0 if bounds.least is None else bounds.least
    return least <= number and (bounds.most is None or number <= bounds.most)


def slow_gaps(files: Sequence[File], resets: str) -> set[tuple[str, int, int]]:
    """Return (source, date, number) of what is missing, where numbers do not wrap around.

    Of those that go on, (source, 0, number).
    """
    missing: set[tuple[str, int, int]] = set()
    for source in {file.source for file in files}:
        of_source = [file for file in files if file.source == source and file.number is not None]
        by_day: dict[int, set[int]] = {}
        for file in of_source:
            by_day.setdefault(file.day, set()).add(file.number or 0)
        if resets == "daily":
            counts = Counter(min(numbers) for numbers in by_day.values())
            first = max(counts, key=lambda each: (counts[each], each))
            for day, numbers in by_day.items():
                lowest = min(first, *numbers) if min(numbers) > first else min(numbers)
                missing |= {
                    (source, day, number)
                    for number in range(lowest, max(numbers))
                    if number not in numbers
                }
        else:
            seen = {number for numbers in by_day.values() for number in numbers}
            begin = min(by_day[min(by_day)])
            missing |= {
                (source, 0, number) for number in range(begin, max(seen)) if number not in seen
            }
    return missing
