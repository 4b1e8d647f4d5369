"""The lane that judges feeds: which incidents it opens and ends, and when it does not judge."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import TYPE_CHECKING

from backupd.completeness.dates import DAY, day_start, day_text
from backupd.completeness.expectations import Bounds
from backupd.completeness.judging import Excuse
from backupd.control import excuse
from backupd.core.stages import Stage
from backupd.ledger import incidents
from support.coming import an_arrival, come
from support.files import a_file
from support.intake import eventually
from support.judged import EXPECTED, NOON, RESCAN, RULE, TODAY, Place, of
from support.ledgers import FEED, plant

if TYPE_CHECKING:
    import pytest


async def more_is_expected(place: Place) -> None:
    """Of three dates with three files each two are due when a fourth file is expected of each."""
    more = replace(EXPECTED, every=None, files=Bounds(least=4))
    for days in range(3):
        await come(place.ledger, *[an_arrival(FEED.name, NOON + days * DAY)] * 3)
    place.bench.context.expectations = {FEED.name: more}
    place.at = NOON + 2 * DAY
    await place.restarted().watch()


async def test_a_silent_feed_is_late_until_a_file_comes(place: Place) -> None:
    await place.comes("a_1.csv")
    assert await place.open() == {}

    place.at += 901
    (late,) = (await place.open()).values()
    assert (late.cause, late.feed) == (f"late:{FEED.name}", FEED.name)
    assert late.title == f"feed {FEED.name} is late"
    place.at += 60
    assert list((await place.open()).values()) == [late]

    await place.comes("a_2.csv")
    assert await place.open() == {}


async def test_a_gap_names_its_numbers_until_they_come(place: Place) -> None:
    await place.comes("a_1.csv", "a_4.csv")
    assert await place.open() == {}

    place.at += 60
    gap = (await place.open())[of("gap")]
    assert gap.reason.endswith("missing numbers: 2-3 (2): a_2.csv, a_3.csv")

    await place.comes("a_2.csv")
    less = (await place.open())[of("gap")]
    assert less.reason.endswith("missing numbers: 3 (1): a_3.csv")
    assert less.id == gap.id

    await place.comes("a_3.csv")
    assert await place.open() == {}


async def test_what_is_missing_is_told_once_its_date_is_due(place: Place) -> None:
    place.at += DAY
    await place.comes("a_1.csv")
    place.at = day_start(TODAY + 2) + 6 * 3600 - 1
    await place.comes("a_2.csv")
    assert of("missing", 1) not in await place.open()

    place.at += 1
    missing = (await place.open())[of("missing", 1)]
    assert missing.reason.startswith(f"{day_text(TODAY + 1)}: 1 of 3 files came, due ")
    assert place.lane.standing[FEED.name].missing == 2

    late = [an_arrival(FEED.name, day_start(TODAY + 1) + 1) for _ in range(2)]
    await come(place.ledger, *late)
    assert of("missing", 1) not in await place.open()


async def test_the_date_on_which_it_began_is_not_judged_by_its_files(place: Place) -> None:
    place.at += DAY

    assert of("missing") not in await place.open()


async def test_what_waits_to_be_read_may_be_what_is_missing(place: Place) -> None:
    await place.comes("a_1.csv")
    assert await place.open() == {}
    waiting = a_file(Stage.MANIFEST, first_seen_at=place.at + 800)
    await plant(place.ledger, waiting)

    place.at += 901
    assert await place.open() == {}

    place.at += 3600  # that file hangs: it holds nothing up for ever
    assert list(await place.open()) == ["late"]


async def test_after_a_start_what_lies_there_is_read_first(place: Place) -> None:
    await place.comes("a_1.csv")
    place.at += 7200
    place.restarted()
    place.is_seen = False
    assert await place.open() == {}
    waiting = a_file(Stage.MANIFEST, first_seen_at=place.at)
    await plant(place.ledger, waiting)
    place.is_seen = True

    assert await place.open() == {}

    place.at += 3601
    assert list(await place.open()) == ["late"]


async def test_a_feed_that_is_away_is_neither_late_nor_well(place: Place) -> None:
    await place.comes("a_1.csv")
    place.at += 901
    place.bench.away[FEED.name] = "it is not mounted"
    assert await place.open() == {}
    place.bench.away.clear()
    place.at += 900  # what lies there now came at any time: it is late from its return on
    assert await place.open() == {}
    place.at += 1
    late = (await place.open())["late"]

    place.bench.away[FEED.name] = "it is not mounted"
    assert list(await place.open()) == ["late"]
    place.bench.away.clear()
    place.at += RESCAN
    assert (await place.open())["late"].id == late.id

    place.bench.away[FEED.name] = "it is not mounted"
    await place.comes("a_2.csv")
    assert list(await place.open()) == ["late"]


async def test_a_feed_that_is_back_is_judged_when_it_was_scanned(place: Place) -> None:
    await place.comes("a_1.csv", "a_3.csv")
    place.bench.away[FEED.name] = "it is not mounted"
    assert await place.open() == {}
    place.bench.away.clear()

    place.at += RESCAN - 1
    assert await place.open() == {}
    place.at += 1
    assert list(await place.open()) == [of("gap")]


async def test_a_file_that_waits_for_ever_holds_up_nothing(place: Place) -> None:
    assert await place.open() == {}
    await plant(place.ledger, a_file(Stage.SETTLE, first_seen_at=place.at + 1))
    place.at += 4000
    await place.comes("a_1.csv")

    place.at += 901
    assert list(await place.open()) == ["late"]


async def test_a_file_that_is_requeued_ends_no_incident(place: Place) -> None:
    assert await place.open() == {}
    place.at += 1000
    late = await place.open()
    assert list(late) == ["late"]

    await plant(place.ledger, a_file(Stage.MANIFEST, first_seen_at=place.at - 900))

    assert await place.open() == late


async def test_an_old_incident_opens_none_of_other_old_dates(place: Place) -> None:
    place.at += DAY
    await place.comes("a_1.csv", "a_3.csv")
    place.at += 60
    assert of("gap", 1) in await place.open()
    place.at += DAY
    await place.comes("a_4.csv")
    place.at += 40 * DAY

    opened = await place.open()

    assert of("gap", 1) in opened
    assert of("missing", 2) not in opened


async def test_a_clock_that_was_set_is_waited_for(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    steps = [DAY, -DAY]
    await place.comes("a_1.csv")
    assert await place.open() == {}
    monkeypatch.setattr(place.lane._clock, "step", lambda: steps.pop(0) if steps else 0.0)

    place.at += DAY
    assert await place.open() == {}
    place.at -= DAY
    assert await place.open() == {}
    monkeypatch.setattr("backupd.worker.completeness._STEADY", 0.0)
    place.lane._steady_at = 0.0
    assert await place.open() == {}

    place.at += 901
    assert list(await place.open()) == ["late"]


async def test_excused_is_over_at_once_and_stays_so(place: Place) -> None:
    await place.comes("a_1.csv", "a_4.csv")
    place.at += 60
    assert list(await place.open()) == [of("gap")]

    some = Excuse(feed=FEED.name, day=TODAY, low=2, high=3, why="lost", at=place.at)
    await excuse(place.ledger, some)

    assert await place.open() == {}


async def test_a_date_that_is_excused_whole_needs_no_daemon(place: Place) -> None:
    await place.comes("a_1.csv", "a_4.csv")
    place.at += 60
    assert list(await place.open()) == [of("gap")]

    every = Excuse(feed=FEED.name, day=TODAY, low=None, high=None, why="off", at=place.at)
    await excuse(place.ledger, every)

    assert await place.ledger.ask(incidents.all_open) == []


async def test_what_is_expected_no_more_is_over(place: Place) -> None:
    await place.comes("a_1.csv")
    place.at += 901
    assert list(await place.open()) == ["late"]

    place.bench.context.expectations = {}
    place.is_seen = False
    await place.restarted().run()

    assert await place.ledger.ask(incidents.all_open) == []


async def test_what_comes_before_the_stop_is_seen_before_the_end(place: Place) -> None:
    await place.comes("a_1.csv")
    place.at += 901
    running = asyncio.create_task(place.lane.run())
    await eventually(lambda: place.ledger.ask(incidents.all_open), lambda: "no incident")

    await place.comes("a_2.csv", "a_3.csv")
    place.bench.context.stop.set()
    await running

    assert await place.ledger.ask(incidents.all_open) == []


async def test_a_file_with_tomorrows_date_is_a_file_that_came(place: Place) -> None:
    await place.comes("a_1.csv")
    place.at += 901
    ahead = an_arrival(FEED.name, place.at)._replace(day=TODAY + 1)

    await come(place.ledger, ahead)

    assert await place.open() == {}


async def test_other_expectations_hold_at_once(place: Place) -> None:
    await place.comes("a_1.csv")
    place.at += 901
    assert list(await place.open()) == ["late"]

    place.bench.context.expectations = {FEED.name: replace(EXPECTED, every=1800.0)}
    await place.restarted().watch()

    assert await place.open() == {}


async def test_other_expectations_are_not_held_against_what_was_due_before(place: Place) -> None:
    await more_is_expected(place)
    assert await place.open() == {}

    place.at += DAY
    assert list(await place.open()) == [of("missing", 2)]


async def test_an_incident_that_is_older_than_what_is_judged_ends_too(place: Place) -> None:
    await place.comes("a_1.csv", "a_3.csv")
    place.at += 60
    assert list(await place.open()) == [of("gap")]
    place.at += 40 * DAY
    assert of("gap") in await place.open()

    await come(place.ledger, an_arrival(FEED.name, NOON, "a_2.csv", RULE))

    assert of("gap") not in await place.open()


async def test_what_was_due_by_other_expectations_counts_nowhere(place: Place) -> None:
    await more_is_expected(place)

    await place.lane.look()
    standing = place.lane.standing[FEED.name]
    assert (standing.missing, standing.late_s) == (0, 0.0)

    place.at += DAY
    await place.lane.look()
    standing = place.lane.standing[FEED.name]
    assert (standing.missing, standing.late_s) == (1, 6 * 3600)
