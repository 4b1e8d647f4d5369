"""Tracks incidents: opens them when a cause shows, closes them when it is gone.

What is down, doubled, not backed up or did not come is noted by who looked for it (the workers,
the notifier). The tracker looks for the rest: parked files and those without room, which the ledger
knows, and feeds' directories, which intake watches, with what stands in them and cannot be taken.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, replace
from itertools import chain
from typing import TYPE_CHECKING

import structlog

from backupd.alerts.ports import UntilChanged
from backupd.core.dependencies import feed_directory
from backupd.core.incidents import (
    CUSTOMERS_PREFIX,
    ROOM_CAUSE,
    Incident,
    Kind,
    parked_cause,
    untaken_cause,
    went_down,
)
from backupd.core.records import new_id

if TYPE_CHECKING:
    from collections.abc import Callable, Container, Iterable, Iterator, Mapping, Sequence

    from backupd.alerts.ports import AlertLedger
    from backupd.core.incidents import Troubles
    from backupd.core.untaken import Untaken

    Away = Mapping[str, str]
    Untakens = Mapping[str, Sequence[Untaken] | None]

log = structlog.get_logger()

_NOTHING: Untakens = {}
_NO_REASONS: Mapping[str, str] = {}
_RENEWED = {Kind.UNTAKEN, Kind.CUSTOMERS}  # their reason changes while they are open


@dataclass(frozen=True, slots=True, kw_only=True)
class Changes:
    """What the tracker has to write."""

    opened: Sequence[Incident]
    closed: Sequence[Incident]
    renewed: Sequence[Incident]  # open ones with newer words


class IncidentTracker:
    """Keeps the ledger's incidents up to date, and logs when one begins or ends."""

    def __init__(
        self,
        ledger: AlertLedger,
        away: Callable[[], Away | None],
        untaken: Callable[[], Untakens] = dict,
        unlisted: Mapping[str, str] = _NO_REASONS,
    ) -> None:
        """`away()` maps the feeds whose directory is away to the reasons; None: not looked yet.

        `untaken()` maps every feed to what it does not take; None: not looked yet. `unlisted` maps
        the file types whose customers_file cannot be used to the reasons.
        """
        self._unlisted = unlisted
        self._ledger = ledger
        self._away = away
        self._untaken = untaken
        self._troubles = UntilChanged(ledger, ledger.troubles)
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
        troubles = await self._troubles.get()
        found = changes(troubles, self._away(), now, self._untaken(), self._unlisted)
        if noted := [*found.opened, *found.renewed]:
            await self._ledger.note_incidents(noted)
        if found.closed:
            await self._ledger.close_incidents([each.cause for each in found.closed], now)
        closed = {each.id for each in found.closed}
        still = [each for each in troubles.open if each.id not in closed]
        self._log([*still, *found.opened], now)

    def _log(self, opened: Sequence[Incident], now: float) -> None:
        before, self._known = self._known, {each.id: each for each in opened}
        for id_ in self._known.keys() - before.keys():
            each = self._known[id_]
            log.warning("incident opened", **_facts(each), reason=each.reason)
        for id_ in before.keys() - self._known.keys():
            each = before[id_]
            lasted = round(now - each.opened_at, 1)
            log.info("incident closed", **_facts(each), lasted_s=lasted)


def changes(
    troubles: Troubles,
    away: Away | None,
    now: float,
    untaken: Untakens = _NOTHING,
    unlisted: Mapping[str, str] = _NO_REASONS,
) -> Changes:
    """Compare the open incidents with what is so. Pure.

    Parked files open an incident at once; it stays open until all of them went on, also while they
    are tried again. `away` None leaves the feeds' incidents as they are.
    """
    known = {each.cause: each for each in troubles.open}
    found = [
        *_found(troubles, away or {}, now),
        *_found_untaken(untaken, now),
        *_found_unlisted(unlisted, now),
    ]
    causes = {each.cause for each in found}
    return Changes(
        opened=[each for each in found if each.cause not in known],
        closed=[each for each in troubles.open if _is_over(each, causes, troubles, away, untaken)],
        renewed=list(_renewed(known, found)),
    )


def _renewed(known: Mapping[str, Incident], found: Iterable[Incident]) -> Iterator[Incident]:
    """Yield the open incidents that name other paths by now, or another number."""
    for each in found:
        before = known.get(each.cause) if each.kind in _RENEWED else None
        if before and before.reason != each.reason:
            yield replace(before, reason=each.reason)


def _found(troubles: Troubles, away: Away, now: float) -> Iterator[Incident]:
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
    if troubles.room:
        yield Incident(
            id=new_id(now),
            kind=Kind.ROOM,
            cause=ROOM_CAUSE,
            feed="",
            trouble="",
            reason=troubles.room,
            opened_at=now,
        )
    for feed, reason in away.items():
        yield replace(went_down(feed_directory(feed), now), reason=reason)


def _found_untaken(untaken: Untakens, now: float) -> Iterator[Incident]:
    for each in chain.from_iterable(some or () for some in untaken.values()):
        yield Incident(
            id=new_id(now),
            kind=Kind.UNTAKEN,
            cause=untaken_cause(each.feed, each.trouble.what),
            feed=each.feed,
            trouble=each.trouble.what,
            reason=each.reason,
            opened_at=now,
        )


def _found_unlisted(unlisted: Mapping[str, str], now: float) -> Iterator[Incident]:
    for file_type, reason in unlisted.items():
        yield Incident(
            id=new_id(now),
            kind=Kind.CUSTOMERS,
            cause=f"{CUSTOMERS_PREFIX}{file_type}",
            feed="",
            trouble="",
            reason=reason,
            opened_at=now,
        )


def _is_over(
    incident: Incident,
    found: Container[str],
    troubles: Troubles,
    away: Away | None,
    untaken: Untakens,
) -> bool:
    """Return whether it has ended. `found` are the causes that there are now."""
    match incident.kind:
        case Kind.PARKED:
            return (incident.feed, incident.trouble) not in troubles.lasting
        case Kind.FEED:
            return away is not None and incident.feed not in away
        case Kind.UNTAKEN:
            there = untaken.get(incident.feed, ())  # a feed that is not in the config has nothing
            return there is not None and incident.trouble not in {
                each.trouble.what for each in there
            }
        case Kind.ROOM:
            return not troubles.room
        case Kind.CUSTOMERS:
            return incident.cause not in found
        case _:
            return False  # whoever noted it does that


def _facts(incident: Incident) -> dict[str, str]:
    return {
        "incident": incident.id,
        "cause": incident.cause,
        "kind": str(incident.kind),
        "title": incident.title,
        "feed": incident.feed,
    }
