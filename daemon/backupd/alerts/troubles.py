"""Ways to notify people that fail: each pauses, longer each time; the incident says so."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import structlog

from backupd.core.incidents import Outage, Way

if TYPE_CHECKING:
    from collections.abc import Collection

    from backupd.alerts.ports import AlertLedger

log = structlog.get_logger()

_FIRST_PAUSE, _LONGEST_PAUSE = 60.0, 900.0  # seconds
_DOUBLINGS = 10  # beyond, the longest pause holds anyway, and after days the number overflows


class Failures:
    """Which of some ways fail, as one incident, "mail" or "hook": for both mails take one road."""

    def __init__(self, ledger: AlertLedger, cause: str) -> None:
        self._ledger = ledger
        self._cause = cause
        self._failing: dict[Way, Outage] = {}
        self._is_noted = True  # the last process may have left its incident open
        self._was_tried = False  # before that, nobody knows whether what failed then works now

    def may_try(self, way: Way, now: float) -> bool:
        """Return whether a way's pause, if there is one, is over."""
        outage = self._failing.get(way)
        at = outage.next_try_at or 0.0 if outage else 0.0
        return now >= at or at > now + _LONGEST_PAUSE  # the clock was set back

    async def failed(self, way: Way, reason: str, now: float) -> None:
        """Note that nobody could be notified this way."""
        first = Outage(name=self._cause, since=now, reason="", trials=0, next_try_at=None)
        before = self._failing.get(way, first)
        pause = min(_FIRST_PAUSE * 2 ** min(before.trials, _DOUBLINGS), _LONGEST_PAUSE)
        outage = replace(before, reason=reason, trials=before.trials + 1, next_try_at=now + pause)
        self._failing[way] = outage
        self._is_noted = self._was_tried = True
        log.info("could not tell", way=str(way), reason=reason, next_try_in_s=pause)
        await self._ledger.note_outage(outage)

    async def still_due(self, ways: Collection[Way], now: float) -> None:
        """Forget the ways that work, or by which nobody is to be notified any more."""
        self._failing = {way: each for way, each in self._failing.items() if way in ways}
        if self._is_noted and not self._failing and (self._was_tried or not ways):
            await self._ledger.close_incidents([self._cause], now)
            self._is_noted = False

    def succeeded(self, way: Way) -> None:
        """Note that it works."""
        self._was_tried = True
        self._failing.pop(way, None)
