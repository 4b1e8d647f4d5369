"""Incidents in the ledger: one a cause, over restarts, until their files went on."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import pytest
from structlog.testing import capture_logs

from backupd.alerts import IncidentTracker
from backupd.config import load
from backupd.control.actions import hold, release, requeue
from backupd.core import moves
from backupd.core.errors import DependencyDownError, PermanentError
from backupd.core.incidents import (
    Case,
    Kind,
    Notice,
    Occasion,
    Outcome,
    Standing,
    Way,
    went_down,
)
from backupd.core.moves import RetryPolicy
from backupd.core.stages import Awaits, Stage
from backupd.ledger import Ledger, incidents
from backupd.worker import Breakers
from support.stories import Maker, write_config

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable
    from pathlib import Path

    from backupd.config.sections import Config

POLICY = RetryPolicy(first=1, cap=60, attempts=3, jitter=lambda: 1.0)


@dataclass
class House:
    """A ledger with its tracker, which can be closed and opened again."""

    config: Config
    ledger: Ledger
    away: dict[str, str]

    def __post_init__(self) -> None:
        self.maker = Maker(self.ledger, self.config)
        self.tracker = IncidentTracker(self.ledger, lambda: self.away)
        self.breakers = Breakers(self.ledger, POLICY, lambda: self.maker.now)

    async def cases(self) -> list[Case]:
        await self.tracker.keep()
        return await self.ledger.ask(incidents.open_cases)

    async def restarted(self) -> House:
        await self.ledger.close()
        self.ledger = Ledger(self.config.ledger.path)
        self.__post_init__()
        self.breakers.resume(await self.ledger.ask(incidents.outages))
        return self


@pytest.fixture
async def house(tmp_path: Path) -> AsyncIterator[House]:
    config = load(write_config(tmp_path), environ={})
    made = House(config, Ledger(config.ledger.path), {})
    yield made
    await made.ledger.close()


async def test_files_parked_for_alike_reasons_are_one_incident(house: House) -> None:
    for number in range(3):
        file = await house.maker.seen(f"a_{number}.csv")
        await house.maker.parked(file, f"a_{number}.csv has {number} bad lines")
    other = await house.maker.seen("b_1.csv", feed="traffic/b")
    await house.maker.parked(other, "b_1.csv has 9 bad lines")

    first, second = sorted(await house.cases(), key=lambda case: case.incident.feed)

    assert (first.incident.kind, first.incident.feed) == (Kind.PARKED, "traffic/a")
    assert (first.held.files, first.held.oldest_name) == (3, "a_0.csv")
    assert (second.incident.feed, second.held.files) == ("traffic/b", 1)


async def test_it_survives_a_restart_as_the_same_incident(house: House) -> None:
    await house.maker.parked(await house.maker.seen("a_1.csv"), "odd")
    (before,) = await house.cases()
    (after,) = await (await house.restarted()).cases()
    assert after == before


async def test_the_log_tells_what_begins_and_ends_and_at_a_start_what_lasts(house: House) -> None:
    file = await house.maker.parked(await house.maker.seen("a_1.csv"), "odd")
    with capture_logs() as logs:
        await house.cases()
        await house.cases()
        house = await house.restarted()
        await house.tracker.open()
        await house.cases()
        await requeue(house.ledger, [file.id], None, house.maker.now, dry_run=False)
        await house.maker.to(await house.maker.again(file), Stage.LOAD)
        await house.cases()
    assert [(each["event"], each["log_level"]) for each in logs] == [
        ("incident opened", "warning"),
        ("incident still open", "warning"),
        ("incident closed", "info"),
    ]


async def test_a_requeued_file_ends_it_only_when_it_went_on(house: House) -> None:
    file = await house.maker.parked(await house.maker.seen("a_1.csv"), "odd")
    (case,) = await house.cases()
    await requeue(house.ledger, [file.id], None, house.maker.now, dry_run=False)
    assert [each.incident for each in await house.cases()] == [case.incident]

    file = await house.maker.to(await house.maker.again(file), Stage.MANIFEST)
    assert await house.cases() == []
    (over,) = await house.ledger.ask(incidents.all_cases)
    assert over.incident.closed_at is not None
    assert over.incident.id == case.incident.id


async def test_one_that_fails_again_is_still_the_same_incident(house: House) -> None:
    file = await house.maker.parked(await house.maker.seen("a_1.csv"), "odd 1")
    (case,) = await house.cases()
    await requeue(house.ledger, [file.id], None, house.maker.now, dry_run=False)
    await house.cases()
    await house.maker.parked(await house.maker.again(file), "odd 2")
    (same,) = await house.cases()
    assert same.incident.id == case.incident.id


async def test_a_file_held_by_hand_is_no_incident(house: House) -> None:
    file = await house.maker.seen("a_1.csv")
    await hold(house.ledger, [file.id], house.maker.now)
    assert await house.cases() == []
    await release(house.ledger, [file.id], house.maker.now)


async def test_a_vanished_file_that_is_delivered_again_ends_its_incident(house: House) -> None:
    file = await house.maker.seen("a_1.csv")
    await house.maker.moved(moves.parked(file, "it vanished", house.maker.now, local=False))
    assert len(await house.cases()) == 1
    await house.maker.seen("a_1.csv", content=b"again\n")
    assert await house.cases() == []


async def test_a_batch_that_is_parked_opens_one_too(house: House) -> None:
    await house.maker.to(await house.maker.seen("a_1.csv"), Stage.LOAD)
    await house.ledger.form_batch(500, house.maker.now)
    batch = await house.ledger.claim_batch(Stage.LOAD, house.maker.now)
    assert batch is not None
    error = PermanentError(f"{batch.id} is refused")
    assert await house.ledger.move_batch(moves.batch_failed(batch, error, house.maker.now, POLICY))
    (case,) = await house.cases()
    assert case.incident.trouble == "… is refused"
    assert case.held.files == 1


async def test_a_feed_that_is_away_holds_up_its_own_files(house: House) -> None:
    await house.maker.seen("a_1.csv")
    house.away["traffic/a"] = "not mounted"
    (case,) = await house.cases()
    assert (case.incident.cause, case.held.files) == ("feed:traffic/a", 1)
    house.away.clear()
    assert await house.cases() == []


async def test_what_is_down_is_one_incident_until_it_works_over_restarts_too(house: House) -> None:
    await house.maker.to(await house.maker.seen("a_1.csv"), Stage.SHIP)
    error = DependencyDownError("archive", "connection refused")
    await house.breakers.failed(error)
    house.maker.now += 5
    await house.breakers.failed(error)
    (case,) = await house.cases()
    assert (case.incident.cause, case.incident.trials, case.held.files) == ("archive", 2, 1)

    again = await house.restarted()
    assert again.breakers.is_down("archive")
    assert again.breakers.opens_at("archive") <= again.maker.now
    assert not again.breakers.exhausted()
    await again.breakers.failed(error)
    (same,) = await again.cases()
    assert same.incident.id == case.incident.id
    await again.breakers.succeeded("archive")
    assert await again.cases() == []


async def test_each_new_outage_is_an_incident_of_its_own(house: House) -> None:
    for _ in range(2):
        await house.breakers.failed(DependencyDownError("warehouse", "its disk is full"))
        await house.breakers.succeeded("warehouse")
    every = await house.ledger.ask(incidents.all_cases)
    assert [case.incident.cause for case in every] == ["warehouse", "warehouse"]


async def test_in_short_it_tells_where_work_is_due_and_whether_a_ticket_went(house: House) -> None:
    async def standing() -> Standing:
        await house.tracker.keep()
        return await house.ledger.ask(incidents.standing)

    assert await standing() == Standing(due=frozenset(), incidents=False, ticketed=False)
    await house.maker.to(await house.maker.seen("a_1.csv"), Stage.SHIP)
    kept = await house.maker.to(await house.maker.seen("a_2.csv"), Stage.CLEANUP)
    await house.maker.waiting(kept, awaits=Awaits.KEEP)
    assert (await standing()).due == {Stage.SHIP}

    await house.maker.parked(await house.maker.seen("a_3.csv"), "odd")
    found = await standing()
    assert found == Standing(due=frozenset({Stage.SHIP}), incidents=True, ticketed=False)
    (case,) = await house.cases()
    ticket = Notice(
        incident_id=case.incident.id,
        way=Way.TICKET,
        occasion=Occasion.OPENED,
        number=0,
        at=house.maker.now,
        outcome=Outcome.SENT,
        detail="",
    )
    await house.ledger.note_notices([ticket])
    assert (await standing()).ticketed


async def test_who_works_on_files_does_not_meddle_with_a_feeds_incident(house: House) -> None:
    house.away["traffic/a"] = "not mounted"
    (before,) = await house.cases()
    await house.breakers.failed(DependencyDownError("feed:traffic/a", "not mounted"))
    await house.breakers.succeeded("feed:traffic/a")  # of a file that was under way
    assert await house.cases() == [before]


async def test_the_ledger_is_asked_only_when_something_was_written(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked, ask = [], house.ledger.ask

    async def noted(report: Callable[..., object], *args: object) -> object:
        asked.append(report)
        return await ask(report, *args)

    monkeypatch.setattr(house.ledger, "ask", noted)
    for _ in range(5):
        await house.tracker.keep()
    assert asked == [incidents.troubles]

    await house.maker.parked(await house.maker.seen("a_1.csv"), "it is odd")
    for _ in range(5):
        await house.tracker.keep()
    (opened,) = await ask(incidents.all_open)
    assert opened.kind is Kind.PARKED
    assert asked.count(incidents.troubles) <= 3  # once more for the incident that was written


async def test_an_incident_that_is_noted_again_after_its_end_is_a_new_one(house: House) -> None:
    down = went_down("archive", house.maker.now)
    for _ in range(2):
        await house.ledger.note_incidents([down])
        await house.ledger.close_incidents(["archive"], house.maker.now)
    first, second = await house.ledger.ask(incidents.all_cases)
    assert first.incident.id != second.incident.id
    assert first.incident.cause == second.incident.cause == "archive"
