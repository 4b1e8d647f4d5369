"""What people are notified of: in which words, and when not."""

from __future__ import annotations

from dataclasses import replace
from random import Random

import pytest

from backupd.completeness.arrivals import Numbers, Span, came, number_in, together
from backupd.completeness.dates import day_from, day_start
from backupd.completeness.expectations import Bounds, Expectations, SequenceRule
from backupd.completeness.findings import Finding, findings
from backupd.completeness.judging import Excuse, Known, judge
from backupd.completeness.sequences import added, gaps, with_number
from backupd.core.arrivals import Number
from backupd.core.incidents import Kind

DAY = day_from("2026-11-30")  # a Monday
START = day_start(DAY)
MORNING = START + 86_400 + 6 * 3600.0
RULE = SequenceRule(regex=r"_(?P<source>HOL_\d+)_(\d{6})\.csv$", wait=60.0)


def found(expected: Expectations, known: Known, now: float = MORNING) -> list[Finding]:
    verdicts = judge(expected, known, range(DAY, DAY + 1), now)
    return list(findings(expected, known, verdicts, now))


def numbered(*numbers: int, alike: bool = True) -> dict[str, dict[int, Numbers]]:
    spans = ()
    for number in numbers:
        spans = added(spans, number, START)  # type: ignore[assignment]
    name = ("a_HOL_01_", ".csv", 6) if alike else ("", "", 0)
    return {"HOL_01": {DAY: Numbers(spans, *name)}}


def test_all_is_well() -> None:
    known = Known(seen={DAY: came(START, 1, 1, DAY)}, numbers=numbered(1, 2, 3))
    expected = Expectations(files=Bounds(least=1), sequence=RULE, records=Bounds(least=1))

    assert found(expected, known) == []


def test_missing_files() -> None:
    expected = Expectations(files=Bounds(least=3), time_zone="Europe/Amsterdam")
    known = Known(seen={DAY: came(START, 1, 1, DAY)})

    assert found(expected, known) == [
        Finding(
            Kind.MISSING,
            DAY,
            "2026-11-30: 1 of at least 3 files came, due 2026-12-01 06:00 Europe/Amsterdam;"
            " missing: 2",
        )
    ]


def with_numbers(numbers: dict[str, dict[int, Numbers]]) -> Known:
    return Known(seen={DAY: came(START, 1, 1, DAY)}, numbers=numbers)


def test_missing_numbers_are_named_and_their_files_where_names_tell() -> None:
    expected = Expectations(sequence=RULE)
    reason = "2026-11-30: missing numbers: HOL_01 3-4, HOL_01 6 (3)"

    told = found(expected, with_numbers(numbered(1, 2, 5, 7)))
    untold = found(expected, with_numbers(numbered(1, 2, 5, 7, alike=False)))

    names = "a_HOL_01_000003.csv, a_HOL_01_000004.csv, a_HOL_01_000006.csv"
    assert told == [Finding(Kind.GAP, DAY, f"{reason}: {names}")]
    assert untold == [Finding(Kind.GAP, DAY, reason)]


def test_a_number_is_waited_for() -> None:
    known = with_numbers(numbered(1, 3))

    assert found(Expectations(sequence=RULE), known, START + 59) == []
    assert len(found(Expectations(sequence=RULE), known, START + 60)) == 1


def test_what_is_unusual() -> None:
    expected = Expectations(records=Bounds(least=1), files=Bounds(most=0))

    (finding,) = found(expected, Known(seen={DAY: came(START, 0, 1, DAY)}))

    assert finding.kind is Kind.UNUSUAL
    assert finding.reason == (
        "2026-11-30: a file with 0 records, where at least 1 are expected;"
        " 1 files, where at most 0 are expected"
    )


def test_a_trend_says_what_it_compares_with() -> None:
    weeks = {DAY - 7 * week: came(START, 1000 + week, 1, DAY - 7 * week) for week in range(1, 4)}
    expected = Expectations(trend=True)

    (finding,) = found(expected, Known(seen={**weeks, DAY: came(START, 100, 1, DAY)}))
    too_few = dict(list(weeks.items())[:2])

    assert finding.reason == "2026-11-30: 100 records, where 1,002 are usual on this weekday"
    assert found(expected, Known(seen={**too_few, DAY: came(START, 1, 1, DAY)})) == []


def test_a_feed_that_is_silent_is_late() -> None:
    expected = Expectations(every=900.0)
    known = Known(seen={DAY: came(START, 1, 1, DAY)})

    assert found(expected, known, START + 900) == []
    assert found(expected, known, START + 901) == [
        Finding(
            Kind.LATE,
            None,
            "no file since 2026-11-30T00:00:00Z, where one is expected every 15m 00s;"
            " the last one came 2026-11-30T00:00:00Z",
        )
    ]


