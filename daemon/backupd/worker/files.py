"""A lane: claims the due files of one stage, in turns of their feeds, and records each outcome."""

from __future__ import annotations

import asyncio
import logging
import time
from collections import Counter
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, NamedTuple

import structlog

from backupd.completeness.arrivals import arrival_of
from backupd.completeness.expectations import NOTHING
from backupd.core import moves
from backupd.core.archive_names import directory_of
from backupd.core.dependencies import ARCHIVE_PREFIX, Dependency, feed_directory
from backupd.core.errors import (
    BackupdError,
    DependencyDownError,
    LedgerError,
    LostStoryError,
    UnknownOutcomeError,
)
from backupd.core.history import Remembered
from backupd.core.host import host_fault
from backupd.core.names import escaped
from backupd.core.records import NO_ROOT, Move, Result, Task
from backupd.core.stages import FACTS, Awaits, Stage, Status
from backupd.ledger import files as ledger_files
from backupd.worker.context import AT_ONCE
from backupd.worker.recalling import NotRecalledError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from backupd.core.incidents import Incident
    from backupd.core.ports import Work
    from backupd.core.records import FileRecord
    from backupd.core.shares import Shares
    from backupd.worker.context import WorkerContext

log = structlog.get_logger()

# Files in hand, more than are worked on at once.
_CLAIMED = 256
_CLAIMED_A_PLACE = 6
_RECALL = 30.0  # seconds until a file is looked for again that left in that very moment
_LEAST_PAUSE = 1.0  # seconds, of what is held up: it is not claimed again and again
_HAVE_AN_INCIDENT = {
    Awaits.ARCHIVE,
    Awaits.ROOM,
}  # one for all that wait for it


