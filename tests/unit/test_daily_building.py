"""What the daily report makes of what is known of a day."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from backupd.completeness.arrivals import Numbers, Span, came
from backupd.completeness.dates import day_from, day_start
from backupd.completeness.expectations import Bounds, Expectations, SequenceRule
from backupd.completeness.judging import Excuse, Known
from backupd.daily.building import Facts, feed_day
from backupd.daily.model import Amount, FeedDay, State
from backupd.ledger.day_files import DayFiles
from support.slow_judging import File, known_at_once

if TYPE_CHECKING:
    from backupd.completeness.arrivals import Came

DAY = day_from("2026-11-30")
NOON = day_start(DAY) + 43_200
NEXT_MORNING = day_start(DAY + 1) + 7 * 3600
FEED = "traffic/eLUX"
TWO = Expectations(files=Bounds(least=2, most=2))


def some(files: int, day: int = DAY, *, at: float | None = None, records: int = 10) -> Came:
    """So many files of a date, all at once."""
    one = came(day_start(day) + 43_200 if at is None else at, records, 100, day)
    return one._replace(files=files, records=files * records, size=files * 100)


def known(*files: int, **changes: object) -> Known:
    """What came on the day, and on the same weekday of the weeks before, newest first."""
    seen = {DAY - 7 * week: some(number, DAY - 7 * week) for week, number in enumerate(files)}
    return replace(Known(seen=seen, since=day_start(DAY - 60)), **changes)  # type: ignore[arg-type]


def the_feed(of: Known | None, expected: Expectations | None = None, **changes: object) -> FeedDay:
    facts = Facts(
        day=DAY,
        now=NEXT_MORNING,
        expectations={FEED: expected} if expected else {},
        known={FEED: of} if of else {},
        files={},
        left=(),
    )
    return feed_day(replace(facts, **changes), FEED)  # type: ignore[arg-type]


def test_a_date_with_all_files_is_complete() -> None:
    feed = the_feed(known(2), TWO)
    assert (feed.state, feed.wrong, feed.came) == (State.COMPLETE, [], Amount(2, 20, 200))


def test_missing_files_are_told_without_the_date() -> None:
    feed = the_feed(known(1), TWO)
    assert feed.state is State.INCOMPLETE
    (words,) = feed.wrong
    assert words.startswith("1 of 2 files came, due 2026-12-01 06:00 UTC")


def test_silence_is_incomplete_with_zeros() -> None:
    feed = the_feed(known(), TWO)
    assert (feed.state, feed.came) == (State.INCOMPLETE, Amount(0, 0, 0))


def test_before_its_time_a_date_is_not_due() -> None:
    assert the_feed(known(1), TWO, now=NOON).state is State.NOT_DUE


def test_gaps_are_told_with_their_names() -> None:
    rule = SequenceRule(regex=r"_(\d+)\.csv$")
    spans = (Span(1, 1, NOON), Span(3, 3, NOON))
    numbers = {"": {DAY: Numbers(spans, "a_", ".csv", 3)}}
    feed = the_feed(known(2, numbers=numbers), Expectations(sequence=rule))
    assert feed.state is State.INCOMPLETE
    assert feed.wrong == ["missing numbers: 2 (1): a_002.csv"]


def test_what_is_excused_is_told_and_not_incomplete() -> None:
    excuses = [
        Excuse(feed=FEED, day=DAY, low=None, high=None, why="switch off", at=NOON),
        Excuse(feed=FEED, day=DAY, low=3, high=5, why="lost", at=NOON),
        Excuse(feed=FEED, day=DAY - 1, low=None, high=None, why="before", at=NOON),
    ]
    feed = the_feed(known(0, 9, 9, 9, excuses=excuses), TWO)
    assert (feed.state, feed.wrong, feed.unusual) == (State.EXCUSED, [], [])
    assert feed.excuses == ["switch off", "numbers 3-5: lost"]


def test_files_after_their_time_are_late_but_there() -> None:
    seen = {DAY: some(2, at=NEXT_MORNING - 1800)}
    feed = the_feed(known(seen=seen), TWO)
    assert feed.state is State.COMPLETE
    assert feed.late == ["2 of 2 files came after their time, the last 30m 00s after it"]


def test_on_a_weekday_on_which_nothing_is_expected_nothing_is_missing() -> None:
    feed = the_feed(known(), replace(TWO, weekdays=frozenset({5, 6})))
    assert (feed.state, feed.wrong) == (State.IDLE, [])


@pytest.mark.parametrize("begun", [DAY, DAY + 1])
def test_a_feed_that_was_watched_only_later_is_not_judged(begun: int) -> None:
    of = known(since=day_start(begun) + 60)
    feed = the_feed(of, TWO)
    assert (feed.state, feed.wrong) == (State.UNKNOWN, [])
    assert feed.came == (Amount(0, 0, 0) if begun == DAY else None)


def test_a_feed_that_nothing_counts_is_not_judged() -> None:
    feed = the_feed(None, TWO)
    assert (feed.state, feed.came, feed.usual) == (State.UNKNOWN, None, None)


# -- usual -----------------------------------------------------------------------------------------


def test_usual_is_the_median_of_the_same_weekday() -> None:
    assert the_feed(known(9, 8, 10, 300)).usual == Amount(10, 100, 1000)


def test_with_fewer_than_three_weeks_nothing_is_usual_yet() -> None:
    assert the_feed(known(9, 8, 10)).usual is None


def test_a_feed_without_expectations_shows_spikes_and_silence() -> None:
    feed = the_feed(known(30, 10, 9, 11))
    assert feed.state is State.UNJUDGED
    (words,) = feed.unusual
    assert words == (
        "30 files, where 10 are usual on this weekday; 300 records, where 100 are usual on this"
        " weekday"
    )
    silent = known(0, 10, 9, 11)
    del silent.seen[DAY]
    (words,) = the_feed(silent).unusual
    assert words.startswith("0 files, where 10 are usual on this weekday")


@pytest.mark.parametrize("files", [(20, 10, 9, 11), (5, 10, 9, 11), (30, 10, 10, 10, 31)])
def test_what_was_there_before_or_is_near_the_median_is_usual(files: tuple[int, ...]) -> None:
    assert the_feed(known(*files)).unusual == []


def by_the_hour(*, silent: int | None) -> Known:
    """Four files an hour for weeks, none in one hour of the day."""
    return known_at_once(
        File(day=day, at=day_start(day) + 3600 * hour + 900 * quarter)
        for day in range(DAY - 42, DAY + 1, 7)
        for hour in range(24)
        if (day, hour) != (DAY, silent)
        for quarter in range(4)
    )


@pytest.mark.parametrize("expected", [None, TWO, Expectations(trend=True)])
def test_an_hour_that_is_not_as_usual_is_told(expected: Expectations | None) -> None:
    silent = the_feed(by_the_hour(silent=14), expected)
    before = the_feed(by_the_hour(silent=14), expected, now=NEXT_MORNING - 7200)

    for feed in (silent, before):
        (words,) = feed.unusual
        told = "hour 14 UTC: 0 files, where 4 are usual at that hour on this weekday"
        assert words.endswith(told)
        assert words.count(told) == 1
    assert the_feed(by_the_hour(silent=None)).unusual == []


def test_hours_of_a_date_that_needs_nothing_are_not_told() -> None:
    holiday = Expectations(trend=True, excepted=frozenset({DAY}))
    of = by_the_hour(silent=14)
    assert the_feed(of, holiday).unusual == []
    assert the_feed(replace(of, since=day_start(DAY))).unusual == []


# -- files -----------------------------------------------------------------------------------------


def test_files_that_left_the_ledger_are_not_counted_as_none() -> None:
    assert the_feed(known(2), left={FEED}).files is None
    assert the_feed(known(2)).files == DayFiles()
    assert the_feed(known(2), files={FEED: DayFiles(empty=1)}).files == DayFiles(empty=1)
