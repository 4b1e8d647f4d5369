"""When the daily report is sent, over nights in which clocks change and clocks that are set."""

from __future__ import annotations

from datetime import datetime
from zoneinfo import ZoneInfo

import pytest

from backupd.alerts.daily import is_due, newest_day, yesterday
from backupd.completeness.dates import day_text
from backupd.config.sections import ReportSection
from backupd.core.incidents import OF_NO_INCIDENT, Notice, Occasion, Outcome, Way

THERE = "Europe/Amsterdam"


def section(at: str = "07:00", time_zone: str = THERE) -> ReportSection:
    hours, minutes = map(int, at.split(":"))
    return ReportSection(at=hours * 60 + minutes, time_zone=time_zone, to=("a@example.org",))


def when(text: str, time_zone: str = THERE) -> float:
    return datetime.fromisoformat(text).replace(tzinfo=ZoneInfo(time_zone)).timestamp()


def newest(of: ReportSection, now: float) -> tuple[str, bool]:
    found = newest_day(of, now)
    return day_text(found.day), found.is_of_today


@pytest.mark.parametrize(
    ("now", "day", "is_of_today"),
    [
        ("2026-12-01T06:59:59", "2026-11-29", False),
        ("2026-12-01T07:00:00", "2026-11-30", True),
        ("2026-12-01T23:59:59", "2026-11-30", True),
        ("2026-12-02T00:00:00", "2026-11-30", False),
    ],
)
def test_the_day_before_is_due_from_its_time_until_midnight_there(
    now: str, day: str, *, is_of_today: bool
) -> None:
    assert newest(section(), when(now)) == (day, is_of_today)


def test_a_day_that_is_not_over_in_utc_is_not_reported_yet() -> None:
    now = when("2026-12-01T07:30:00", "Pacific/Auckland")  # still the last of November in UTC
    assert newest(section(time_zone="Pacific/Auckland"), now) == ("2026-11-29", True)
    assert newest(section(time_zone="UTC"), now) == ("2026-11-29", True)
    assert day_text(yesterday("Pacific/Auckland", now)) == "2026-11-29"
    assert day_text(yesterday("UTC", now)) == "2026-11-29"
    late = when("2026-12-01T13:30:00", "Pacific/Auckland")
    assert newest(section("13:30", "Pacific/Auckland"), late) == ("2026-11-30", True)
    assert day_text(yesterday("Pacific/Auckland", late)) == "2026-11-30"


def test_a_time_that_there_is_twice_is_the_second_one() -> None:
    first, second = (
        datetime(2026, 10, 25, 2, 30, fold=fold, tzinfo=ZoneInfo(THERE)).timestamp()
        for fold in (0, 1)
    )
    assert second - first == 3600
    assert newest(section("02:30"), first + 60) == ("2026-10-23", False)
    assert newest(section("02:30"), second - 1) == ("2026-10-23", False)
    assert newest(section("02:30"), second) == ("2026-10-24", True)


def test_a_time_that_there_is_not_is_the_one_that_clocks_then_show() -> None:
    shown = when("2026-03-29T03:30:00")
    assert newest(section("02:30"), shown - 1) == ("2026-03-27", False)
    assert newest(section("02:30"), shown) == ("2026-03-28", True)


@pytest.mark.parametrize("at", ["00:00", "01:30", "02:30", "23:30"])
def test_each_day_of_a_year_is_due_once(at: str) -> None:
    half_hours = range(365 * 48)
    begin = when("2026-01-01T00:00:00")
    found = (newest_day(section(at), begin + each * 1800) for each in half_hours)
    days = [day for day, is_of_today in found if is_of_today]
    assert sorted(set(days)) == list(dict.fromkeys(days)) == [*range(days[0], days[0] + 365)]


def a_notice(outcome: Outcome) -> Notice:
    return Notice(
        incident_id=OF_NO_INCIDENT,
        way=Way.REPORT,
        occasion=Occasion.DAILY,
        number=1,
        at=0.0,
        outcome=outcome,
        detail="",
    )


@pytest.mark.parametrize(
    ("outcome", "due"),
    [
        (Outcome.FAILED, True),
        (Outcome.SENT, False),
        (Outcome.SKIPPED, False),
        (Outcome.UNKNOWN, False),
        (Outcome.TRYING, False),
    ],
)
def test_only_one_that_certainly_nobody_got_is_sent_again(outcome: Outcome, *, due: bool) -> None:
    today = newest_day(section(), when("2026-12-01T07:00:00"))
    assert is_due(today, a_notice(outcome)) == due
    after_midnight = newest_day(section(), when("2026-12-02T00:10:00"))
    assert after_midnight.day == today.day
    assert is_due(after_midnight, a_notice(outcome)) == due


def test_one_that_nobody_began_to_send_is_sent_on_its_day_alone() -> None:
    assert is_due(newest_day(section(), when("2026-12-01T22:00:00")), None)
    assert not is_due(newest_day(section(), when("2026-12-02T05:00:00")), None)