class FileLane:
    """One stage that works on single files."""

    def __init__(
        self,
        context: WorkerContext,
        stage: Stage,
        work: Work,
        places: Shares,
    ) -> None:
        """As many files at once as there are places; it pauses while what it needs is down."""
        self._context = context
        self._stage = stage
        self._only_looks = stage is Stage.CLEANUP  # at the archive and the warehouse
        self._dependency = FACTS[stage].needs or ""
        self._work = work
        self._places = places
        self._in_hand = InHand(max(_CLAIMED, _CLAIMED_A_PLACE * places.places))
        self._at_work = 0
        self._wake = context.ledger.wakes(stage)

    async def run(self) -> None:
        """Work until the stop, then let what runs come to its end."""
        async with asyncio.TaskGroup() as group:
            await self._context.keep_looking(self._wake, partial(self._look, group))

    async def _look(self, group: asyncio.TaskGroup) -> float | None:
        """Start work on what is due; return when to look again."""
        limits = self._limits()
        claimed = await self._claim(limits)
        for task in await self._tasks_of(claimed):
            self._start(group, task)
        return AT_ONCE if claimed and len(claimed) == limits.limit else await self._due()

    def _limits(self) -> ClaimLimits:
        """Return which files may be claimed now; none until it is worth a transaction."""
        breakers, feeds = self._context.breakers, self._context.workable_feeds(self._stage)
        if breakers.is_trying(self._dependency):
            may_try = not breakers.is_paused(self._dependency) and not self._in_hand.total
            return ClaimLimits(feeds, 1, int(may_try))  # a single trial
        return self._in_hand.limits(feeds)

    async def _claim(self, limits: ClaimLimits) -> list[FileRecord]:
        if not limits.limit or not limits.feeds:
            return []
        now = self._context.now()
        return await self._context.ledger.claim(
            self._stage, limits.limit, now, limits.feeds, each=limits.each
        )

    async def _due(self) -> float | None:
        breakers, feeds = self._context.breakers, self._limits().feeds
        if not feeds or (self._in_hand.total and breakers.is_trying(self._dependency)):
            return None  # a file that ends wakes the lane
        due = await self._context.ledger.due(self._stage, feeds)
        return due if due is None else max(due, breakers.opens_at(self._dependency))

    async def _tasks_of(self, files: Sequence[FileRecord]) -> list[Task]:
        """Add what the stage needs to know beside the file."""
        if self._stage is Stage.MANIFEST or not files:
            return [self._task(file) for file in files]
        ledger = self._context.ledger
        firsts = [file.duplicate_of for file in files if file.duplicate_of]
        found = await ledger.ask(ledger_files.by_ids, firsts) if firsts else []
        originals = {file.id: file for file in found}
        receipts = await ledger.receipts([file.duplicate_of or file.id for file in files])
        return [
            replace(
                self._task(file),
                receipt=receipts.get(file.duplicate_of or file.id),
                original=originals.get(file.duplicate_of or ""),
            )
            for file in files
        ]

    def _task(self, file: FileRecord) -> Task:
        context = self._context
        root = context.roots().get(file.feed, NO_ROOT)  # it may have gone away since it was claimed
        proven = self._stage is Stage.CLEANUP and context.is_proven(file)
        return Task(file=file, feed=context.feeds[file.feed], root=root, is_proven=proven)

    def _start(self, group: asyncio.TaskGroup, task: Task) -> None:
        self._in_hand.add(task.feed.name)
        running = group.create_task(self._process(task))
        running.add_done_callback(lambda _: self._ended(task.feed.name))

    def _ended(self, feed: str) -> None:
        self._in_hand.remove(feed)
        self._wake.set()

    async def _process(self, task: Task) -> None:
        """Run the stage on one file and record what came of it, also when it is cancelled."""
        try:
            async with self._places.place(task.feed.name):
                began = time.monotonic()
                move = await self._attempt(task)
                seconds = time.monotonic() - began
        except asyncio.CancelledError:
            await self._record(self._untouched(task.file))
            raise
        if (recorded := await self._record(move)) is not None:
            self._log(recorded, seconds)

    def _untouched(self, file: FileRecord) -> Move:
        now = self._context.now()
        return moves.given_back(file, "stopped before it was finished", now, now)

    def _held_off(self, file: FileRecord) -> Move:
        """The dependency went down after the file was claimed: it is spared a try of its own."""
        breakers = self._context.breakers
        at_limits = breakers.is_down(Dependency.HOST)
        why = "this host is at its limits" if at_limits else f"the {self._dependency} is down"
        due = breakers.opens_at(self._dependency)
        return moves.given_back(file, why, self._context.now(), due)

    def _has_to_wait(self) -> bool:
        breakers = self._context.breakers
        alone = not self._at_work or not breakers.is_trying(self._dependency)
        return breakers.is_paused(self._dependency) or not alone

    def _closed_directory(self, task: Task) -> Incident | None:
        """Return what is down of where the file is in the archive, or goes to."""
        breakers = self._context.breakers
        is_proof_due = self._stage is Stage.CLEANUP and not task.is_proven
        leans = self._dependency == Dependency.ARCHIVE or is_proof_due
        if not leans or not breakers.closed_directories():
            return None
        return breakers.above(directory_of(task.holder, task.feed))

    def _spared(self, task: Task) -> Move | None:
        """Return the move of a file that is not tried now, for what happened since its claim."""
        if self._context.stop.is_set():
            return self._untouched(task.file)
        if self._has_to_wait():
            return self._held_off(task.file)
        if closed := self._closed_directory(task):
            return self._kept_back(task.file, closed.cause, closed.reason)
        return None

    async def _attempt(self, task: Task) -> Move:
        if (spared := self._spared(task)) is not None:
            return spared
        began = time.monotonic()
        try:
            is_last = task.file.attempts >= self._context.policy.attempts
            with self._context.measure(self._stage, is_last=is_last):
                result = await self._run(task)
        except DependencyDownError as error:
            await self._context.breakers.failed(error, began, looked=self._only_looks)
            return self._kept_back(task.file, error.dependency, moves.explained(error))
        except LedgerError:
            raise
        except Exception as error:
            if not isinstance(error, BackupdError):
                log.exception("unexpected error", file=escaped(task.file.path))
            return moves.failed(task.file, error, self._context.now(), self._context.policy)
        for dependency in self._proven_healthy(task, result):
            await self._context.breakers.succeeded(dependency, began, looked=self._only_looks)
        move = moves.advance(task.file, result, self._context.now())
        if self._stage is not Stage.MANIFEST:
            return move
        # Counted where nothing is expected too: the daily report has every feed.
        expected = self._context.expectations.get(task.feed.name, NOTHING)
        return replace(move, arrival=arrival_of(task.file, result.changes, expected))

    def _kept_back(self, file: FileRecord, dependency: str, reason: str) -> Move:
        """It waits, at no cost, until what it leans on may be tried again."""
        now, breakers = self._context.now(), self._context.breakers
        due = breakers.opens_at(dependency)
        if due <= now:  # it is being tried, or was found well meanwhile
            due = now + _LEAST_PAUSE
        awaits = Awaits.ARCHIVE if dependency.startswith(ARCHIVE_PREFIX) else Awaits.NOTHING
        return moves.given_back(file, reason, now, due, awaits=awaits)

    async def _run(self, task: Task) -> Result:
        """Run the stage. Raises DependencyDownError when the host or a dependency is at fault."""
        self._at_work += 1
        try:
            return await self._work(task)
        except Exception as error:
            if down := host_fault(error) or self._lost_answer(error):
                raise down from error
            raise
        finally:
            self._at_work -= 1

    def _lost_answer(self, error: Exception) -> DependencyDownError | None:
        """A lost answer is the dependency's fault: it burns no attempt either."""
        if not (self._dependency and isinstance(error, UnknownOutcomeError)):
            return None
        return DependencyDownError(self._dependency, str(error), hint=error.hint)

    def _proven_healthy(self, task: Task, result: Result) -> tuple[str, ...]:
        """Return the dependencies that are up, as the file's success has shown."""
        return feed_directory(task.feed.name), self._dependency, *result.leaned_on

    async def _record(self, move: Move) -> Move | None:
        """Return the move that was recorded; None where the file stood elsewhere by now."""
        ledger = self._context.ledger
        if self._stage is not Stage.MANIFEST:
            (moved,) = await ledger.move([move])
            return move if moved else None
        (applied,) = await ledger.manifest_done([move])
        if isinstance(applied, Remembered):
            move = await self._recalled(move, applied)
            (applied,) = await ledger.manifest_done([move])
        if isinstance(applied, Remembered):  # it left again meanwhile, or is not the one after all
            move = self._waits_for_history(move, applied, "it was put back in vain", _RECALL)
            (applied,) = await ledger.manifest_done([move])
        return move if applied is True else None

    async def _recalled(self, move: Move, left: Remembered) -> Move:
        """Put the file back that this one may be a duplicate of; return the move to be recorded.

        Where that cannot be done this file waits, and the attempt does not count.
        """
        try:
            await self._context.recall(left)
        except LostStoryError as error:
            return moves.failed(move.file, error, self._context.now(), self._context.policy)
        except NotRecalledError as error:
            return self._waits_for_history(move, left, moves.explained(error), error.pause)
        return move

    def _waits_for_history(self, move: Move, left: Remembered, why: str, pause: float) -> Move:
        reason = f"it was delivered before, until {left.done_date}; the history is not readable:"
        now = self._context.now()
        return moves.given_back(move.file, f"{reason} {why}", now, now + pause)

    def _log(self, move: Move, seconds: float) -> None:
        log.log(
            self._level(move),
            _outcome(self._stage, move),
            file=escaped(move.file.path),
            file_id=move.file.id,
            feed=move.file.feed,
            stage=str(self._stage),
            detail=move.detail,
            duration_s=round(seconds, 3),
        )

    def _level(self, move: Move) -> int:
        """Return the level: parked files need a person; the breaker logs an outage once for all."""
        if move.status is Status.PARKED:
            return logging.WARNING
        is_down = self._context.breakers.is_down
        held_up = move.changes.get("awaits") in _HAVE_AN_INCIDENT or any(
            map(is_down, (Dependency.HOST, self._dependency, feed_directory(move.file.feed)))
        )
        return logging.DEBUG if held_up and move.stage is self._stage else logging.INFO


