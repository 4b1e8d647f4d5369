"""Judges what came the long way round: from the list of all files, a minute and a number at a time.

Nothing of it is shared with the product but the words of the config.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from itertools import pairwise
from statistics import median
from typing import TYPE_CHECKING
from zoneinfo import ZoneInfo

from backupd.completeness.arrivals import Numbers, came, together
from backupd.completeness.judging import Known
from backupd.completeness.sequences import added

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
