"""What is told of the hours of a date, and above all what is not."""

from __future__ import annotations

from dataclasses import replace
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from backupd.completeness.dates import day_from, day_start
from backupd.completeness.expectations import Expectations
from backupd.completeness.findings import findings
from backupd.completeness.judging import Excuse, Known, judge
from backupd.completeness.screening import doubtful
from support.slow_judging import File, known_at_once, slow_hours

DAY = day_from("2026-11-30")  # a Monday
TREND = Expectations(trend=True)
QUARTERS = (3, 18, 33, 48)  # minutes of each hour


def at(hour: float) -> float:
    return day_start(DAY) + 3600 * hour


def regular(day: int, *, but: dict[int, int] | None = None) -> list[File]:
    """Four files an hour, or otherwise in some of them."""
    numbers = dict.fromkeys(range(24), 4) | (but or {})
    return [
        File(day=day, at=day_start(day) + 3600 * hour + 60 * QUARTERS[each % 4])
        for hour, number in numbers.items()
        for each in range(number)
    ]


def weeks(number: int = 6) -> list[File]:
    return [file for week in range(1, number + 1) for file in regular(DAY - 7 * week)]


def known(*files: File, learnt: int = 6, until: float = 24.0) -> Known:
    """What was known at an hour of the day."""
    return known_at_once([*weeks(learnt), *(file for file in files if file.at < at(until))])


def told(of: Known, hour: float, expected: Expectations = TREND) -> list[str]:
    """Return what people are notified of at an hour of the day."""
    verdicts = judge(expected, of, range(DAY, DAY + 1), at(hour))
    return [each.reason for each in findings(expected, of, verdicts, at(hour))]


def test_a_silent_hour_is_told_with_what_it_is_compared_with() -> None:
    silent = known(*regular(DAY), until=14.0)

    assert told(silent, 15.24) == []
    assert told(silent, 15.25) == [
        "2026-11-30: hour 14 UTC: 0 files, where 4 are usual at that hour on this weekday"
    ]
    assert told(silent, 17.3) == [
        "2026-11-30: hours 14 to 16 UTC: 0 files, where 12 are usual in these hours on this weekday"
    ]


def test_a_feed_of_which_nothing_came_at_all_is_silent_too() -> None:
    (words,) = told(known(), 1.25)

    assert words.startswith("2026-11-30: hour 00 UTC: 0 files")


def test_an_hour_with_far_more_is_told() -> None:
    assert told(known(*regular(DAY, but={9: 11}), until=10.0), 10.25) == [
        "2026-11-30: hour 09 UTC: 11 files, where 4 are usual at that hour on this weekday"
    ]


def test_it_is_over_when_the_files_came_after_all() -> None:
    behind = regular(DAY, but={14: 0, 15: 0, 16: 12})

    assert len(told(known(*behind, until=16.0), 16.25)) == 1
    assert told(known(*behind, until=17.0), 17.25) == []


def test_files_that_came_in_the_quarter_after_it_are_late_not_missing() -> None:
    files = [file for file in regular(DAY) if not at(14) <= file.at < at(15)]
    files += [File(day=DAY, at=at(15) + 60 * minute) for minute in range(4)]

    assert told(known(*files, until=15.25), 15.25) == []


def test_once_the_date_is_due_it_is_judged_as_a_whole() -> None:
    silent = known(*regular(DAY, but={14: 0}))
    (verdict,) = judge(TREND, silent, range(DAY, DAY + 1), at(30))

    assert len(told(silent, 29.9)) == 1
    assert told(silent, 30) == []
    assert verdict.odd == ("hour 14 UTC: 0 files, where 4 are usual at that hour on this weekday",)


@pytest.mark.parametrize("learnt", [0, 1, 2])
def test_nothing_is_told_until_three_weeks_are_learnt(learnt: int) -> None:
    assert told(known(learnt=learnt), 12) == []