def _outcome(stage: Stage, move: Move) -> str:
    if move.status is Status.PARKED:
        return "file parked"
    if move.stage is stage and move.status is Status.WAITING:
        return f"{stage} will be tried again"
    return f"{stage} finished" if move.stage is not Stage.SETTLE else f"{stage} sent it back"


# Many files are claimed in one transaction, and again when a half of them is through: while these
# are claimed, and what became of others is written, the rest of them keeps all places busy.
_REFILL_AT = 2


class ClaimLimits(NamedTuple):
    """So many due files of these feeds, of one feed no more than `each`."""

    feeds: Sequence[str]
    each: int
    limit: int


class InHand:
    """The files that a lane has claimed and that are not through yet, by feed."""

    def __init__(self, capacity: int) -> None:
        """So many are claimed ahead. Feeds that have a few go beyond, up to twice as many."""
        self._capacity = capacity
        self._by_feed: Counter[str] = Counter()
        self.total = 0

    def add(self, feed: str) -> None:
        """A file of this feed was claimed."""
        self._by_feed[feed] += 1
        self.total += 1

    def remove(self, feed: str) -> None:
        """One of them is through."""
        self._by_feed[feed] -= 1
        self.total -= 1
        if not self._by_feed[feed]:
            del self._by_feed[feed]

    def limits(self, feeds: Sequence[str]) -> ClaimLimits:
        """Return what is to be claimed now; no feeds: nothing, until something is through.

        While there is room, feeds share it, as far as they are known to have work. Once it is full,
        a feed that has less than its share of all that may be claimed gets that share all the same.
        """
        free = self._capacity - self.total
        if free * _REFILL_AT >= self._capacity:
            busy = len(self._by_feed) or len(feeds)
            return ClaimLimits(feeds, max(1, free // max(1, busy)), free)
        share = max(1, self._capacity // max(1, len(feeds)))
        short = [feed for feed in feeds if self._by_feed[feed] * _REFILL_AT < share]
        return ClaimLimits(short, share, self._capacity)
