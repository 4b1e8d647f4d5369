"""A clock that is set: nothing waits for the time that it had shown."""

from __future__ import annotations

import asyncio
import time
from contextlib import suppress
from typing import TYPE_CHECKING

import structlog

from backupd.core.times import StepFinder

if TYPE_CHECKING:
    from backupd.core.times import Pauses
    from backupd.ledger import Ledger

log = structlog.get_logger()

_EVERY = 1.0  # seconds


class ClockWatch:
    """Notes each step of the clock, and sets right what it would hold up."""

    def __init__(self, ledger: Ledger, longest: Pauses, stop: asyncio.Event) -> None:
        """`longest`: nothing waits for longer by itself."""
        self._ledger = ledger
        self._longest = longest
        self._stop = stop

    async def run(self) -> None:
        """Look each second until the stop; at the start too, for what an earlier process saw."""
        clock = StepFinder()
        await self._ledger.bring_forward(time.time(), self._longest)
        while not self._stop.is_set():
            with suppress(TimeoutError):
                await asyncio.wait_for(self._stop.wait(), _EVERY)
            if step := clock.step():
                event = f"the clock was set {'back' if step < 0 else 'forward'}"
                log.warning(event, by_s=round(abs(step), 1))
                await self._ledger.bring_forward(time.time(), self._longest)
