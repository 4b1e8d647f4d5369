"""What all lanes share."""

from __future__ import annotations

import asyncio
import time
from contextlib import nullcontext, suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol

from backupd.core.archive_names import home_of
from backupd.core.dependencies import Dependency
from backupd.core.errors import DependencyDownError
from backupd.core.stages import FACTS
from backupd.core.times import booted_at

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping
    from contextlib import AbstractContextManager

    from backupd.completeness.expectations import Expectations
    from backupd.core.history import Remembered
    from backupd.core.moves import RetryPolicy
    from backupd.core.records import Feed, FeedRoot, FileRecord
    from backupd.core.stages import Stage
    from backupd.ledger import Ledger
    from backupd.worker.breaker import Breakers


class Measure(Protocol):
    """Times and counts the work that is done inside the context."""

    def __call__(self, stage: Stage, *, is_last: bool) -> AbstractContextManager[None]:
        """`is_last`: there is no further try after this one."""
        ...


async def _no_history(left: Remembered) -> None:
    raise DependencyDownError(Dependency.WAREHOUSE, f"there is no history to find {left} in")


def _unmeasured(stage: Stage, *, is_last: bool) -> AbstractContextManager[None]:
    del stage, is_last
    return nullcontext()


PROOF_IS_FRESH_FOR = 60.0  # seconds
AT_ONCE = 0.0  # when to look again, where there may be more work
_LOOK_AGAIN = 5.0  # seconds: the longest that a lane sleeps, should a wake-up ever be missed
_LOOKS_APART = 0.05  # seconds: under load, what comes in between is taken together


@dataclass(kw_only=True)
class WorkerContext:
    """The ledger, the feeds of the config, how to retry, and what is down.

    `roots()` has the directories of the feeds that may be worked on just now, by feed. `stop` ends
    all claiming: set it, then wake all lanes. `since` is when this process began (epoch seconds).
    `booted_at()` is when this host was started: while it was off, no file could come.
    `recall` puts a file back that left for the history, or raises why it cannot.
    """

    ledger: Ledger
    feeds: Mapping[str, Feed]
    policy: RetryPolicy
    breakers: Breakers
    roots: Callable[[], Mapping[str, FeedRoot]]
    now: Callable[[], float]
    since: float
    stop: asyncio.Event
    booted_at: Callable[[], float] = booted_at
    measure: Measure = _unmeasured
    recall: Callable[[Remembered], Awaitable[None]] = _no_history
    expectations: Mapping[str, Expectations] = field(default_factory=dict)  # by feed

    def open_feeds(self) -> list[str]:
        """Return the feeds whose files may be worked on."""
        roots = self.roots()
        return [name for name in self.feeds if name in roots]

    def workable_feeds(self, stage: Stage) -> list[str]:
        """Return the open feeds whose archive directory is not down, if the stage needs it."""
        feeds = self.open_feeds()
        needs_archive = FACTS[stage].needs == Dependency.ARCHIVE
        if not (needs_archive and self.breakers.closed_directories()):
            return feeds
        return [name for name in feeds if not self.breakers.above(home_of(self.feeds[name]))]

    def is_proven(self, file: FileRecord) -> bool:
        """Return whether its row and its copy were seen just now, and nothing came in between."""
        if file.proven_at is None or file.row_seen_at is None or file.duplicate_of is not None:
            return False
        oldest, newest = sorted((file.proven_at, file.row_seen_at))
        now = self.now()
        return self.since <= oldest and newest <= now < oldest + PROOF_IS_FRESH_FOR

    async def keep_looking(
        self, wake: asyncio.Event, look: Callable[[], Awaitable[float | None]]
    ) -> None:
        """Look for work, and do it, until the stop: the loop of every lane.

        `look` returns when to look again (epoch seconds; None: when woken). `wake` has it look
        earlier.
        """
        while not self.stop.is_set():
            looked_at = time.monotonic()
            wake.clear()
            await self.sleep(wake, await look(), looked_at)

    async def sleep(self, wake: asyncio.Event, due: float | None, looked_at: float) -> None:
        """Wait until `wake` is set or `due` (epoch seconds) has come.

        `looked_at` is when the caller last looked for work (`time.monotonic`): the next look is not
        made at once after it, so that a stream of wake-ups does not cost a transaction each.
        """
        pause = _LOOK_AGAIN if due is None else min(due - self.now(), _LOOK_AGAIN)
        if pause <= 0:
            await asyncio.sleep(0)  # the others have their turn, however much is due
            return
        with suppress(TimeoutError):
            # Not `wait_for`: before Python 3.12 it loses a cancellation that comes with a wake-up.
            async with asyncio.timeout(pause):
                await wake.wait()
            await asyncio.sleep(looked_at + _LOOKS_APART - time.monotonic())
