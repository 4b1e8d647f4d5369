"""The lane that judges feeds: what it makes of hours, and of times in which no file can come."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from backupd.completeness.dates import DAY, day_start, day_text
from backupd.completeness.expectations import Expectations
from backupd.core.incidents import Incident, Kind
from backupd.core.records import new_id
from support.coming import an_arrival, come
from support.judged import NOON, RESCAN, TODAY, Place, of
from support.ledgers import FEED

if TYPE_CHECKING:
    from backupd.core.arrivals import Arrival


async def test_silence_counts_from_when_this_host_was_started(place: Place) -> None:
    await place.comes("a_1.csv")
    place.at += 7200
    place.booted_at = place.at - 60
    place.restarted()

    assert await place.open() == {}
    place.at = place.booted_at + 900
    assert await place.open() == {}
    place.at += 1
    assert list(await place.open()) == ["late"]


async def test_a_feed_that_was_late_before_the_host_was_off_still_is(place: Place) -> None:
    await place.comes("a_1.csv")
    place.at += 901
    late = await place.open()
    assert list(late) == ["late"]

    place.at += 7200
    place.booted_at = place.at - 60
    place.restarted()

    assert await place.open() == late


async def test_silence_counts_from_when_the_clock_was_set(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("backupd.worker.completeness._STEADY", -1.0)
    await place.comes("a_1.csv")
    assert await place.open() == {}
    set_by(place, monkeypatch, 7200)

    assert await place.open() == {}
    place.at += 900
    assert await place.open() == {}
    place.at += 1
    assert list(await place.open()) == ["late"]


def set_by(place: Place, monkeypatch: pytest.MonkeyPatch, seconds: float) -> None:
    """Set the clock."""
    steps = [seconds]
    monkeypatch.setattr(place.lane._clock, "step", lambda: steps.pop() if steps else 0.0)
    place.at += seconds


async def test_a_restart_does_not_forget_that_a_feed_was_away(place: Place) -> None:
    await place.comes("a_1.csv")
    place.at += 7200
    away = Incident(
        id=new_id(NOON),
        kind=Kind.FEED,
        cause=f"feed:{FEED.name}",
        feed=FEED.name,
        trouble="",
        reason="it is not mounted",
        opened_at=NOON + 60,
    )
    await place.ledger.note_incidents([away])
    await place.ledger.close_incidents([away.cause], place.at - 600)
    await place.restarted().watch()

    assert await place.open() == {}
    place.at += 301
    assert list(await place.open()) == ["late"]


# -- by the hour -----------------------------------------------------------------------------------

TREND = Expectations(trend=True)


@pytest.fixture
async def steady(place: Place) -> Place:
    """Four files an hour for three weeks, and until noon of the last day."""
    for week in (1, 2, 3):
        await come(place.ledger, *by_the_hour(TODAY - 7 * week, 24))
    await come(place.ledger, *by_the_hour(TODAY, 12))
    since = place.at
    place.at -= 30 * DAY
    await place.ledger.past.watch_no_more([FEED.name])
    place.bench.context.expectations = {FEED.name: TREND}
    await place.restarted().watch()
    place.at = since
    return place


def by_the_hour(day: int, stop: int, first: int = 0) -> list[Arrival]:
    begins = (day_start(day) + 900 * quarter + 60 for quarter in range(4 * first, 4 * stop))
    return [an_arrival(FEED.name, at) for at in begins]


async def test_a_silent_hour_is_told_and_is_over_when_the_files_came(steady: Place) -> None:
    assert await steady.open() == {}
    steady.at = NOON + 4499
    assert await steady.open() == {}

    steady.at += 1
    (unusual,) = (await steady.open()).values()
    assert unusual.cause == f"unusual:{FEED.name}:{day_text(TODAY)}"
    assert unusual.reason.endswith(
        "hour 12 UTC: 0 files, where 4 are usual at that hour on this weekday"
    )

    await come(steady.ledger, *[an_arrival(FEED.name, NOON + 4000)] * 4)
    assert await steady.open() == {}


async def test_it_is_over_when_the_whole_date_is_as_usual(steady: Place) -> None:
    steady.at = NOON + 2 * 3600
    assert list(await steady.open()) == [of("unusual")]
    await come(steady.ledger, *by_the_hour(TODAY, 24, first=14))
    steady.at = NOON + 18 * 3600 - 1
    assert list(await steady.open()) == [of("unusual")]

    steady.at += 1
    assert of("unusual") not in await steady.open()


async def test_hours_while_the_host_was_off_are_not_judged(steady: Place) -> None:
    steady.at = NOON + 3 * 3600
    steady.booted_at = steady.at - 60
    steady.restarted()

    assert await steady.open() == {}
    steady.at += 4499
    assert await steady.open() == {}
    steady.at += 1
    unusual = (await steady.open())[of("unusual")]
    assert "hour 15 UTC: 0 files" in unusual.reason


async def test_hours_while_the_feed_was_away_are_not_judged(steady: Place) -> None:
    steady.bench.away[FEED.name] = "it is not mounted"
    steady.at = NOON + 3 * 3600 - RESCAN
    assert await steady.open() == {}
    steady.bench.away.clear()
    steady.at += RESCAN

    assert await steady.open() == {}


async def test_hours_while_the_daemon_was_down_are_judged_when_it_is_back(steady: Place) -> None:
    await come(steady.ledger, *by_the_hour(TODAY, 15, first=12))
    steady.at = NOON + 5 * 3600
    steady.restarted()

    unusual = (await steady.open())[of("unusual")]
    assert "hour 15 UTC: 0 files" in unusual.reason


@pytest.mark.parametrize("step", [3 * 3600, -3 * 3600])
async def test_hours_that_a_clock_left_out_or_showed_twice_are_not_judged(
    steady: Place, monkeypatch: pytest.MonkeyPatch, step: int
) -> None:
    monkeypatch.setattr("backupd.worker.completeness._STEADY", -1.0)
    assert await steady.open() == {}
    set_by(steady, monkeypatch, step)
    first = 12 + step // 3600
    await come(steady.ledger, *by_the_hour(TODAY, 20, first=first))
    if step < 0:
        await come(steady.ledger, *by_the_hour(TODAY, 12, first=first))

    while steady.at < NOON + 8 * 3600:
        assert await steady.open() == {}
        steady.at += 900
