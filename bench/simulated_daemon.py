"""A daemon whose days pass in a second: its real parts, stepped on under a clock that is set ahead.

Only what holds it together is other than in `supervisor.assembly`: nothing runs by itself, and what
leaves this host does so in this process.
"""

from __future__ import annotations

import asyncio
import socket
import time
from contextlib import AsyncExitStack, ExitStack, asynccontextmanager, contextmanager
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING
from unittest import mock

from backupd.archive import open_archive
from backupd.carrier.outbound import OutboundStages
from backupd.carrier.wire import CarrierConfig, Identify
from backupd.core.archive_names import home_of
from backupd.core.dependencies import Dependency
from backupd.core.moves import RetryPolicy
from backupd.core.records import Result
from backupd.core.shares import Shares
from backupd.core.stages import Stage
from backupd.intake.service import Intake
from backupd.ledger import Ledger
from backupd.stages import CleanupRules, FeedThreads, Manifest, ShipRules
from backupd.warehouse import open_history, open_warehouse
from backupd.worker import (
    ArchivePlace,
    BatchFormer,
    BatchLane,
    Breakers,
    FileLane,
    FoldingLane,
    HistoryHealth,
    HistoryLane,
    LedgerPlace,
    LedgerStatements,
    Recaller,
    RowsSeen,
    WorkerContext,
    recover,
    sweep,
)
from backupd.worker.context import AT_ONCE
from bench.process import MeasuringError

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator, Mapping

    from backupd.config.sections import Config
    from backupd.core.history import History
    from backupd.core.ports import Warehouse, Work
    from backupd.core.records import Task

_CLEANUPS = 32  # at once, as in `supervisor.assembly`
_VERIFYING = 3  # times as many in ship as are sent at once


class Clock:
    """Goes on as the real one does, and is set ahead. `ruling` has the daemon go by it."""

    def __init__(self) -> None:
        self._real = time.time
        self._ahead = 0.0

    def time(self) -> float:
        """Return the time that it shows: seconds since the epoch."""
        return self._real() + self._ahead

    def monotonic(self) -> float:
        """Return the same: so that days pass, and the clock is not taken for one that was set."""
        return self.time()

    def set_to(self, at: float) -> None:
        """Have it show a time that is to come."""
        self._ahead = max(self._ahead, at - self._real())

    def go_on(self, seconds: float) -> None:
        """Let so much time pass."""
        self._ahead += seconds

    @contextmanager
    def ruling(self) -> Iterator[None]:
        """Have it stand in for the real one until the end of the block.

        Deadlines and the event loop go by another one, which only goes on as it does.
        """
        with ExitStack() as stack:
            stack.enter_context(mock.patch("time.time", self.time))
            for module in ("backupd.core.times", "backupd.worker.history"):
                stack.enter_context(mock.patch(f"{module}.time", self))
            yield


@dataclass(frozen=True, slots=True, kw_only=True)
class Daemon:
    """What one is made of, and the steps that it takes."""

    ledger: Ledger
    context: WorkerContext
    intake: Intake
    files: Mapping[Stage, FileLane]
    former: BatchFormer
    load: BatchLane
    merge: BatchLane
    folding: FoldingLane
    past: HistoryLane

    async def discover(self) -> None:
        """See what was delivered, and let it settle."""
        await self.intake.scan_once()
        while await self.ledger.next_settle_at() is not None:
            await self.intake.settle_once()
            await asyncio.sleep(0)  # a directory that is slow is looked at beside

    async def work_through(self, stage: Stage) -> None:
        """Take all files that are due through a stage of single files."""
        due: float | None = AT_ONCE
        while due is not None and due <= self.context.now():
            async with asyncio.TaskGroup() as group:
                due = await self.files[stage]._look(group)

    async def register(self) -> None:
        """Form batches, load and merge them."""
        await self.former._form()
        while await self.load._look() == AT_ONCE:
            await self.former._form()
        while await self.merge._look() == AT_ONCE:
            pass

    async def fold(self) -> None:
        """Fold what happened to all files that have been done for a while."""
        await self.folding._look()
        while self.folding.is_at_work:
            await self.folding._look()

    async def pass_through_done(self) -> None:
        """Move what is old enough into the history, in one pass."""
        await self.past._look()
        while self.past.is_at_work:
            await self.past._look()

    async def look_at_past(self) -> None:
        """Take one step beside all other work: some of the remembered files may be forgotten."""
        await self.past._look()


