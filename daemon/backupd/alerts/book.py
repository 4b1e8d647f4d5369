"""The book of incidents: opens them when a cause shows, closes them when it is gone.

What is down, or doubled, is noted by who tried it (the workers, the notifier). The book looks for
the rest:
parked files, which the ledger knows, and feeds' directories, which intake watches.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

import structlog

from backupd.core.incidents import Incident, Kind, feed_cause, parked_cause
from backupd.core.records import new_id

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from backupd.alerts.ports import AlertLedger
    from backupd.core.incidents import Troubles

    Away = Mapping[str, str]

log = structlog.get_logger()


@dataclass(frozen=True, slots=True, kw_only=True)
class Changes:
    """What the book has to write."""

    opened: Sequence[Incident]
    closed: Sequence[Incident]


class Book:
    """Keeps the ledger's incidents true, and tells the log what begins and ends."""

    def __init__(self, ledger: AlertLedger, away: Callable[[], Away | None]) -> None:
        """`away()` maps the feeds whose directory is away to the reasons; None: not looked yet."""
        self._ledger = ledger
        self._away = away
        self._known: dict[str, Incident] = {}  # by id, as last seen open

    async def open(self) -> None:
        """Take up the incidents that the last process left: they are no news."""
        troubles = await self._ledger.troubles()
        self._known = {each.id: each for each in troubles.open}
        for each in troubles.open:
            log.warning("incident still open", **_facts(each), reason=each.reason)

    async def keep(self) -> None:
        """Look once, write what changed."""
        now = time.time()
        troubles = await self._ledger.troubles()
        found = changes(troubles, self._away(), now)
        if found.opened:
            await self._ledger.open_incidents(found.opened)
        if found.closed:
            await self._ledger.close_incidents([each.cause for each in found.closed], now)
        closed = {each.id for each in found.closed}
        still = [each for each in troubles.open if each.id not in closed]
        self._tell([*still, *found.opened], now)

    def _tell(self, opened: Sequence[Incident], now: float) -> None:
        before, self._known = self._known, {each.id: each for each in opened}
        for id_ in self._known.keys() - before.keys():
            each = self._known[id_]
            log.warning("incident opened", **_facts(each), reason=each.reason)
        for id_ in before.keys() - self._known.keys():
            each = before[id_]
            lasted = round(now - each.opened_at, 1)
            log.info("incident closed", **_facts(each), lasted_s=lasted)


def changes(troubles: Troubles, away: Mapping[str, str] | None, now: float) -> Changes:
    """Compare the open incidents with what is so. Pure.

    Parked files open an incident at once; it stays open until all of them went on, also while they
    are tried again. `away` None leaves the feeds' incidents as they are.
    """
    known = {each.cause for each in troubles.open}
    opened = [each for each in _found(troubles, away or {}, now) if each.cause not in known]
    closed = [each for each in troubles.open if _is_over(each, troubles, away)]
    return Changes(opened=opened, closed=closed)


def _found(troubles: Troubles, away: Mapping[str, str], now: float) -> Iterator[Incident]:
    for group in troubles.parked:
        yield Incident(
            id=new_id(now),
            kind=Kind.PARKED,
            cause=parked_cause(group.feed, group.trouble),
            feed=group.feed,
            trouble=group.trouble,
            reason=group.reason,
            opened_at=now,
        )
    for feed, reason in away.items():
        yield Incident(
            id=new_id(now),
            kind=Kind.FEED,
            cause=feed_cause(feed),
            feed=feed,
            trouble="",
            reason=reason,
            opened_at=now,
        )


def _is_over(incident: Incident, troubles: Troubles, away: Mapping[str, str] | None) -> bool:
    match incident.kind:
        case Kind.PARKED:
            return (incident.feed, incident.trouble) not in troubles.lasting
        case Kind.FEED:
            return away is not None and incident.feed not in away
        case Kind.DEPENDENCY | Kind.DOUBLED:
            return False


def _facts(incident: Incident) -> dict[str, str]:
    return {
        "incident": incident.id,
        "cause": incident.cause,
        "kind": str(incident.kind),
        "title": incident.title,
        "feed": incident.feed,
    }