def test_nobody_is_late_on_a_day_that_needs_nothing() -> None:
    weekdays = Expectations(every=900.0, weekdays=frozenset({1}))
    tuesday = START + 86_400
    known = Known(seen={DAY: came(START, 1, 1, DAY)})

    assert found(weekdays, known, START + 3600) == []
    assert found(weekdays, known, tuesday + 900) == []
    assert len(found(weekdays, known, tuesday + 901)) == 1


def test_what_came_by_a_clock_that_was_ahead_tells_nothing() -> None:
    ahead = came(START + 3 * 86_400, 1, 1, DAY)
    known = Known(seen={DAY: together(came(START + 3600, 1, 1, DAY), ahead)})

    assert found(Expectations(every=900.0), known, START + 4500) == []
    (late,) = found(Expectations(every=900.0), known, START + 4501)
    assert late.reason.endswith("the last one came 2026-11-30T01:00:00Z")


def test_what_is_excused_is_no_finding() -> None:
    expected = Expectations(files=Bounds(least=3), every=900.0, sequence=RULE)
    excuse = Excuse(feed="t/a", day=DAY, low=None, high=None, why="a holiday", at=0.0)
    known = Known(numbers=numbered(1, 3), excuses=[excuse], since=START)

    assert found(expected, known, START + 80_000) == []


def test_excused_numbers_are_no_gap() -> None:
    excuse = Excuse(feed="t/a", day=DAY, low=3, high=3, why="lost", at=0.0)
    known = Known(seen={DAY: came(START, 1, 1, DAY)}, numbers=numbered(1, 2, 5), excuses=[excuse])

    (finding,) = found(Expectations(sequence=RULE), known)

    assert finding.reason == "2026-11-30: missing numbers: HOL_01 4 (1): a_HOL_01_000004.csv"


def test_numbers_that_came_after_all_are_not_excused_twice() -> None:
    excuse = Excuse(feed="t/a", day=DAY, low=2, high=3, why="lost", at=0.0)
    numbers = numbered(1, 2, 4)
    known = Known(
        seen={DAY: together(came(START, 1, 1, DAY), came(START, 1, 1, DAY))},
        numbers=numbers,
        excuses=[excuse, excuse],
    )

    (finding,) = found(Expectations(files=Bounds(least=4)), known)

    assert finding.reason.endswith("missing: 1")


def test_names_tell_numbers_with_zeros_in_front_and_without() -> None:
    def named(*names: str) -> Numbers:
        numbers = None
        for name in names:
            number = number_in(name, SequenceRule(regex=r"_(\d+)\."))
            assert number is not None
            numbers = with_number(numbers, number, START)
        assert numbers is not None
        return numbers

    assert named("a_008.csv", "a_011.csv").name(9) == "a_009.csv"
    assert named("a_8.csv", "a_11.csv").name(9) == "a_9.csv"
    assert named("a_8.csv", "a_11.csv").name(10) == "a_10.csv"
    assert named("a_8.csv", "b_11.csv", "a_12.csv").name(9) is None


@pytest.mark.parametrize("step", [1, 7])
def test_no_number_is_forgotten_however_many_come_in_whatever_order(step: int) -> None:
    order = [step * each for each in range(10_000)]
    Random(3).shuffle(order)
    numbers = None
    for each in order:
        numbers = with_number(numbers, Number("", each, "", "", 1), START)

    assert numbers is not None
    assert sum(span.high - span.low + 1 for span in numbers.spans) == 10_000
    assert len(numbers.spans) == (1 if step == 1 else 10_000)


def gaps_after(*came: tuple[int, float], rule: SequenceRule = RULE) -> list[tuple[int, int, float]]:
    spans: tuple[Span, ...] = ()
    for number, at in came:
        spans = added(spans, number, at)
    return [(gap.low, gap.high, gap.since) for gap in gaps(rule, {"": {DAY: Numbers(spans)}})[DAY]]


@pytest.mark.parametrize("rule", [RULE, replace(RULE, resets="daily")])
def test_what_is_left_of_a_gap_is_waited_for_no_longer_when_a_part_comes(
    rule: SequenceRule,
) -> None:
    before = (16, 1.0), (20, 2.0)

    assert gaps_after(*before, rule=rule) == [(17, 19, 2.0)]
    assert gaps_after(*before, (19, 50.0), rule=rule) == [(17, 18, 2.0)]
    assert gaps_after(*before, (18, 50.0), rule=rule) == [(17, 17, 2.0), (19, 19, 2.0)]


def test_a_name_tells_its_number_and_source() -> None:
    number = number_in("a_HOL_01_000042.csv", RULE)

    assert number is not None
    assert number._asdict() == {
        "source": "HOL_01",
        "number": 42,
        "before": "a_HOL_01_",
        "after": ".csv",
        "width": 6,
    }
    assert number_in("a_HOL_01_000042.txt", RULE) is None
