"""A clock that is set: nothing waits for the time that it had shown."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import structlog

from backupd.core.pace import repeat
from backupd.core.times import StepFinder

if TYPE_CHECKING:
    import asyncio

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
        self._clock = StepFinder()
        await self._ledger.bring_forward(time.time(), self._longest)
        await repeat(self._look, _EVERY, self._stop)

    async def _look(self) -> None:
        if step := self._clock.step():
            event = f"the clock was set {'back' if step < 0 else 'forward'}"
            log.warning(event, by_s=round(abs(step), 1))
            await self._ledger.bring_forward(time.time(), self._longest)
