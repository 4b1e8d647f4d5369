"""The daily report is sent once, whatever comes in between: to a real mail server."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import pytest

from backupd.alerts import Reporting
from backupd.alerts.daily import DailyMail
from backupd.alerts.notifier import Notifier
from backupd.completeness.dates import day_from, day_start
from backupd.config.sections import ReportSection
from backupd.core.incidents import OF_NO_INCIDENT, Notice, Occasion, Outcome, Way
from backupd.daily import as_mail
from backupd.ledger import Ledger, incidents
from support.day_reports import a_report
from support.mailbox import Mailbox, mailbox, section

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from email.message import EmailMessage
    from pathlib import Path

READER = "operations@example.org"
DAY = day_from("2026-11-30")
SEVEN = day_start(DAY + 1) + 7 * 3600.0
HOUR = 3600.0


@dataclass
class Desk:
    """A ledger and a daily mail whose clock the test sets."""

    path: Path
    box: Mailbox
    monkeypatch: pytest.MonkeyPatch
    now: float = SEVEN - HOUR
    dev: bool = False
    composed: list[int] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.ledger = Ledger(self.path)
        alerts = section(self.box)
        self.notifier = Notifier(alerts, self.ledger, dev=self.dev)
        reporting = Reporting(
            section=ReportSection(at=7 * 60, time_zone="UTC", to=(READER,)),
            compose=self.compose,
            notice=self.notice,
        )
        failures = self.notifier.mail_failures
        self.daily = DailyMail(alerts, self.ledger, failures, reporting, dev=self.dev)
        self.monkeypatch.setattr("time.time", lambda: self.now)

    async def compose(self, day: int) -> EmailMessage:
        self.composed.append(day)
        report = a_report(made_at=self.now)
        return as_mail(report, "backupd@example.org", [READER], again=False)

    async def at(self, now: float) -> int:
        """Set the clock, do what the daemon does each second; return how many mails arrived."""
        self.now = now
        await self.notifier.mail_once()
        await self.daily.send_once()
        await self.daily.send_once()
        return len(self.box.mails)

    async def restarted(self) -> None:
        await self.ledger.close()
        self.__post_init__()
        await self.notifier.open()

    async def notice(self, day: int = DAY) -> Notice | None:
        return await self.ledger.ask(incidents.report_notice, day)

    async def outcome(self) -> Outcome | None:
        notice = await self.notice()
        return notice.outcome if notice else None

    async def open_causes(self) -> list[str]:
        return [each.cause for each in await self.ledger.ask(incidents.all_open)]


@pytest.fixture
async def box(tmp_path: Path) -> AsyncIterator[Mailbox]:
    async with mailbox(tmp_path) as made:
        yield made


@pytest.fixture
async def desk(
    tmp_path: Path, box: Mailbox, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[Desk]:
    made = Desk(tmp_path / "ledger.db", box, monkeypatch)
    yield made
    await made.ledger.close()


async def test_it_is_sent_at_its_time_to_its_readers_alone(desk: Desk) -> None:
    assert await desk.at(SEVEN - 1) == 0
    assert await desk.at(SEVEN) == 1
    (mail,) = desk.box.mails
    assert mail.to == [READER]
    assert mail.encrypted
    assert mail.login
    assert desk.composed == [DAY]
    assert await desk.outcome() is Outcome.SENT


async def test_it_is_sent_once_a_day_over_restarts(desk: Desk) -> None:
    assert await desk.at(SEVEN) == 1
    await desk.restarted()
    assert await desk.at(SEVEN + HOUR) == 1
    await desk.restarted()
    assert await desk.at(SEVEN + 24 * HOUR) == 2
    assert desk.composed == [DAY, DAY + 1]


async def test_a_daemon_that_was_down_then_sends_it_on_the_same_day(desk: Desk) -> None:
    await desk.restarted()
    assert await desk.at(SEVEN + 12 * HOUR) == 1
    assert desk.composed == [DAY]


async def test_of_days_that_a_daemon_was_down_the_newest_is_sent(desk: Desk) -> None:
    assert await desk.at(SEVEN + 20 * HOUR) == 0  # the next night: its time was yesterday
    assert await desk.at(SEVEN + 5 * 24 * HOUR) == 1
    assert desk.composed == [DAY + 5]


async def test_a_clock_that_jumps_forward_and_back_sends_nothing_twice(desk: Desk) -> None:
    assert await desk.at(SEVEN + 3 * HOUR) == 1  # it went ahead of the time
    assert await desk.at(SEVEN - 2 * HOUR) == 1
    assert await desk.at(SEVEN) == 1
    ahead = SEVEN + 400 * 24 * HOUR
    assert await desk.at(ahead) == 2
    assert await desk.at(SEVEN + HOUR) == 2
    await desk.restarted()
    assert await desk.at(SEVEN + 24 * HOUR) == 3  # and the day that comes is not left out
    assert desk.composed == [DAY, DAY + 400, DAY + 1]


async def test_one_whose_sending_was_interrupted_is_unknown_and_not_repeated(desk: Desk) -> None:
    desk.box.fault = "hangs"
    sending = asyncio.create_task(desk.at(SEVEN))
    async with asyncio.timeout(10):
        while not desk.box.offered:  # noqa: ASYNC110 -- what is waited for is the server's
            await asyncio.sleep(0.01)
    assert await desk.outcome() is Outcome.TRYING
    sending.cancel()
    desk.box.fault = ""
    await desk.restarted()
    assert await desk.at(SEVEN + HOUR) == 0
    notice = await desk.notice()
    assert notice is not None
    assert (notice.outcome, notice.detail) == (
        Outcome.UNKNOWN,
        "the daemon ended while the mail was being sent",
    )


async def test_one_whose_answer_was_lost_is_not_repeated(desk: Desk) -> None:
    desk.box.fault = "lost"
    assert await desk.at(SEVEN) == 1
    assert await desk.outcome() is Outcome.UNKNOWN
    desk.box.fault = ""
    assert await desk.at(SEVEN + HOUR) == 1
    assert await desk.open_causes() == []


async def test_a_server_that_refuses_is_tried_again_after_pauses(desk: Desk) -> None:
    desk.box.fault = "busy"
    await desk.at(SEVEN)
    await desk.at(SEVEN + 59)
    assert desk.box.offered == 1
    assert await desk.open_causes() == ["mail"]
    await desk.at(SEVEN + 61)
    await desk.at(SEVEN + 120)
    assert desk.box.offered == 2
    desk.box.fault = ""
    assert await desk.at(SEVEN + HOUR) == 1
    await desk.at(SEVEN + HOUR + 1)
    assert await desk.open_causes() == []
    assert await desk.outcome() is Outcome.SENT


async def test_one_that_nobody_got_is_tried_until_the_next_is_due(desk: Desk) -> None:
    desk.box.fault = "busy"
    await desk.at(SEVEN)
    await desk.restarted()
    assert await desk.open_causes() == ["mail"]
    desk.box.fault = ""
    assert await desk.at(SEVEN + 20 * HOUR) == 1
    assert desk.composed == [DAY, DAY]


async def test_a_reader_whom_the_server_refuses_is_noted(desk: Desk) -> None:
    desk.box.refused = {READER}
    assert await desk.at(SEVEN) == 0
    assert await desk.outcome() is Outcome.FAILED
    desk.box.refused = set()
    assert await desk.at(SEVEN + HOUR) == 1


async def test_in_dev_it_is_logged_alone(
    tmp_path: Path, box: Mailbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    desk = Desk(tmp_path / "ledger.db", box, monkeypatch, dev=True)
    assert await desk.at(SEVEN) == 0
    assert await desk.outcome() is Outcome.SKIPPED
    assert desk.composed == [DAY]
    await desk.ledger.close()


async def test_its_notice_is_none_of_an_incident(desk: Desk) -> None:
    await desk.at(SEVEN)
    notice = await desk.notice()
    assert notice is not None
    assert (notice.incident_id, notice.way, notice.occasion) == (
        OF_NO_INCIDENT,
        Way.REPORT,
        Occasion.DAILY,
    )
    assert await desk.ledger.last_mail() is None  # it delays no mail about an incident
    assert await desk.ledger.cases() == []
