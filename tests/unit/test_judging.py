"""Judging agrees with a slow second implementation, whatever comes and whenever."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from backupd.completeness.arrivals import Numbers, Span, came
from backupd.completeness.dates import DAY, day_from, day_start, deadline
from backupd.completeness.expectations import Bounds, Expectations, SequenceRule
from backupd.completeness.findings import findings
from backupd.completeness.judging import Excuse, Known, Verdict, judge
from backupd.completeness.screening import doubtful
from backupd.completeness.sequences import gaps
from support.slow_judging import (
    File,
    known_of,
    slow_deadline,
    slow_gaps,
    slow_verdict,
)

if TYPE_CHECKING:
    from collections.abc import Iterable
    from random import Random

# Around nights on which clocks are changed, a leap day and a year's end.
NIGHTS = [day_from(text) for text in ("2026-03-28", "2026-10-24", "2028-02-28", "2026-12-30")]
ZONES = (
    "UTC",
    "Europe/Amsterdam",
    "America/New_York",
    "Asia/Kathmandu",
    "Asia/Tokyo",
    "Australia/Lord_Howe",
)

days = st.builds(lambda night, more: night + more, st.sampled_from(NIGHTS), st.integers(-1, 3))
bounds = st.none() | st.builds(
    lambda least, more: Bounds(least=least, most=None if more is None else (least or 0) + more),
    st.none() | st.integers(0, 60),
    st.integers(0, 60),
)
expectations = st.builds(
    Expectations,
    every=st.none() | st.sampled_from([900.0, 3600.0, 86_400.0]),
    files=st.none() | st.builds(lambda n, m: Bounds(least=n, most=n + m), *[st.integers(0, 6)] * 2),
    by=st.sampled_from([0, 90, 120, 150, 180, 390, 1439]),
    time_zone=st.sampled_from(ZONES),
    weekdays=st.frozensets(st.integers(0, 6), min_size=1),
    excepted=st.frozensets(days, max_size=2),
    records=bounds,
    size=bounds,
    records_a_day=bounds,
    bytes_a_day=bounds,
    trend=st.booleans(),
)


@st.composite
def came_of(draw: st.DrawFn, day: int) -> list[File]:
    """Draw what came of a date, of the day before, and of the same weekday before that."""
    found = []
    for each in (day, day - 1, *(day - 7 * week for week in range(1, 8))):
        for _ in range(draw(st.integers(0, 3))):
            at = day_start(each) + draw(st.integers(-3600, 3 * 86_400))
            numbers = draw(st.tuples(st.integers(0, 80), st.integers(0, 80)))
            found.append(File(day=each, at=at, records=numbers[0], size=numbers[1]))
    return sorted(found, key=lambda file: file.at)


@given(data=st.data(), expected=expectations, day=days)
@settings(max_examples=1000, deadline=None)
def test_it_agrees_with_the_slow_one(data: st.DataObject, expected: Expectations, day: int) -> None:
    files = data.draw(came_of(day))
    now = deadline(expected, day) + data.draw(st.sampled_from([-1.0, 0.0, 86_400.0]))

    verdicts = list(judge(expected, known_of(files), range(day, day + 1), now))

    slow = slow_verdict(expected, files, day, now)
    if not verdicts:
        assert not slow.arrived
        return
    (found,) = verdicts
    assert found.arrived == slow.arrived
    assert found.on_time == slow.on_time
    assert found.late_by == slow.late_by
    assert found.missing == slow.missing
    assert found.is_due == slow.is_due
    assert (found.records, found.usual) == (slow.records, slow.usual)
    assert len(found.unusual) == slow.oddities


@given(data=st.data(), expected=expectations, day=days)
@settings(max_examples=500, deadline=None)
def test_what_is_not_doubted_is_well(data: st.DataObject, expected: Expectations, day: int) -> None:
    files = data.draw(came_of(day))
    known, dates = known_of(files, since=day_start(day - 3)), range(day - 3, day + 2)
    now = deadline(expected, day) + data.draw(st.sampled_from([-1.0, 0.0, 864_000.0]))

    doubted = doubtful(expected, known, dates, now)

    every = list(judge(expected, known, dates, now))
    some = list(judge(expected, known, doubted, now))
    assert [each for each in every if each.day in doubted] == some
    assert list(findings(expected, known, every, now)) == list(findings(expected, known, some, now))


def test_a_year_of_thousands_of_feeds_takes_a_verdict_of_few_dates_alone() -> None:
    """2,000 feeds x 400 dates: every hundredth feed lacks a file of one date, and a number."""
    first, number, feeds = DAY_ONE - 400, 400, 2000
    expected = Expectations(
        every=900.0,
        files=Bounds(least=96, most=96),
        sequence=SequenceRule(regex="(x)", wraps_at=999_999),
        records=Bounds(least=1),
        trend=True,
    )
    dates = range(first, first + number)
    whole, lacking = a_year_of(range(first - 42, first + number)), first + 99
    ((low, high, since),) = whole.numbers[""][lacking].spans
    spans = Span(low, low + 7, since), Span(low + 9, high, since)
    short = Known(
        seen={**whole.seen, lacking: whole.seen[lacking]._replace(files=95)},
        numbers={"": {**whole.numbers[""], lacking: Numbers(spans)}},
    )

    doubted = [
        (feed, day)
        for feed in range(feeds)
        for day in doubtful(expected, short if feed % 100 == 0 else whole, dates, DUE)
    ]

    assert doubted == [(feed, lacking) for feed in range(0, feeds, 100)]
    (wrong,) = judge(expected, short, [lacking], DUE)
    assert wrong.missing == 1
    assert [(gap.low, gap.high) for gap in wrong.gaps] == [(low + 8, low + 8)]


def a_year_of(days: range) -> Known:
    """96 files of each date, numbered on."""
    one = came(0.0, 10, 10, 0)
    return Known(
        seen={
            day: one._replace(
                files=96, records=960, first_at=day_start(day), last_at=day_start(day)
            )
            for day in days
        },
        numbers={
            "": {
                day: Numbers((Span(96 * place + 1, 96 * place + 96, day_start(day)),))
                for place, day in enumerate(days)
            }
        },
    )


@given(
    day=days,
    by=st.integers(0, 1439),
    zone=st.sampled_from(ZONES),
)
@settings(max_examples=60)
def test_a_deadline_is_what_a_clock_there_shows(day: int, by: int, zone: str) -> None:
    expected = Expectations(by=by, time_zone=zone)

    assert deadline(expected, day) == slow_deadline(expected, day)
    assert deadline(expected, day) >= day_start(day + 1)


numbered = st.lists(
    st.builds(
        File,
        day=st.integers(20_000, 20_003),
        at=st.integers(0, 10**6).map(float),
        number=st.integers(0, 40),
        source=st.sampled_from(["A", "B"]),
    ),
    min_size=1,
    max_size=60,
)


@given(files=numbered)
@settings(max_examples=1000, deadline=None)
def test_gaps_of_numbers_that_begin_anew_each_day(files: list[File]) -> None:
    rule = SequenceRule(regex="(x)", resets="daily")

    found = gaps(rule, known_of(files).numbers)

    assert {
        (gap.source, day, number)
        for day, some in found.items()
        for gap in some
        for number in range(gap.low, gap.high + 1)
    } == slow_gaps(files, "daily")


@given(files=numbered)
@settings(max_examples=1000, deadline=None)
def test_gaps_of_numbers_that_go_on(files: list[File]) -> None:
    found = gaps(SequenceRule(regex="(x)"), known_of(files).numbers)

    assert {
        (gap.source, 0, number)
        for some in found.values()
        for gap in some
        for number in range(gap.low, gap.high + 1)
    } == slow_gaps(files, "never")


@st.composite
def counted(draw: st.DrawFn) -> tuple[int, int, list[list[int]], set[int]]:
    """Draw a counter that wraps around: its length, lowest number, positions by day, the lost.

    Between two dates more than half of all numbers may be lost.
    """
    around, lowest = draw(st.integers(30, 60)), draw(st.integers(0, 1))
    position = draw(st.integers(0, 3 * around))
    by_day: list[list[int]] = []
    lost: set[int] = set()
    for _ in range(draw(st.integers(1, 8))):
        number = draw(st.integers(1, around // 4))
        of_day = list(range(position, position + number))
        position += number
        lost |= {each for each in of_day[1:-1] if draw(st.integers(0, 9)) == 0}
        by_day.append(of_day)
        between = draw(st.sampled_from([0, 0, 1, around // 2, around * 5 // 8]))
        lost |= set(range(position, position + between))
        position += between
    return around, lowest, by_day, {each for each in lost if each <= by_day[-1][-1]}


@given(counter=counted())
@settings(max_examples=1000, deadline=None)
def test_gaps_of_numbers_that_wrap_around(
    counter: tuple[int, int, list[list[int]], set[int]],
) -> None:
    around, lowest, by_day, lost = counter
    files = [
        File(day=day, at=float(at), number=at % around + lowest)
        for day, positions in enumerate(by_day, 20_000)
        for at in positions
        if at not in lost
    ]
    if lowest == 0 and not any(file.number == 0 for file in files):
        return  # then nobody can know that there is one
    rule = SequenceRule(regex="(x)", wraps_at=around - 1 + lowest)

    found = gaps(rule, known_of(files).numbers)

    assert sorted(
        number for some in found.values() for gap in some for number in range(gap.low, gap.high + 1)
    ) == sorted(at % around + lowest for at in lost)


def test_a_number_that_comes_late_is_no_turn_of_the_counter() -> None:
    of_days = [*range(1, 95), 96], [95, *range(97, 100), *range(1, 60)]
    files = [
        File(day=day, at=float(day), number=number)
        for day, numbers in enumerate(of_days)
        for number in numbers
    ]

    assert gaps(SequenceRule(regex="(x)", wraps_at=99), known_of(files).numbers) == {}


@pytest.mark.parametrize("lost", [50, 60, 90])
def test_more_than_half_of_all_numbers_are_missed_too(lost: int) -> None:
    numbers = [at % 99 + 1 for at in range(288)]
    files = [File(day=0, at=0.0, number=number) for number in numbers[:96]]
    files += [File(day=1, at=1.0, number=number) for number in numbers[96 + lost : 192]]

    found = gaps(SequenceRule(regex="(x)", wraps_at=99), known_of(files).numbers)

    assert sum(gap.files for gap in found[1]) == lost


@given(files=numbered, order=st.randoms(use_true_random=False))
def test_the_order_in_which_files_come_does_not_matter(files: list[File], order: Random) -> None:
    shuffled = sorted(files, key=lambda _: order.random())

    one, other = known_of(files), known_of(shuffled)

    assert spans_of(one) == spans_of(other)
    for day, of_day in one.seen.items():
        assert of_day._replace(quiet=0) == other.seen[day]._replace(quiet=0)


def spans_of(known: Known) -> object:
    return {
        (source, day): [(span.low, span.high) for span in numbers.spans]
        for source, days in known.numbers.items()
        for day, numbers in days.items()
    }


DAY_ONE = day_from("2026-11-30")  # a Monday
DUE = day_start(DAY_ONE + 1) + 6 * 3600.0


def files_of(day: int, number: int, start: float = 0.0) -> list[File]:
    return [File(day=day, at=day_start(day) + start + 60.0 * each) for each in range(number)]


def only(expected: Expectations, files: Iterable[File], now: float, *excuses: Excuse) -> Verdict:
    known = known_of(files)
    known = Known(seen=known.seen, numbers=known.numbers, excuses=excuses)
    (found,) = judge(expected, known, range(DAY_ONE, DAY_ONE + 1), now)
    return found


def test_nothing_is_missing_before_its_deadline() -> None:
    expected = Expectations(files=Bounds(least=3, most=3))

    before = only(expected, files_of(DAY_ONE, 2), DUE - 1)
    after = only(expected, files_of(DAY_ONE, 2), DUE)

    assert (before.missing, before.complete) == (0, None)
    assert (after.missing, after.complete) == (1, False)


def test_a_file_of_the_minute_in_which_it_is_due_is_not_late() -> None:
    expected = Expectations(files=Bounds(least=1))
    due, late = (only(expected, [File(day=DAY_ONE, at=DUE + s)], DUE + 99) for s in (59, 60))

    assert (due.on_time, due.late_by) == (1, 0.0)
    assert (late.on_time, late.late_by) == (0, 60.0)


def test_what_is_excused_is_not_missing() -> None:
    expected = Expectations(files=Bounds(least=3))
    some = Excuse(feed="t/a", day=DAY_ONE, low=17, high=17, why="lost", at=0.0)
    all_of_it = Excuse(feed="t/a", day=DAY_ONE, low=None, high=None, why="a holiday", at=0.0)

    assert only(expected, files_of(DAY_ONE, 2), DUE, some).missing == 0
    found = only(expected, files_of(DAY_ONE, 1), DUE, all_of_it)
    assert (found.is_excused, found.complete) == (True, True)


def test_an_excuse_over_midnight_is_of_the_date_that_lacks_a_file() -> None:
    """96 is missed with the date of 97; the date of 97 lacks 150 itself."""
    expected = Expectations(files=Bounds(least=96), sequence=SequenceRule(regex="(x)"))
    numbers = {DAY_ONE: range(1, 96), DAY_ONE + 1: [*range(97, 150), *range(151, 193)]}
    known = known_of(
        File(day=day, at=day_start(day), number=number)
        for day, some in numbers.items()
        for number in some
    )
    excuse = Excuse(feed="t/a", day=DAY_ONE + 1, low=96, high=96, why="lost", at=0.0)
    known = Known(seen=known.seen, numbers=known.numbers, excuses=[excuse])

    before, after = judge(expected, known, range(DAY_ONE, DAY_ONE + 2), DUE + DAY)

    assert (before.missing, after.missing) == (0, 1)


def test_a_day_is_86400_seconds_in_the_ledger_whatever_clocks_show() -> None:
    assert day_start(NIGHTS[0] + 1) - day_start(NIGHTS[0]) == DAY
