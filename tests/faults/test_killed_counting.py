"""SIGKILL while what came is counted and judged: no file counts twice, nothing is told falsely."""

from __future__ import annotations

import asyncio
import contextlib
import json
import re
import sqlite3
import time
from collections import Counter
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import pytest

from support.fault_site import Site
from support.mailbox import TICKETS, mailbox

if TYPE_CHECKING:
    from support.campaigns import Campaign
    from support.mailbox import Mailbox

pytestmark = pytest.mark.faults

READER = "operations@example.org"
CONFIG = """
[feeds.cdr]
customers = ["eLUX"]
directory = "{directory}/{{customer}}/cdr"
pattern = "*.csv"
timestamp_regex = '_(\\d{{14}})_'
timestamp_format = "%Y%m%d%H%M%S"
header_lines = 1
archive_directory = "{{customer}}/cdr"

[feeds.cdr.expect]
every = "1h"
files = {{ min = 1 }}
records = {{ min = 1 }}
sequence_regex = '_(\\d{{4}})\\.csv$'
sequence_wait = "1s"
trend = true

[alerts]
smtp_url = "smtp://127.0.0.1:PORT"
from = "backupd@example.org"
ticket_to = ["TICKETS"]
after = "0s"

[report]
at = "00:00"
to = ["READER"]
"""
ALL_TOLD = "SELECT 2 = (SELECT count(*) FROM notices WHERE outcome != 'trying')"
NONE_OPEN = "SELECT 0 = (SELECT count(*) FROM incidents WHERE closed_at IS NULL)"
LONG = 4.0  # seconds: so long it takes until feeds are judged for the first time


class Sender:
    """Delivers files with numbers that go on: of weeks before, then of today; one gets lost."""

    def __init__(self, campaign: Campaign, site: Site, tries: int) -> None:
        self.count: Counter[str] = Counter()
        self.records: Counter[str] = Counter()
        self.lost = 0
        self._campaign, self._site, self._tries = campaign, site, tries
        self._number = 0
        self._now = datetime.now(UTC)

    def some(self) -> None:
        """Deliver some, the dates of which are farther on the longer it goes on."""
        weeks = max(3 - 6 * self._campaign.row.tries // self._tries, 0)
        for _ in range(self._campaign.rng.randint(1, 6)):
            self._next(self._now - timedelta(weeks=weeks))
        if weeks == 0 and not self.lost:
            self._number += 1
            self.lost = self._number
            self._next(self._now)

    def finds_it_again(self) -> None:
        """Deliver what was lost."""
        self._deliver(self.lost, self._now)
        self.lost = 0

    def _next(self, at: datetime) -> None:
        self._number += 1
        self._deliver(self._number, at)

    def _deliver(self, number: int, at: datetime) -> None:
        records = self._campaign.rng.randint(1, 9)
        text = "A;B\n" + "".join(f"{number};{each}\n" for each in range(records))
        self._site.deliver(f"eLUX_{at:%Y%m%d%H%M%S}_{number:04}.csv", text.encode())
        self.count[f"{at:%Y-%m-%d}"] += 1
        self.records[f"{at:%Y-%m-%d}"] += records

    @property
    def spans(self) -> list[tuple[int, int]]:
        """The numbers that were delivered."""
        if not self.lost:
            return [(1, self._number)]
        return [(1, self.lost - 1), (self.lost + 1, self._number)]


async def test_kills_while_counting(campaign: Campaign) -> None:
    async with mailbox(campaign.root, login=False, starttls=False) as box:
        await asyncio.to_thread(_campaign, campaign, box)


def _campaign(campaign: Campaign, box: Mailbox) -> None:
    words = {"PORT": f"{box.port}", "TICKETS": TICKETS, "READER": READER}
    feeds = re.sub("|".join(words), lambda found: words[found[0]], CONFIG)
    site = Site(campaign.root, feeds=feeds)
    tries = campaign.size(sample=9, whole=300)
    sender = Sender(campaign, site, tries)
    try:
        while campaign.row.tries < tries:
            _live_and_be_killed(campaign, site, sender)
        _lives_until(site, "all is told", ALL_TOLD)
        site.finish()
        _is_counted(site, sender)
        _is_told_once(site, sender, box)
        sender.finds_it_again()
        _lives_until(site, "no gap is left", NONE_OPEN)
        site.finish()
    finally:
        site.kill()
    _is_counted(site, sender)
    campaign.ends(sum(sender.count.values()), site.reader.in_the_end("gap"))


def _live_and_be_killed(campaign: Campaign, site: Site, sender: Sender) -> None:
    sender.some()
    site.start()
    sender.some()
    is_long = campaign.row.tries % 3 == 2
    # At any moment: there is nothing to wait for.
    time.sleep(campaign.rng.uniform(0, LONG if is_long else 0.6))
    site.kill()
    campaign.tried()


def _lives_until(site: Site, what: str, true: str) -> None:
    """Let a daemon live until something is so in its ledger."""
    site.start()
    site.until(lambda: _asked(site, true) == [(1,)], what)
    site.stop()


def _asked(site: Site, query: str, *values: str) -> list[tuple[object, ...]]:
    with contextlib.closing(sqlite3.connect(site.places.ledger)) as ledger:
        return ledger.execute(query, values).fetchall()


def _is_counted(site: Site, sender: Sender) -> None:
    rows = _asked(site, "SELECT date(day * 86400, 'unixepoch'), files, records FROM arrivals")
    assert {str(day): (files, records) for day, files, records in rows} == {
        day: (files, sender.records[day]) for day, files in sender.count.items()
    }
    spans = _asked(site, "SELECT spans FROM arrived_numbers ORDER BY day")
    of_days = [span[:2] for (text,) in spans for span in json.loads(str(text))]
    assert _joined(of_days) == sender.spans


def _joined(spans: list[list[int]]) -> list[tuple[int, int]]:
    """Return the numbers of all days as one."""
    numbers = sorted(each for low, high in spans for each in range(low, high + 1))
    assert len(numbers) == len(set(numbers))
    begins = [each for each in numbers if each - 1 not in numbers]
    ends = [each for each in numbers if each + 1 not in numbers]
    return list(zip(begins, ends, strict=True))


def _is_told_once(site: Site, sender: Sender, box: Mailbox) -> None:
    told = _asked(site, "SELECT kind, reason FROM incidents")
    assert [kind for kind, _ in told] == ["gap"], told
    assert f"missing numbers: {sender.lost} (1)" in str(told[0][1])
    for way, address in (("ticket", TICKETS), ("report", READER)):
        # Killed while it was sent, nobody can know whether it arrived: it is not sent again.
        ((outcome,),) = _asked(site, "SELECT outcome FROM notices WHERE way = ?", way)
        assert outcome in {"sent", "unknown"}
        assert len(box.to(address)) in ({1} if outcome == "sent" else {0, 1})
