"""Judges the dates of a feed: what was expected, what came, what is missing."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple

from backupd.completeness.arrivals import Span, arrived_by, last_by, seconds_late
from backupd.completeness.dates import day_of, day_start, deadline, is_expected
from backupd.completeness.hours import unusual_hours
from backupd.completeness.sequences import gaps, united, without
from backupd.completeness.usual import against_usual, past_weeks, usual_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from backupd.completeness.arrivals import Came, Seen
    from backupd.completeness.expectations import Bounds, Expectations
    from backupd.completeness.hours import Hours
    from backupd.completeness.sequences import ByDay, Gap
    from backupd.completeness.usual import Usual


@dataclass(frozen=True, slots=True, kw_only=True)
class Excuse:
    """What will never come: numbers of a feed's date, or (None) all of it."""

    feed: str
    day: int
    low: int | None
    high: int | None
    why: str
    at: float  # when it was said, in seconds since the epoch


@dataclass(frozen=True, slots=True, kw_only=True)
class Known:
    """All that is known of one feed: what came, its numbers by source, what was excused.

    `since` is when it began to be watched; before, nothing is known of what came but `seen`.
    Until `away_at` nothing could come: its directory was away, or this host was off. Hours that
    began before `hours_from` are not judged: of some of them that is so too, or the clock was set.
    """

    seen: Seen = field(default_factory=dict)
    numbers: Mapping[str, ByDay] = field(default_factory=dict)
    excuses: Sequence[Excuse] = ()
    since: float = 0.0
    away_at: float = 0.0
    hours_from: float = 0.0


class Verdict(NamedTuple):
    """How one date of a feed is. Times are in seconds."""

    day: int
    is_expected: bool
    is_due: bool
    arrived: int
    on_time: int
    late_by: float  # the last file after the deadline, or the longest pause over `every`
    missing: int  # of the least that was expected
    gaps: tuple[Gap, ...]
    unusual: tuple[str, ...]  # in words, of the date as a whole
    hours: tuple[Hours, ...]  # that are not as usual
    records: int
    usual: int | None  # records; None: not learnt, or not asked for
    is_excused: bool

    @property
    def late(self) -> int:
        """How many files came after the deadline."""
        return self.arrived - self.on_time

    @property
    def odd(self) -> tuple[str, ...]:
        """All that is unusual, in words."""
        return (*self.unusual, *map(str, self.hours))

    @property
    def complete(self) -> bool | None:
        """Whether all came, or is excused; None: it is not due yet, and nothing is wrong so far."""
        if self.is_excused:
            return True
        if self.missing or self.gaps:
            return False
        return True if self.is_due or not self.is_expected else None


def judge(
    expected: Expectations, known: Known, days: Iterable[int], now: float
) -> Iterator[Verdict]:
    """Yield how each of these dates is at a time, but for those of which nothing is known.

    `known.seen` reaches LOOK_BACK days further back, so that it is known what is usual.
    """
    holes = gaps(expected.sequence, known.numbers) if expected.sequence else {}
    wait = expected.sequence.wait if expected.sequence else 0.0
    begins = day_of(known.since)
    seen = known.seen
    whole, single = _excused(known.excuses)
    for day in days:
        came = seen.get(day)
        if came is None and (day < begins or not is_expected(expected, day)):
            continue
        open_gaps = [gap for gap in holes.get(day, ()) if now - gap.since >= wait]
        for span in single.get(day, ()):
            open_gaps = [left for gap in open_gaps for left in without(gap, span.low, span.high)]
        excused = _excused_of(expected, known, day, single)
        yield _verdict(expected, known, day, now, (tuple(open_gaps), excused, day in whole))


def _excused(excuses: Sequence[Excuse]) -> tuple[set[int], dict[int, tuple[Span, ...]]]:
    """Return the dates that are excused as a whole, and the numbers that are by date, each once."""
    single: dict[int, tuple[Span, ...]] = {}
    for each in excuses:
        if each.low is not None:
            span = Span(each.low, each.low if each.high is None else each.high, each.at)
            single[each.day] = united(single.get(each.day, ()), (span,))
    return {each.day for each in excuses if each.low is None}, single


def _excused_of(
    expected: Expectations, known: Known, day: int, single: Mapping[int, tuple[Span, ...]]
) -> int:
    """Return how many missing files of a date are excused by number.

    Numbers before the first one of the next date are excused with that date, but may be of this
    one: they are of whichever lacks files, the earlier one first.
    """
    here, after = single.get(day, ()), single.get(day + 1, ())
    if expected.sequence is None or expected.sequence.resets == "daily":
        return sum(_not_there(span, day, known.numbers) for span in here)
    of_before = _lacking(expected, known, day - 1, single.get(day - 1, ()))
    given = min(_before_the_first(here, day, known.numbers), of_before)
    own = sum(_not_there(span, day, known.numbers) for span in here) - given
    return max(own, 0) + _before_the_first(after, day + 1, known.numbers)


def _lacking(expected: Expectations, known: Known, day: int, excused: Iterable[Span]) -> int:
    """Return how many files of a date are neither there nor excused with it."""
    if day < day_of(known.since) or not (expected.files and is_expected(expected, day)):
        return 0
    arrived = known.seen[day].files if day in known.seen else 0
    among = sum(_not_there(span, day, known.numbers) for span in excused)
    return max((expected.files.least or 0) - arrived - among, 0)


