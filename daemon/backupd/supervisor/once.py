"""The end of `backupd run --once`: when nothing moves any more."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Protocol

from backupd.core.dependencies import Dependency
from backupd.core.stages import FACTS, ORDER, Stage
from backupd.ledger import files

if TYPE_CHECKING:
    from collections.abc import Callable

    from backupd.intake.service import Intake
    from backupd.worker import WorkerContext

_LOOK_EVERY = 0.05  # seconds
_PAST_WITHIN = 20.0  # seconds for what is over: the next run goes on where this one was
_BEFORE_LOAD = (Stage.SETTLE, Stage.MANIFEST)
_WITHOUT_ARCHIVE = tuple(stage for stage in ORDER if FACTS[stage].needs != Dependency.ARCHIVE)


class BusyLane(Protocol):
    """What works on things of its own, beside the files."""

    @property
    def is_at_work(self) -> bool:
        """Whether something is due there, and was not tried in vain."""
        ...


class PastLane(Protocol):
    """What sees to files that are over."""

    async def run_through(self) -> None:
        """Work until nothing is left to be done, that fails, or the stop."""


class UntilDone:
    """Ends the daemon once all is done that can be."""

    def __init__(self, context: WorkerContext, intake: Intake, end: Callable[[], None]) -> None:
        """`end` ends the daemon."""
        self._context = context
        self._ledger = context.ledger
        self._intake = intake
        self._end = end
        self._lanes: list[BusyLane] = []
        self._past_lanes: list[PastLane] = []
        self._past: asyncio.Task[None] | None = None

    def wait_for(self, lane: BusyLane) -> None:
        """Have it end only when this one has nothing to do either, or failed."""
        self._lanes.append(lane)

    def see_to_past(self, lane: PastLane) -> None:
        """Have this one work once all else is done, for a while at most."""
        self._past_lanes.append(lane)

    async def run(self) -> None:
        """End the daemon when nothing moves and a last scan finds nothing new either."""
        try:
            await self._until_end()
            if self._past is not None:
                await self._past  # the batch under way
        finally:
            if self._past is not None:
                self._past.cancel()

    async def _until_end(self) -> None:
        while not self._context.stop.is_set():
            if await self._is_idle():
                await self._see_to_past()
                await self._intake.scan_once()
                if await self._is_idle():
                    self._end()
            self._ledger.wake(Stage.LOAD)  # the last file that could join a batch may be gone
            await asyncio.sleep(_LOOK_EVERY)

    async def _see_to_past(self) -> None:
        """Return when that is done, or has had its time; then it ends with the daemon."""
        if self._past is None:
            self._past = asyncio.create_task(self._run_past_lanes())
            await asyncio.wait([self._past], timeout=_PAST_WITHIN)

    async def _run_past_lanes(self) -> None:
        for lane in self._past_lanes:
            await lane.run_through()

    async def _is_idle(self) -> bool:
        if any(lane.is_at_work for lane in self._lanes):
            return False
        # Impala holds nothing up: what it is owed is paid by the next daemon.
        closed = {outage.cause for outage in self._context.breakers.closed_directories()}
        given_up = {outage.cause for outage in self._context.breakers.exhausted()} - {
            Dependency.IMPALA
        }
        if given_up - closed or closed - given_up:
            return not closed - given_up
        # What this host gives may be enough again soon: until it is, not all has been looked at.
        if not self._intake.ready.is_set() or self._context.breakers.is_down(Dependency.HOST):
            return False
        feeds, flowing = self._context.open_feeds(), self._context.workable_feeds(Stage.SHIP)
        held_up = [feed for feed in feeds if feed not in flowing]
        return not (
            await self._ledger.ask(files.any_unfinished, flowing)
            or await self._ledger.ask(files.any_unfinished, held_up, _WITHOUT_ARCHIVE)
        )

    async def nothing_can_join(self) -> bool:
        """Return whether no file on its way could still come into the next batch."""
        if not self._intake.ready.is_set():
            return False
        feeds = self._context.open_feeds()
        return not await self._ledger.ask(files.any_unfinished, feeds, _BEFORE_LOAD)
