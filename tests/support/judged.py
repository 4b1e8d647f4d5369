"""A ledger, a lane that judges what came, and a clock that a test sets."""

from __future__ import annotations

import time
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

from backupd.completeness.dates import DAY, day_of, day_start, day_text
from backupd.completeness.expectations import Bounds, Expectations, SequenceRule
from backupd.ledger import incidents
from backupd.worker import CompletenessLane
from support.coming import an_arrival, come
from support.ledgers import FEED, Bench, opened

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from backupd.core.incidents import Incident

RULE = SequenceRule(regex=r"_(\d+)\.csv$", wait=60.0)
EXPECTED = Expectations(every=900.0, files=Bounds(least=3, most=3), sequence=RULE)
RESCAN = 300.0
TODAY = day_of(time.time())
NOON = day_start(TODAY) + DAY / 2


class Place:
    """A ledger, a lane that judges, and a clock to be set."""

    def __init__(self, bench: Bench) -> None:
        self.bench = bench
        self.ledger = bench.ledger
        self.at = NOON
        self.is_seen = True
        self.booted_at = 0.0
        bench.context.booted_at = lambda: self.booted_at
        bench.context.now = lambda: self.at
        bench.context.expectations = {FEED.name: EXPECTED}
        self.lane = self.restarted()

    def restarted(self) -> CompletenessLane:
        """A daemon starts."""
        self.lane = CompletenessLane(
            self.bench.context, lambda: self.is_seen, lambda: self.bench.away, 400 * DAY, RESCAN
        )
        return self.lane

    async def comes(self, *names: str, before: float = 0.0) -> None:
        files = [an_arrival(FEED.name, self.at - before, name, RULE) for name in names]
        await come(self.ledger, *files)

    async def open(self) -> dict[str, Incident]:
        """Judge, then return the open incidents by kind and date."""
        await self.lane.look()
        return {
            each.cause.replace(f":{FEED.name}", ""): each
            for each in await self.ledger.ask(incidents.all_open)
        }


def of(kind: str, days: int = 0) -> str:
    return f"{kind}:{day_text(TODAY + days)}"


@asynccontextmanager
async def judging(directory: Path) -> AsyncIterator[Place]:
    """Watch the feed."""
    async with opened(directory / "ledger.db") as ledger:
        place = Place(Bench(ledger=ledger, feeds=[FEED]))
        await place.lane.watch()
        yield place