def _before_the_first(excused: Iterable[Span], day: int, numbers: Mapping[str, ByDay]) -> int:
    """Return how many excused numbers are before the first one of a date, and came on none."""
    firsts = [days[day].spans[0].low for days in numbers.values() if day in days]
    end = min(firsts, default=0) - 1
    parts = [Span(each.low, min(each.high, end), each.since) for each in excused if each.low <= end]
    return sum(_not_there(each, day - 1, numbers) for each in parts)


def _not_there(excused: Span, day: int, numbers: Mapping[str, ByDay]) -> int:
    """Return how many excused numbers did not come after all, of the source with the most."""
    came = (days[day].spans for days in numbers.values() if day in days)
    among = (sum(_common(excused, span) for span in spans) for spans in came)
    return excused.high - excused.low + 1 - min(among, default=0)


def _common(one: Span, other: Span) -> int:
    return max(min(one.high, other.high) - max(one.low, other.low) + 1, 0)


def _verdict(
    expected: Expectations,
    known: Known,
    day: int,
    now: float,
    of_numbers: tuple[tuple[Gap, ...], int, bool],
) -> Verdict:
    open_gaps, excused, is_excused = of_numbers
    seen = known.seen
    came = seen.get(day)
    wanted = is_expected(expected, day)
    due = deadline(expected, day)
    is_due = wanted and now >= due
    arrived = came.files if came else 0
    least = expected.files.least if expected.files else None
    usual = _usual(expected, seen, day) if expected.trend and wanted else None
    is_compared = usual is not None and not is_excused
    return Verdict(
        day,
        wanted,
        is_due,
        arrived,
        arrived_by(came, day, due) if came else 0,
        _late_by(expected, seen, day, due) if wanted else 0.0,
        max(least - arrived - excused, 0) if is_due and least else 0,
        open_gaps,
        () if is_excused else tuple(_oddities(expected, came, usual, is_due=is_due)),
        tuple(unusual_hours(expected, known, day, now)) if is_compared else (),
        came.records if came else 0,
        usual.middle if usual else None,
        is_excused,
    )


def _late_by(expected: Expectations, seen: Seen, day: int, due: float) -> float:
    came = seen.get(day)
    if came is None:
        return 0.0
    late = seconds_late(came, due) if expected.has_deadline else 0.0
    if expected.every is None:
        return max(late, 0.0)
    before = seen.get(day - 1)
    begun = before.last_at if before and is_expected(expected, day - 1) else came.first_at
    pause = max(came.quiet, came.first_at - begun)
    return max(late, pause - expected.every, 0.0)


# -- unusual -------------------------------------------------------------------------------------


def _oddities(
    expected: Expectations, came: Came | None, usual: Usual | None, *, is_due: bool
) -> Iterator[str]:
    if came is not None:
        yield from _of_a_file("records", expected.records, came.least_records, came.most_records)
        yield from _of_a_file("bytes", expected.size, came.least_size, came.most_size)
        most = expected.files.most if expected.files else None
        if most is not None and came.files > most:
            yield f"{came.files:,} files, where {expected.files} are expected"
    records, size = (came.records, came.size) if came else (0, 0)
    if is_due:
        yield from _of_the_day("records", expected.records_a_day, records)
        yield from _of_the_day("bytes", expected.bytes_a_day, size)
        yield from against_usual("records", records, usual)


def _of_a_file(what: str, bounds: Bounds | None, least: int, most: int) -> Iterator[str]:
    for number in dict.fromkeys((least, most)) if bounds else ():
        if bounds and not bounds.hold(number):
            yield f"a file with {number:,} {what}, where {bounds} are expected"


def _of_the_day(what: str, bounds: Bounds | None, number: int) -> Iterator[str]:
    if bounds and not bounds.hold(number):
        yield f"{number:,} {what} in all, where {bounds} are expected"


def _usual(expected: Expectations, seen: Seen, day: int) -> Usual | None:
    """Return how many records are usual on a date's weekday; None: not learnt yet."""
    return usual_of([came.records for came in past_weeks(expected, seen, day)])


# -- silence -------------------------------------------------------------------------------------


def silent_since(expected: Expectations, known: Known, now: float) -> float | None:
    """Return since when a feed that has a file `every` so long has been silent for longer.

    None: it is not, or nothing is expected today.
    """
    today = day_of(now)
    if expected.every is None or not _counts(expected, known, today):
        return None
    last = last_arrival(known, now) or 0.0
    back = known.away_at if known.away_at <= now else 0.0
    first = today
    while now - day_start(first) <= expected.every and _counts(expected, known, first - 1):
        first -= 1
    since = max(last, known.since, back, day_start(first))
    return since if now - since > expected.every else None


def last_arrival(known: Known, now: float) -> float | None:
    """Return when the last file came.

    Whoever set the clock back meanwhile has files of a time to come: these tell nothing.
    """
    latest = max((came.last_at for came in known.seen.values()), default=None)
    if latest is None or latest <= now:
        return latest
    times = (last_by(came, day, now) for day, came in known.seen.items())
    return max((at for at in times if at is not None), default=None)


def _counts(expected: Expectations, known: Known, day: int) -> bool:
    is_excused = any(each.day == day and each.low is None for each in known.excuses)
    return is_expected(expected, day) and not is_excused
