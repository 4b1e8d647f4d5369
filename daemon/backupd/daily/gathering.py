"""Asks the ledger for a day, in a handful of statements, and makes the report and its mail."""

from __future__ import annotations

import asyncio
import socket
import time
from datetime import date
from typing import TYPE_CHECKING

from backupd.alerts import Reporting
from backupd.completeness.dates import day_start, day_text
from backupd.completeness.judging import Known
from backupd.completeness.usual import LOOK_BACK
from backupd.daily.building import Facts, feed_day
from backupd.daily.mail import as_mail
from backupd.daily.model import DayReport
from backupd.ledger import LedgerReader, arrivals, day_files, incidents
from backupd.ledger.history import last_left
from backupd.ledger.rows import in_chunks

if TYPE_CHECKING:
    from collections.abc import Container, Mapping, Sequence
    from email.message import EmailMessage

    from backupd.completeness.expectations import Expectations
    from backupd.config.sections import Config
    from backupd.core.incidents import Notice
    from backupd.daily.model import FeedDay
    from backupd.ledger import Ledger

_AT_ONCE = 200  # feeds


def report_of(
    reader: LedgerReader, feeds: Sequence[str], expectations: Mapping[str, Expectations], day: int
) -> DayReport:
    """Return the report of a day (since 1970-01-01) as the ledger knows it now.

    `feeds` are those of the config; others are in it if the ledger has files of theirs. Raises
    LedgerError.
    """
    now, text = time.time(), day_text(day)
    files = reader.ask(day_files.files_of_day, day_start(day))
    names = sorted({*feeds, *files})
    last = reader.ask(last_left, names)
    days: list[FeedDay] = []
    for some in in_chunks(names, _AT_ONCE):  # what is known of a feed takes some KiB
        facts = Facts(
            day=day,
            now=now,
            expectations=expectations,
            known=_known(reader, some, expectations, day),
            files=files,
            left={feed for feed in some if last.get(feed, 0.0) >= day_start(day)},
        )
        days += [feed_day(facts, name) for name in some]
    return DayReport(
        date=text,
        weekday=f"{date.fromisoformat(text):%A}",
        host=socket.gethostname(),
        made_at=now,
        feeds=days,
        incidents=reader.ask(incidents.all_open),
    )


def _known(
    reader: LedgerReader, feeds: Sequence[str], expectations: Container[str], day: int
) -> dict[str, Known]:
    """Return what is known of feeds; of those without expectations, from their first date on."""
    days = (day - LOOK_BACK, day)
    expected = [feed for feed in feeds if feed in expectations]
    others = [feed for feed in feeds if feed not in expectations]
    came = reader.ask(arrivals.came, *days, others)
    found = {feed: Known(seen=seen, since=day_start(min(seen))) for feed, seen in came.items()}
    return found | reader.ask(arrivals.known, *days, expected)


def reporting(config: Config, ledger: Ledger) -> Reporting | None:
    """Return when the report is to be sent, and who writes it; None: it is not wanted."""
    section, alerts = config.report, config.alerts
    if section is None or alerts is None:
        return None

    def write(day: int) -> EmailMessage:
        reader = LedgerReader(config.ledger.path)
        try:
            feeds = [feed.name for feed in config.feeds]
            report = report_of(reader, feeds, config.expectations, day)
        finally:
            reader.close()
        return as_mail(report, alerts.sender, section.to, again=False)

    async def compose(day: int) -> EmailMessage:
        return await asyncio.to_thread(write, day)

    async def notice(day: int) -> Notice | None:
        return await ledger.ask(incidents.report_notice, day)

    return Reporting(section=section, compose=compose, notice=notice)
