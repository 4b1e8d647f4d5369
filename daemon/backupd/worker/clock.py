"""A clock that is set back: nothing waits for the time that it had shown."""

from __future__ import annotations

import asyncio
import time
from contextlib import suppress
from typing import TYPE_CHECKING

import structlog

if TYPE_CHECKING:
    from backupd.ledger import Ledger

log = structlog.get_logger()

_EVERY = 1.0  # seconds
_STEP = 1.0  # seconds: less is how clocks are disciplined, and holds nothing up


class ClockWatch:
    """Compares the clock with one that nobody can set."""

    def __init__(self, ledger: Ledger, longest_pause: float, stop: asyncio.Event) -> None:
        """`longest_pause`: no file waits for longer by itself, in seconds."""
        self._ledger = ledger
        self._longest_pause = longest_pause
        self._stop = stop

    async def run(self) -> None:
        """Look each second until told to stop; at once too, for what an earlier process saw."""
        await self._ledger.bring_forward(time.time(), self._longest_pause)
        ahead = _ahead()
        while not self._stop.is_set():
            with suppress(TimeoutError):
                await asyncio.wait_for(self._stop.wait(), _EVERY)
            before, ahead = ahead, _ahead()
            if ahead < before - _STEP:
                log.warning("the clock was set back", by_s=round(before - ahead, 1))
                await self._ledger.bring_forward(time.time(), self._longest_pause)


def _ahead() -> float:
    return time.time() - time.monotonic()
