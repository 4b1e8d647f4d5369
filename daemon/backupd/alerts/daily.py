"""Sends the daily report: each day's once.

That it is being sent is written before, and what became of it afterwards, as it is of a ticket. A
crash in between leaves a notice with an unknown outcome, and that day's report is not sent again.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, NamedTuple
from zoneinfo import ZoneInfo

from backupd.alerts.sending import hand_over
from backupd.completeness.dates import day_from, day_of, is_before_midnight, moment_of
from backupd.core.incidents import OF_NO_INCIDENT, Notice, Occasion, Outcome, Way

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from email.message import EmailMessage

    from backupd.alerts.failures import Failures
    from backupd.alerts.ports import AlertLedger
    from backupd.config.sections import AlertsSection, ReportSection


@dataclass(frozen=True, slots=True, kw_only=True)
class Reporting:
    """When the report is sent, and to whom; what is asked of a day, since 1970-01-01."""

    section: ReportSection
    compose: Callable[[int], Awaitable[EmailMessage]]
    notice: Callable[[int], Awaitable[Notice | None]]  # what became of it; None: not begun


class Newest(NamedTuple):
    """The newest day whose report may be sent, and whether its time was today."""

    day: int  # since 1970-01-01
    is_of_today: bool


class DailyMail:
    """Sends it when it is due. In dev it is logged alone."""

    def __init__(
        self,
        section: AlertsSection,
        ledger: AlertLedger,
        failures: Failures,
        reporting: Reporting,
        *,
        dev: bool,
    ) -> None:
        """`failures` are those of all mail."""
        self._section = section
        self._ledger = ledger
        self._failures = failures
        self._reporting = reporting
        self._dev = dev
        self._over: Newest | None = None  # nothing is to be done for it any more
        failures.are_of(Way.REPORT)

    async def send_once(self) -> None:
        """Send the report that is due, if there is one and mail may be tried."""
        now = time.time()
        day = await self._due(now)
        due = () if day is None else (Way.REPORT,)
        await self._failures.still_due((Way.REPORT,), due, now)
        if day is not None and self._failures.may_try(Way.REPORT, now):
            await self._send(day, await self._reporting.compose(day))

    async def _due(self, now: float) -> int | None:
        newest = newest_day(self._reporting.section, now)
        if newest == self._over:
            return None
        if is_due(newest, await self._reporting.notice(newest.day)):
            return newest.day
        self._over = newest
        return None

    async def _send(self, day: int, message: EmailMessage) -> None:
        to = self._reporting.section.to
        notice = Notice(
            incident_id=OF_NO_INCIDENT,
            way=Way.REPORT,
            occasion=Occasion.DAILY,
            number=day,
            at=time.time(),
            outcome=Outcome.TRYING,
            detail=", ".join(to),
        )
        await self._ledger.note_notices([notice])
        answer = await hand_over(self._section, to, message, dev=self._dev)
        outcome, detail = answer.of(to)
        await self._ledger.note_notices([notice.ended(outcome, detail)])
        if outcome in {Outcome.FAILED, Outcome.UNKNOWN}:
            await self._failures.failed(Way.REPORT, detail, time.time())
        else:
            self._failures.succeeded(Way.REPORT)


def is_due(newest: Newest, notice: Notice | None) -> bool:
    """Return whether the report of a day is to be sent, by what became of it so far.

    One that nobody began to send is sent on its day alone; one that nobody got, until the next.
    """
    return newest.is_of_today if notice is None else notice.outcome is Outcome.FAILED


def newest_day(section: ReportSection, now: float) -> Newest:
    """Return the newest day whose report may be sent, once today's time has come.

    It is that of yesterday; of the day before where yesterday, UTC, is not over at that time, if
    only in summer: each day has its report.
    """
    today = datetime.fromtimestamp(now, ZoneInfo(section.time_zone)).date()
    day = day_from(today.isoformat())
    has_come = now >= moment_of(day, section.at, section.time_zone)
    is_early = is_before_midnight(section.at, section.time_zone, today.year)
    return Newest(day - 1 - is_early - (not has_come), is_of_today=has_come)


def yesterday(time_zone: str, now: float) -> int:
    """Return the day before, there, since 1970-01-01; it is over in UTC too."""
    today = datetime.fromtimestamp(now, ZoneInfo(time_zone)).date()
    return min(day_from(today.isoformat()), day_of(now)) - 1
