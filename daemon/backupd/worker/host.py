"""The host's own incident: ends once nothing has run into our limits for a while."""

from __future__ import annotations

import asyncio
import time
from contextlib import suppress
from typing import TYPE_CHECKING

from backupd.core.dependencies import Dependency
from backupd.core.host import host_fault
from backupd.core.pace import repeat
from backupd.localfs.limits import try_limits

if TYPE_CHECKING:
    from backupd.worker.breaker import Breakers

_EVERY = 0.5  # seconds
_QUIET = 60.0  # seconds; no longer than the longest pause between two tries of a file
_SHORTEST_QUIET = 3.0  # seconds; intake tries again each second
_LONGEST_QUIET = 3600.0  # seconds


class HostWatch:
    """Looks at the host while it is at its limits.

    A full load that runs into them again and again would cause one short incident after another,
    and nobody would be notified of any. So each time that the host fault comes back soon, it must
    be quiet for longer.
    """

    def __init__(self, breakers: Breakers, stop: asyncio.Event) -> None:
        self._breakers = breakers
        self._stop = stop
        self._first = self._quiet = max(min(_QUIET, breakers.policy.cap), _SHORTEST_QUIET)
        self._ended_at = -_LONGEST_QUIET

    async def run(self) -> None:
        """Look now and then until the stop."""
        await repeat(self._look, _EVERY, self._stop)

    async def _look(self) -> None:
        if self._breakers.is_down(Dependency.HOST):
            await self._outlast()

    async def _outlast(self) -> None:
        """Wait until all has been well for long enough, or for the stop."""
        again_so_soon = time.monotonic() < self._ended_at + self._quiet
        self._quiet = min(2 * self._quiet, _LONGEST_QUIET) if again_so_soon else self._first
        well_since = time.monotonic()
        while time.monotonic() < well_since + self._quiet:
            with suppress(TimeoutError):
                await asyncio.wait_for(self._stop.wait(), min(_EVERY, self._quiet))
                return
            if not await self._is_well() or self._breakers.is_paused(Dependency.HOST):
                well_since = time.monotonic()
        await self._breakers.succeeded(Dependency.HOST)
        self._ended_at = time.monotonic()

    async def _is_well(self) -> bool:
        try:
            try_limits()
        except Exception as error:
            if (fault := host_fault(error)) is None:
                raise
            await self._breakers.failed(fault)
            return False
        return True