def test_nothing_is_told_without_trend() -> None:
    assert told(known(), 12, Expectations(every=30 * 86_400.0)) == []


def test_nothing_is_told_of_a_date_that_needs_nothing() -> None:
    excuse = Excuse(feed="t/a", day=DAY, low=None, high=None, why="a holiday", at=0.0)

    assert told(known(), 12, replace(TREND, excepted=frozenset({DAY}))) == []
    assert told(replace(known(), excuses=[excuse]), 12) == []


def test_hours_in_which_nothing_could_come_are_not_judged() -> None:
    of = replace(known(*regular(DAY), until=10.0), hours_from=at(12.5))

    assert told(of, 13.9) == []
    assert told(of, 14.25) == [
        "2026-11-30: hour 13 UTC: 0 files, where 4 are usual at that hour on this weekday"
    ]


def test_an_hour_that_was_silent_once_before_may_be_silent_again() -> None:
    before = [file for file in weeks() if file.day != DAY - 14]
    before += regular(DAY - 14, but={14: 0})

    assert told(known_at_once([*before, *regular(DAY, but={14: 0})]), 20) == []


@pytest.mark.parametrize("number", [1, 2])
def test_of_few_files_an_hour_nothing_is_told(number: int) -> None:
    files = [
        file
        for week in range(7)
        for file in regular(DAY - 7 * week, but=dict.fromkeys(range(24), number))
    ]
    silent = [file for file in files if file.at < at(12)]

    assert told(known_at_once(silent), 20) == []


@pytest.mark.parametrize("shift", [-1, 1])
def test_clocks_that_are_changed_there_shift_a_day_by_an_hour(shift: int) -> None:
    """They open at six and close at ten at night, by their clocks."""
    by_day = {hour: 8 if 6 <= hour < 22 else 0 for hour in range(24)}
    files = [file for week in range(1, 7) for file in regular(DAY - 7 * week, but=by_day)]
    moved = {hour + shift: number for hour, number in by_day.items() if 0 <= hour + shift < 24}

    assert told(known_at_once([*files, *regular(DAY, but=moved)]), 25) == []


def test_a_feed_that_delivers_all_at_once_may_do_so_at_another_hour() -> None:
    nothing = dict.fromkeys(range(24), 0)
    files = [
        file for week in range(1, 7) for file in regular(DAY - 7 * week, but={**nothing, 2: 40})
    ]

    assert told(known_at_once([*files, *regular(DAY, but={**nothing, 5: 40})]), 25) == []


def test_what_was_copied_here_at_once_long_after_its_dates_is_no_pattern() -> None:
    files = [
        File(day=DAY - 7 * week, at=at(-20) + each) for week in range(1, 7) for each in range(96)
    ]

    assert told(known_at_once([*files, *regular(DAY)]), 25) == []


@pytest.mark.parametrize("minutes", [1, 5, 10])
def test_files_that_come_some_minutes_later_or_earlier_are_as_usual(minutes: int) -> None:
    """A hundred days, around the bounds of hours too."""
    rng, false = Random(minutes), 0
    for _ in range(100):
        files = [
            File(day=DAY - 7 * week, at=day_start(DAY - 7 * week) + each * 900 + jitter)
            for week in range(7)
            for each in range(96)
            for jitter in [60.0 * rng.randint(0, minutes)]
        ]
        false += len(told(known_at_once(files), 25))

    assert false == 0


@pytest.mark.parametrize("mean", [4, 20])
def test_files_that_come_by_chance_are_seldom_told(mean: int) -> None:
    """A hundred days of a feed that has no timetable at all."""
    rng, false = Random(mean), 0
    for _ in range(100):
        files = [
            File(day=DAY - 7 * week, at=day_start(DAY - 7 * week) + rng.random() * 86_400)
            for week in range(7)
            for _ in range(round(rng.gauss(24 * mean, (24 * mean) ** 0.5)))
        ]
        false += len(told(known_at_once(files), 25))

    assert false == 0