@asynccontextmanager
async def alive(config: Config) -> AsyncIterator[Daemon]:
    """Open the ledger and all that works on it, recovered as at a start; close it in the end."""
    async with AsyncExitStack() as stack:
        ledger = Ledger(config.ledger.path)
        stack.push_async_callback(ledger.close)
        intake = Intake(config.intake, config.feeds, ledger)
        stack.callback(intake.health.close)
        place = LedgerPlace(ledger, Dependency.WAREHOUSE)
        warehouse = open_warehouse(config.warehouse, LedgerStatements(ledger), place)
        stack.push_async_callback(warehouse.aclose)
        history = open_history(config.warehouse, place)
        stack.push_async_callback(history.aclose)
        context = _context(config, ledger, intake)
        await recover(context)
        await sweep(context, warehouse)
        files = await _file_lanes(config, context, warehouse, stack)
        past = _past(config, context, history, stack)
        await ledger.past.writes_as(socket.gethostname())
        yield Daemon(
            ledger=ledger,
            context=context,
            intake=intake,
            files=files,
            former=BatchFormer(context, config.batch, _something_may_join),
            load=BatchLane(context, Stage.LOAD, warehouse),
            merge=BatchLane(context, Stage.MERGE, warehouse),
            folding=FoldingLane(context),
            past=past,
        )


def _context(config: Config, ledger: Ledger, intake: Intake) -> WorkerContext:
    retry = config.retry
    policy = RetryPolicy(
        first=retry.first, cap=retry.cap, attempts=retry.attempts, jitter=lambda: 1.0
    )
    return WorkerContext(
        ledger=ledger,
        feeds={feed.name: feed for feed in config.feeds},
        policy=policy,
        breakers=Breakers(ledger, policy, time.time, config.feeds),
        roots=lambda: intake.health.roots,
        now=time.time,
        since=time.time(),
        stop=asyncio.Event(),
    )


def _past(
    config: Config, context: WorkerContext, history: History, stack: AsyncExitStack
) -> HistoryLane:
    host, health = socket.gethostname(), HistoryHealth(context)
    recaller = Recaller(context, history, health, host)
    stack.push_async_callback(recaller.aclose)
    context.recall = recaller.recall
    return HistoryLane(context, history, health, host, config.ledger)


async def _file_lanes(
    config: Config, context: WorkerContext, warehouse: Warehouse, stack: AsyncExitStack
) -> dict[Stage, FileLane]:
    outbound = await _outbound(config, context.ledger, stack)
    rows = RowsSeen(warehouse, Shares(_CLEANUPS))
    stack.push_async_callback(rows.aclose)
    clean_up = rows.seen_before(partial(_do, outbound, Stage.CLEANUP))
    reading = Shares(config.concurrency.manifest)
    lanes: dict[Stage, tuple[Work, Shares]] = {
        Stage.MANIFEST: (Manifest(reading, FeedThreads("manifest"), compress=True), reading),
        Stage.SHIP: (
            partial(_do, outbound, Stage.SHIP),
            Shares(_VERIFYING * config.concurrency.ship),
        ),
        Stage.CLEANUP: (clean_up, Shares(_CLEANUPS)),
    }
    return {stage: FileLane(context, stage, *how) for stage, how in lanes.items()}


async def _outbound(config: Config, ledger: Ledger, stack: AsyncExitStack) -> OutboundStages:
    """Open the archive as the carrier does, in this process."""
    carried = CarrierConfig(
        archive=config.archive,
        directories=sorted({home_of(feed) for feed in config.feeds}),
        ship=ShipRules(compress=True),
        cleanup=CleanupRules(delete=True),
    )
    outbound = OutboundStages(carried, open_archive(config.archive), lambda: None)
    place = ArchivePlace(config.archive, ledger)
    stack.callback(place.close)
    expected, witnesses = await place.known()
    mark = await outbound.do(None, Identify(expected=expected, witnesses=witnesses))
    await place.identified(str(mark))
    return outbound


async def _do(outbound: OutboundStages, stage: Stage, task: Task) -> Result:
    outcome = await outbound.do(stage, task)
    if not isinstance(outcome, Result):
        raise MeasuringError(f"{stage} answered {outcome!r}")
    return outcome


async def _something_may_join() -> bool:
    return False
