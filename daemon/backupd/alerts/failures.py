"""Which ways to notify people fail, and when each is tried again."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import structlog

from backupd.core.incidents import went_down

if TYPE_CHECKING:
    from collections.abc import Collection

    from backupd.alerts.ports import AlertLedger
    from backupd.core.incidents import Incident, Way

log = structlog.get_logger()

_FIRST_PAUSE, _LONGEST_PAUSE = 60.0, 900.0  # seconds
_MOST_DOUBLINGS = 10  # beyond, the longest pause holds anyway, and after days the number overflows


class Failures:
    """Which of some ways fail, as one incident, "mail" or "hook": for all mails take one road."""

    def __init__(self, ledger: AlertLedger, cause: str, ways: Collection[Way]) -> None:
        self._ledger = ledger
        self._cause = cause
        self._due = set(ways)  # until `still_due` says that nobody is to be notified by them
        self._failing: dict[Way, Incident] = {}
        self._is_noted = True  # the last process may have left its incident open
        self._was_tried = False  # before that, nobody knows whether what failed then works now

    def are_of(self, way: Way) -> None:
        """Have one more way among them."""
        self._due.add(way)

    def may_try(self, way: Way, now: float) -> bool:
        """Return whether a way's pause, if there is one, is over."""
        outage = self._failing.get(way)
        at = outage.next_try_at or 0.0 if outage else 0.0
        return now >= at or at > now + _LONGEST_PAUSE  # the clock was set back

    async def failed(self, way: Way, reason: str, now: float) -> None:
        """Note that nobody could be notified this way."""
        before = self._failing.get(way) or went_down(self._cause, now)
        pause = min(_FIRST_PAUSE * 2 ** min(before.trials, _MOST_DOUBLINGS), _LONGEST_PAUSE)
        outage = replace(before, reason=reason, trials=before.trials + 1, next_try_at=now + pause)
        self._failing[way] = outage
        self._is_noted = self._was_tried = True
        log.info("could not tell", way=str(way), reason=reason, next_try_in_s=pause)
        await self._ledger.note_incidents([outage])

    async def still_due(self, asked: Collection[Way], due: Collection[Way], now: float) -> None:
        """Forget which of the `asked` work, or are not `due`: nobody is to be notified by them."""
        self._due = {*(self._due - set(asked)), *due}
        self._failing = {way: each for way, each in self._failing.items() if way in self._due}
        if self._is_noted and not self._failing and (self._was_tried or not self._due):
            await self._ledger.close_incidents([self._cause], now)
            self._is_noted = False

    def succeeded(self, way: Way) -> None:
        """Note that it works."""
        self._was_tried = True
        self._failing.pop(way, None)