# -- a slow second implementation -----------------------------------------------------------------

NIGHTS = [day_from(text) for text in ("2026-03-28", "2026-10-24", "2028-02-28", "2026-12-30")]
days = st.builds(lambda night, more: night + more, st.sampled_from(NIGHTS), st.integers(-1, 3))
trends = st.builds(
    Expectations,
    by=st.sampled_from([0, 120, 390, 1439]),
    time_zone=st.sampled_from(["UTC", "Europe/Amsterdam", "Asia/Tokyo", "America/New_York"]),
    weekdays=st.frozensets(st.integers(0, 6), min_size=4),
    excepted=st.frozensets(days, max_size=2),
    trend=st.just(value=True),
)


def hourly(day: int, rng: Random) -> list[File]:
    """A feed with some files an hour: all night or by day, regular or not, with its troubles."""
    usual = [rng.choice([0, 2, 3, 4, 4, 4, 6, 12])] * 24
    for hour in range(*sorted((rng.randrange(25), rng.randrange(25)))):
        usual[hour] += rng.choice([0, 0, 2, 8])
    jitter = rng.choice([0, 0, 1, 2])
    files = []
    for week in range(rng.randint(2, 7)):
        numbers = [max(number + rng.randint(-jitter, jitter), 0) for number in usual]
        if week == 0 or rng.random() < 0.1:
            troubled(numbers, rng)
        begin = day_start(day - 7 * week)
        for hour, number in enumerate(numbers):
            at = [begin + hour * 3600 + 60.0 * rng.randrange(60) for _ in range(number)]
            files += [File(day=day - 7 * week, at=each) for each in at]
    return files


def troubled(numbers: list[int], rng: Random) -> None:
    """Have hours in which all, most or half is lost, comes later, or too much comes."""
    for _ in range(rng.randint(0, 3)):
        first = rng.randrange(24)
        some = range(first, min(first + rng.choice([1, 1, 2, 5]), 24))
        share = rng.choice([0.0, 0.0, 0.2, 0.4, 2.5, 4.0])
        lost = sum(numbers[hour] - round(numbers[hour] * share) for hour in some)
        for hour in some:
            numbers[hour] = round(numbers[hour] * share)
        if lost > 0 and some.stop < 24:
            numbers[some.stop] += rng.choice([0, lost // 2, lost])


@given(rng=st.randoms(use_true_random=True), expected=trends, day=days)
@settings(max_examples=1000, deadline=None)
def test_its_hours_agree_with_the_slow_one(rng: Random, expected: Expectations, day: int) -> None:
    files = hourly(day, rng)
    now = day_start(day) + 60.0 * rng.choice([rng.randrange(1500), 2 * 24 * 60])
    hours_from = day_start(day) + rng.choice([-3600.0, -3600.0, 60.0 * rng.randrange(1440)])
    known = replace(known_at_once(files), hours_from=hours_from)

    verdicts = list(judge(expected, known, range(day, day + 1), now))

    slow = slow_hours(expected, files, day, now, hours_from) if verdicts else []
    assert [tuple(each) for verdict in verdicts for each in verdict.hours] == (
        slow if verdicts and verdicts[0].is_expected else []
    )


@given(rng=st.randoms(use_true_random=True), day=days)
@settings(max_examples=100, deadline=None)
def test_hours_that_are_not_doubted_are_well(rng: Random, day: int) -> None:
    expected, files = Expectations(trend=True), hourly(day, rng)
    now = day_start(day) + 60.0 * rng.randrange(2000)
    known = known_at_once(files)

    doubted = doubtful(expected, known, range(day - 3, day + 1), now)

    every = list(judge(expected, known, range(day - 3, day + 1), now))
    some = list(judge(expected, known, doubted, now))
    assert list(findings(expected, known, every, now)) == list(findings(expected, known, some, now))
