"""What is down: a dependency's stage pauses, one trial at a time finds out when it is back."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import structlog

from backupd.core.host import HOST, host_fault
from backupd.core.incidents import Outage
from backupd.core.moves import explained

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from backupd.core.errors import DependencyDownError
    from backupd.core.moves import RetryPolicy
    from backupd.ledger import Ledger

_LONGEST_PAUSE = 60.0  # seconds: what came back is noticed within it, whatever `retry.cap` is

_TRIED_BY_WORKERS = {"archive", "warehouse", "impala", HOST}

log = structlog.get_logger()


class Breakers:
    """One breaker for each dependency, open while it is down.

    A failure counts as a trial only once its pause is over: of many files that fail at the same
    moment, one does. The ledger has an incident for each that is open; those of a feed's directory
    are written by who watches the directories. While the host is at its limits all wait with it,
    and go on one at a time until `HostWatch` sees that it is well again.
    """

    def __init__(self, ledger: Ledger, policy: RetryPolicy, now: Callable[[], float]) -> None:
        self._ledger = ledger
        self.policy = policy
        self._now = now
        self.open: dict[str, Outage] = {}

    def resume(self, outages: Iterable[Outage]) -> None:
        """Take up what was down when the last process ended: to be tried at once, trials afresh."""
        for outage in outages:
            if outage.name in _TRIED_BY_WORKERS:
                self.open[outage.name] = replace(outage, trials=0, next_try_at=self._now())

    def opens_at(self, dependency: str) -> float:
        """Return when it, and the host, may be tried again; 0 while they are up."""
        return max(self._opens_at(dependency), self._opens_at(HOST))

    def is_paused(self, dependency: str) -> bool:
        """Tell whether it, or the host, may not be tried just now."""
        return self._now() < self.opens_at(dependency)

    def is_trying(self, dependency: str) -> bool:
        """Tell whether it, or the host, was down when last tried: one trial at a time then."""
        return self.is_down(dependency) or self.is_down(HOST)

    def _opens_at(self, dependency: str) -> float:
        outage = self.open.get(dependency)
        at = outage.next_try_at or 0.0 if outage else 0.0
        return at if at <= self._now() + _LONGEST_PAUSE else 0.0  # else the clock was set back

    def is_down(self, dependency: str) -> bool:
        """Tell whether it was down when last tried."""
        return dependency in self.open

    def exhausted(self) -> list[Outage]:
        """Return those that were tried as often as a file would be."""
        return [item for item in self.open.values() if item.trials >= self.policy.attempts]

    async def failed(self, error: DependencyDownError) -> float:
        """Note that it is down, or the host behind it; return when it may be tried again."""
        error = host_fault(error) or error
        now = self._now()
        outage = self.open.get(error.dependency)
        if now < self._opens_at(error.dependency):
            return self.opens_at(error.dependency)
        if outage is None:
            outage = Outage(name=error.dependency, since=now, reason="", trials=0, next_try_at=now)
            log.info("dependency down", dependency=error.dependency, reason=explained(error))
        trials = outage.trials + 1
        pause = min(self.policy.pause(trials), _LONGEST_PAUSE)
        outage = replace(outage, trials=trials, next_try_at=now + pause, reason=explained(error))
        self.open[error.dependency] = outage
        if error.dependency in _TRIED_BY_WORKERS:
            await self._ledger.note_outage(outage)
        return now + pause

    async def succeeded(self, dependency: str) -> None:
        """Note that it works."""
        outage = self.open.pop(dependency, None)
        if outage is not None:
            log.info(
                "dependency up again",
                dependency=dependency,
                down_for_s=round(self._now() - outage.since, 1),
            )
            if dependency in _TRIED_BY_WORKERS:
                await self._ledger.close_incidents([dependency], self._now())
