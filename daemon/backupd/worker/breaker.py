"""What is down: a dependency's stage pauses, one trial at a time finds out when it is back."""

from __future__ import annotations

import math
import time
from dataclasses import replace
from typing import TYPE_CHECKING

import structlog

from backupd.core.archive_names import home_of, is_below
from backupd.core.dependencies import ARCHIVE_PREFIX, FEED_PREFIX, Dependency
from backupd.core.host import host_fault
from backupd.core.incidents import went_down
from backupd.core.moves import explained
from backupd.core.stages import Stage, stages_that_need

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from backupd.core.errors import DependencyDownError
    from backupd.core.incidents import Incident
    from backupd.core.moves import RetryPolicy
    from backupd.core.records import Feed
    from backupd.ledger import Ledger

_LONGEST_PAUSE = 60.0  # seconds: what came back is noticed within it, whatever `retry.cap` is

_TRIED_BY_WORKERS = {Dependency.ARCHIVE, Dependency.WAREHOUSE, Dependency.IMPALA, Dependency.HOST}

log = structlog.get_logger()


class Breakers:
    """One breaker for each dependency, open while it is down.

    A failure counts as a trial only once its pause is over: of many files that fail at the same
    moment, one does. The ledger has an incident for each that is open; those of a feed's directory
    are written by who watches the directories. While the host is at its limits all wait with it,
    and go on one at a time until `HostWatch` sees that it is well again.
    """

    def __init__(
        self,
        ledger: Ledger,
        policy: RetryPolicy,
        now: Callable[[], float],
        feeds: Iterable[Feed] = (),
    ) -> None:
        """`feeds` are those of the config: an incident with the archive says which it holds up."""
        self._homes = {feed.name: home_of(feed) for feed in feeds}
        self._ledger = ledger
        self.policy = policy
        self._now = now
        self._down_at: dict[str, float] = {}  # time.monotonic, as `began` and the next one
        self._not_written: set[str] = set()  # those down because something could not be written
        self._archive_well_at = -math.inf
        self.open: dict[str, Incident] = {}

    def resume(self, outages: Iterable[Incident]) -> None:
        """Take up what was down when the last process ended: to be tried at once, trials afresh."""
        for outage in outages:
            if _is_ours(outage.cause):
                feeds = "\n".join(self._feeds_of(outage.cause))
                again = replace(outage, trials=0, next_try_at=self._now(), trouble=feeds)
                self.open[outage.cause] = again

    def opens_at(self, dependency: str) -> float:
        """Return when it, and the host, may be tried again; 0 while they are up."""
        return max(self._opens_at(dependency), self._opens_at(Dependency.HOST))

    def is_paused(self, dependency: str) -> bool:
        """Return whether it, or the host, may not be tried just now."""
        return self._now() < self.opens_at(dependency)

    def is_trying(self, dependency: str) -> bool:
        """Return whether it, or the host, was down when last tried: one trial at a time then."""
        return self.is_down(dependency) or self.is_down(Dependency.HOST)

    def _opens_at(self, dependency: str) -> float:
        outage = self.open.get(dependency)
        at = outage.next_try_at or 0.0 if outage else 0.0
        return at if at <= self._now() + _LONGEST_PAUSE else 0.0  # else the clock was set back

    def is_down(self, dependency: str) -> bool:
        """Return whether it was down when last tried."""
        return dependency in self.open

    def closed_directories(self) -> list[Incident]:
        """Return the directories of the archive that take no files."""
        return [each for name, each in self.open.items() if name.startswith(ARCHIVE_PREFIX)]

    def above(self, directory: str) -> Incident | None:
        """Return what is down of the archive's directories at or above this one, if any is."""
        closed = self.closed_directories()
        return next((each for each in closed if is_below(directory, _directory(each.cause))), None)

    def exhausted(self) -> list[Incident]:
        """Return those that were tried as often as a file would be."""
        return [item for item in self.open.values() if item.trials >= self.policy.attempts]

    async def failed(
        self, error: DependencyDownError, began: float = math.inf, *, looked: bool = False
    ) -> float:
        """Note that it is down, or the host behind it; return when it may be tried again.

        Work that began before the archive was well again does not show how it is now. `looked`: the
        caller only looked at what is there, and wrote nothing.
        """
        error = host_fault(error) or error
        now, name = self._now(), error.dependency
        if name.startswith(Dependency.ARCHIVE) and began < self._archive_well_at:
            return now
        wider = self._wider(name)
        if wider is not None or now < self._opens_at(name):
            return self.opens_at(wider.cause if wider else name)
        outage = self.open.get(name)
        narrower: list[Incident] = []
        if outage is None:
            feeds = self._feeds_of(name)
            outage = went_down(name, now, feeds)
            self._down_at[name] = time.monotonic()
            if not looked and not name.startswith(FEED_PREFIX):
                self._not_written.add(name)
            narrower = [each for each in self.closed_directories() if _covers(name, each.cause)]
            log.info("dependency down", dependency=name, reason=explained(error))
        trials = outage.trials + 1
        pause = min(self.policy.pause(trials), _LONGEST_PAUSE)
        outage = replace(outage, trials=trials, next_try_at=now + pause, reason=explained(error))
        self.open[name] = outage
        if _is_ours(name):
            await self._ledger.note_incidents([outage])
        for each in narrower:
            await self._end(each)
        return now + pause

    async def moved(self, before: Incident, error: DependencyDownError) -> None:
        """Note that another directory is down than before, or that the same one still is."""
        if error.dependency == before.cause:
            await self.failed(error)
        elif self.open.pop(before.cause, None) is not None:
            await self.failed(error)
            await self._end(before)

    async def succeeded(
        self, dependency: str, began: float = math.inf, *, looked: bool = False
    ) -> None:
        """Note that it works. Work that began before it was down does not show how it is now.

        Nor does a look show that what could not be written can be written now: a disk may be full.
        """
        outage = self.open.get(dependency)
        if outage is None or (looked and dependency in self._not_written):
            return
        if began >= self._down_at.get(dependency, -math.inf):
            await self._end(outage)

    async def _end(self, outage: Incident) -> None:
        self.open.pop(outage.cause, None)
        self._down_at.pop(outage.cause, None)
        self._not_written.discard(outage.cause)
        down_for = round(self._now() - outage.opened_at, 1)
        log.info("dependency up again", dependency=outage.cause, down_for_s=down_for)
        if outage.cause.startswith(Dependency.ARCHIVE):
            self._archive_well_at = time.monotonic()
        if _is_ours(outage.cause):
            await self._ledger.close_incidents([outage.cause], self._now())
        if outage.cause.startswith(ARCHIVE_PREFIX):
            self._ledger.wake(*stages_that_need(Dependency.ARCHIVE), Stage.CLEANUP)

    def _wider(self, name: str) -> Incident | None:
        """Return what is down already and has this within it."""
        found = (each for each in self.open.values() if _covers(each.cause, name))
        return next((each for each in found if each.cause != name), None)

    def _feeds_of(self, name: str) -> tuple[str, ...]:
        """Return the feeds that have files in a directory of the archive; of all else, none."""
        if not name.startswith(ARCHIVE_PREFIX):
            return ()
        there, homes = _directory(name), self._homes.items()
        return tuple(f for f, home in homes if is_below(home, there) or is_below(there, home))


def _is_ours(name: str) -> bool:
    """Return whether it is tried by workers, who write its incident then."""
    return name in _TRIED_BY_WORKERS or name.startswith(ARCHIVE_PREFIX)


def _directory(name: str) -> str:
    return name.removeprefix(ARCHIVE_PREFIX)


def _covers(wide: str, narrow: str) -> bool:
    """Return whether what is down by the first name has within it what is by the second."""
    if not narrow.startswith(ARCHIVE_PREFIX):
        return False
    within = wide.startswith(ARCHIVE_PREFIX) and is_below(_directory(narrow), _directory(wide))
    return wide == Dependency.ARCHIVE or within
