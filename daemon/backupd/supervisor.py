"""The only place that knows all rooms: builds them from the config, runs, drains, recovers."""

from __future__ import annotations

import asyncio
import os
import random
import signal
import time
from collections import Counter
from contextlib import AsyncExitStack
from functools import partial
from typing import TYPE_CHECKING

import structlog

from backupd.alerts import Alerts, IncidentTracker
from backupd.carrier import Carrier, CarrierConfig
from backupd.config import ConfigMistakes, Mistake, warehouse_answers
from backupd.control import ControlServer
from backupd.core import moves
from backupd.core.archive_names import home_of
from backupd.core.dependencies import Dependency
from backupd.core.errors import DependencyDownError
from backupd.core.incidents import Kind
from backupd.core.moves import RetryPolicy
from backupd.core.records import Result
from backupd.core.shares import Shares
from backupd.core.stages import ORDER, Stage
from backupd.core.times import Pauses
from backupd.intake.service import Intake
from backupd.ledger import Ledger, LedgerReader, batches, files, incidents, reports
from backupd.ops import gc_tuning, output, status_line
from backupd.ops.metrics import Meter, MetricsServer, Snapshot
from backupd.ops.status_file import StatusFile
from backupd.ops.systemd import Manager
from backupd.ops.watchdog import Watchdog
from backupd.stages import CleanupRules, FeedThreads, Manifest, ShipRules
from backupd.warehouse import open_refresher, open_warehouse
from backupd.worker import (
    LATE,
    ArchivePlace,
    ArchiveTrials,
    BatchFormer,
    BatchLane,
    Breakers,
    ClockWatch,
    DuplicateRowLane,
    FileLane,
    HostWatch,
    LedgerPlace,
    LedgerStatements,
    RefreshLane,
    RowsSeen,
    WorkerContext,
)

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Coroutine, Mapping
    from typing import Any

    from backupd.config.sections import Config, MetricsSection
    from backupd.core.ports import Refresher, Warehouse
    from backupd.core.records import Task

    Work = Callable[[Task], Awaitable[Result]]

log = structlog.get_logger()

_CLEANUPS = 32  # at once: each is a look and an unlink
_VERIFYING = 3  # as many files in ship as are sent at once: the others wait for their verification
_DRAIN = 20.0  # seconds that running files get to end after SIGTERM
_IN_ALL = 28.0  # seconds from SIGTERM to the end, whatever hangs
_AT_ONCE = 2.0  # seconds from the second SIGTERM
_JITTER = (0.75, 1.25)
_IDLE_LOOK = 0.05  # seconds between looks whether `run --once` is through
_BEFORE_LOAD = (Stage.SETTLE, Stage.MANIFEST)
_BESIDE_SHIP = tuple(stage for stage in ORDER if stage is not Stage.SHIP)


class Supervisor:
    """One daemon, from start to stop."""

    def __init__(
        self,
        config: Config,
        ledger: Ledger,
        reread: Callable[[], Config] | None = None,
        leave_within: Callable[[float, int], None] = lambda *_: None,
    ) -> None:
        """The ledger is open, so its lock is held; closing it is up to the caller.

        `reread` reads the config again at SIGHUP. A valid one ends this supervisor as SIGTERM does,
        and is put in `successor`: the caller builds the next supervisor from it.
        `leave_within` is called with the number of seconds in which the process is to end, whatever
        hangs, and with the exit code.
        """
        self._leave_within = leave_within
        self.successor: Config | None = None
        self._reread = reread
        self._is_to_reread = False
        self._rereading: asyncio.Task[None] | None = None
        self._config = config
        self._ledger = ledger
        self._reading = Shares(config.concurrency.manifest)
        self._stop = asyncio.Event()
        self.ready = asyncio.Event()  # recovered, watching, scanned once, answering
        retry = config.retry
        self._policy = RetryPolicy(
            first=retry.first,
            cap=retry.cap,
            attempts=retry.attempts,
            jitter=lambda: random.uniform(*_JITTER),  # noqa: S311 - no secret hangs on it
        )
        self._meter = Meter()
        self._archive_trials: ArchiveTrials | None = None
        self._breakers = Breakers(ledger, self._policy, time.time, config.feeds)
        self._status_file = self._status_file_of(config)
        self._intake = Intake(config.intake, config.feeds, ledger, self._breakers.failed)
        self._systemd = Manager(os.environ)
        self._signs_of_life: dict[str, Callable[[], Awaitable[None]]] = {
            "the ledger's writer": ledger.sign_of_life,
            "the observer": self._intake.sign_of_life,
        }
        self._amiss: list[str] = []  # what the status line says beside the incidents
        self._watchdog = Watchdog(self._systemd, self._signs_of_life)
        self._context = WorkerContext(
            ledger=ledger,
            feeds={feed.name: feed for feed in config.feeds},
            policy=self._policy,
            breakers=self._breakers,
            roots=lambda: self._intake.health.roots,
            now=time.time,
            since=time.time(),
            stop=self._stop,
            measure=self._meter.measure,
        )

    def _status_file_of(self, config: Config) -> StatusFile | None:
        ledger = self._ledger
        if config.status_file is None:
            return None
        look = partial(ledger.ask, incidents.standing)
        return StatusFile(config.status_file, look, lambda: ledger.commits)

    async def run(self, *, once: bool) -> bool:
        """Work until the stop or, with `once`, until nothing is left to be done.

        Returns whether every file is done, as far as is known: a feed that is unavailable, or that
        cannot be looked at because of a host fault, may have more files, and what cannot be taken
        has no row. Raises LedgerError, or the error that ended a part of the daemon.
        """
        self._ledger.wait_for_room(wait=not once)
        async with AsyncExitStack() as stack:
            self._listen_to_signals(stack)  # to the very end, when a successor may stand ready
            await self._live(once=once)
            if self._rereading is not None and not self._is_ending():
                await asyncio.wait([self._rereading])  # it may give another successor
            if self._status_file:
                await self._status_file.write()
            all_done = await self._ledger.ask(files.not_done) == 0
            is_blind = bool(self._intake.health.away) or self._breakers.is_down(Dependency.HOST)
            return all_done and not is_blind and not any(self._intake.untaken().values())

    async def _live(self, *, once: bool) -> None:
        async with AsyncExitStack() as stack:
            # Should it fail, systemd is not notified any more, and acts.
            stack.callback(asyncio.create_task(self._watchdog.run()).cancel)
            warehouse = open_warehouse(
                self._config.warehouse,
                LedgerStatements(self._ledger),
                LedgerPlace(self._ledger, Dependency.WAREHOUSE),
            )
            stack.push_async_callback(warehouse.aclose)
            work = await self._work_of_stages(stack, warehouse)
            refresher = open_refresher(self._config.warehouse)
            if refresher is not None:
                stack.push_async_callback(refresher.aclose)
            await self._recover(warehouse)
            if refresher is None:  # there is no Impala to notify any more
                await self._ledger.refreshed(await self._ledger.owed_refreshes())
            gc_tuning.tune()
            control = ControlServer(self._config.control.socket, self._ledger)
            await stack.enter_async_context(control)
            if self._config.metrics and not once:
                await stack.enter_async_context(self._metrics_server(stack, self._config.metrics))
            await self._work(self._parts(work, warehouse, refresher, once=once))

    def stop(self) -> None:
        """Claim no more, let what runs end, then return from `run`."""
        self._stop.set()
        self._ledger.wake(*Stage)

    # -- start ---------------------------------------------------------------------------------

    async def _recover(self, warehouse: Warehouse) -> None:
        """Take up what was running when the last process ended."""
        ledger, now = self._ledger, time.time()
        await ledger.set_right(now)
        self._breakers.resume(await ledger.ask(incidents.outages))
        running = await ledger.ask(files.running)
        await ledger.move([moves.interrupted(file, now, self._policy) for file in running])
        running_batches = await ledger.ask(batches.running_batches)
        for batch in running_batches:
            await ledger.move_batch(moves.batch_interrupted(batch, now, self._policy))
        log.info(
            "started", interrupted_files=len(running), interrupted_batches=len(running_batches)
        )
        try:
            self._demand_answer_of_warehouse()
            await warehouse.sweep(await ledger.ask(batches.open_batches))
        except DependencyDownError as error:
            await self._breakers.failed(error)
        else:
            await self._breakers.succeeded(Dependency.WAREHOUSE)

    def _demand_answer_of_warehouse(self) -> None:
        """A disk that hung when the config was read is not waited for: it keeps its leftovers."""
        if not warehouse_answers(self._config):
            root = self._config.warehouse.embedded_root
            reason, hint = f"the warehouse at {root} does not answer", "look whether its disk hangs"
            raise DependencyDownError(Dependency.WAREHOUSE, reason, hint=hint)

    def _listen_to_signals(self, stack: AsyncExitStack) -> None:
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._stop_by_signal, asyncio.current_task())
            stack.callback(loop.remove_signal_handler, number)
        if self._reread is not None:
            loop.add_signal_handler(signal.SIGHUP, self._reload, self._reread)
            # Not its default, which ends the process: another may come before the successor runs.
            stack.callback(signal.signal, signal.SIGHUP, signal.SIG_IGN)
            stack.callback(loop.remove_signal_handler, signal.SIGHUP)

    def _reload(self, reread: Callable[[], Config]) -> None:
        """Have the config read anew; once more where that is under way: it may have changed."""
        if self._is_ending():
            return
        self._systemd.reloading()
        self._is_to_reread = True
        if self._rereading is None or self._rereading.done():
            self._rereading = asyncio.create_task(self._read_anew(reread))

    async def _read_anew(self, reread: Callable[[], Config]) -> None:
        """Read it in a thread: a directory that it names may keep it waiting."""
        while self._is_to_reread:
            self._is_to_reread = False
            try:
                config = await asyncio.to_thread(reread)
                _refuse_other_ledger(config, self._config)
            except ConfigMistakes as mistakes:
                self._refuse(mistakes)
            else:
                self._make_way_for(config)

    def _make_way_for(self, config: Config) -> None:
        if not self._is_ending():
            log.info("reloading the config")
            self.successor = config
            self.stop()

    def _refuse(self, mistakes: ConfigMistakes) -> None:
        """Keep the old config."""
        if self._is_ending():
            return
        for mistake in mistakes.mistakes:
            log.error("config not reloaded: it has a mistake", mistake=str(mistake))
        self._amiss = [f"the new config was refused, mistakes: {len(mistakes.mistakes)}"]
        if self.ready.is_set():
            self._systemd.ready()

    def _is_ending(self) -> bool:
        return self._stop.is_set() and self.successor is None

    def _stop_by_signal(self, main: asyncio.Task[bool] | None) -> None:
        """Drain at the first signal, stop at once at the second."""
        again = self._is_ending()
        self._leave_within(_AT_ONCE if again else _IN_ALL, 0)
        if again or not self.ready.is_set():
            self._ledger.wait_for_room(wait=False)
        if again and main is not None:
            main.cancel()
        self.successor = None  # should it have been making way for one
        self._systemd.stopping()
        log.info("stopping")
        self.stop()

    # -- metrics -------------------------------------------------------------------------------

    def _metrics_server(self, stack: AsyncExitStack, section: MetricsSection) -> MetricsServer:
        reader = LedgerReader(self._config.ledger.path)
        stack.callback(reader.close)
        return MetricsServer(section, self._meter, partial(self._snapshot, reader))

    def _snapshot(self, reader: LedgerReader) -> Snapshot:
        kinds = Counter(each.kind for each in reader.ask(incidents.all_open))
        return Snapshot(
            files={
                (count.feed, count.stage, count.status): count.files
                for count in reader.ask(reports.counts)
            },
            oldest=reader.ask(reports.oldest_open),
            last_done=reader.ask(reports.last_done, self._context.feeds),
            incidents={kind: kinds[kind] for kind in Kind},
            breakers={
                **{name: self._breakers.is_down(name) for name in self._dependencies()},
                "ledger": self._ledger.lacks_room,
            },
            rescanned=self._intake.found["rescan"],
        )

    def _dependencies(self) -> list[str]:
        impala = [Dependency.IMPALA] if self._config.warehouse.impala else []
        return [Dependency.ARCHIVE, Dependency.WAREHOUSE, *impala, Dependency.HOST]

    # -- work ----------------------------------------------------------------------------------

    def _parts(
        self,
        work: Mapping[Stage, Work],
        warehouse: Warehouse,
        refresher: Refresher | None,
        *,
        once: bool,
    ) -> list[Coroutine[Any, Any, None]]:
        """Return all that runs side by side until the stop."""
        config, context = self._config, self._context
        in_ship = Shares(_VERIFYING * config.concurrency.ship)
        in_cleanup = Shares(_CLEANUPS)
        former = BatchFormer(context, config.batch, self._nothing_can_join if once else _never)
        parts = [
            self._intake.run(self._stop),
            self._alerts().run(self._stop),
            FileLane(context, Stage.MANIFEST, work[Stage.MANIFEST], self._reading).run(),
            former.run(),
            BatchLane(context, Stage.LOAD, warehouse).run(),
            BatchLane(context, Stage.MERGE, warehouse, refresher.table if refresher else "").run(),
            DuplicateRowLane(context, warehouse).run(),
            HostWatch(self._breakers, self._stop).run(),
            ClockWatch(self._ledger, self._longest_pauses(), self._stop).run(),
            FileLane(context, Stage.SHIP, work[Stage.SHIP], in_ship, Dependency.ARCHIVE).run(),
            FileLane(context, Stage.CLEANUP, self._counted(work[Stage.CLEANUP]), in_cleanup).run(),
        ]
        if self._status_file:
            parts.append(self._status_file.run(self._stop))
        if self._systemd.listens:
            show = self._systemd.status
            parts.append(status_line.keep(self._status_line, show, self._stop))
        if self._archive_trials is not None:
            parts.append(self._archive_trials.run())
        if refresher is not None:
            parts.append(RefreshLane(context, refresher).run())
        return [*parts, self._until_done()] if once else parts

    def _longest_pauses(self) -> Pauses:
        intake, retry = self._config.intake, self._config.retry
        usual = max(intake.settle_for, intake.rescan_every, retry.cap * max(_JITTER), LATE)
        return Pauses(longest=usual, kept=self._config.cleanup.keep_for)

    async def _status_line(self) -> str:
        now = await self._ledger.ask(incidents.in_short)
        missing = [f"no sign of life from {part}" for part in self._watchdog.missing]
        full = ["no room for the ledger on its disk: all waits"] if self._ledger.lacks_room else []
        lost = [f"{output.lost()} log lines were lost"] if output.lost() else []
        return status_line.line(now, [*full, *missing, *lost, *self._amiss])

    def _alerts(self) -> Alerts:
        config = self._config
        is_dev = config.environment == "dev"
        tracker = IncidentTracker(self._ledger, self._feeds_away, self._intake.untaken)
        return Alerts(config.alerts, self._ledger, tracker, dev=is_dev)

    def _feeds_away(self) -> Mapping[str, str] | None:
        health = self._intake.health
        return health.away if health.checked else None

    async def _work_of_stages(
        self, stack: AsyncExitStack, warehouse: Warehouse
    ) -> dict[Stage, Work]:
        """Return who does each stage: the carrier what leaves this host, this process the rest."""
        section, cleanup = self._config.archive, self._config.cleanup
        compress = section.compression == "gzip"
        manifest = Manifest(self._reading, FeedThreads("manifest"), compress=compress)
        if self._config.environment == "dev":
            return {Stage.MANIFEST: manifest, Stage.SHIP: _skipped, Stage.CLEANUP: _skipped}
        at_once = self._config.concurrency.ship
        ship = ShipRules(compress=compress, keep_for=cleanup.keep_for, at_once=at_once)
        rules = CleanupRules(
            delete=cleanup.action == "delete", ask_writers=self._config.intake.open_files == "auto"
        )
        homes = {home_of(feed) for feed in self._config.feeds}
        orders = CarrierConfig(archive=section, directories=sorted(homes), ship=ship, cleanup=rules)
        place = ArchivePlace(section, self._ledger)
        stack.callback(place.close)
        carrier = await stack.enter_async_context(Carrier(orders, place))
        self._signs_of_life["the carrier"] = carrier.sign_of_life
        self._archive_trials = ArchiveTrials(self._context, carrier.demand)
        clean_up = carrier.stage(Stage.CLEANUP)
        if rules.delete:
            rows = RowsSeen(warehouse)
            stack.push_async_callback(rows.aclose)
            clean_up = rows.seen_before(clean_up)
        return {
            Stage.MANIFEST: manifest,
            Stage.SHIP: carrier.stage(Stage.SHIP),
            Stage.CLEANUP: clean_up,
        }

    def _counted(self, last_stage: Work) -> Work:
        async def work(task: Task) -> Result:
            result = await last_stage(task)
            self._meter.done(task.feed.name, task.file.size_bytes or 0)
            return result

        return work

    async def _work(self, parts: list[Coroutine[Any, Any, None]]) -> None:
        """Run all parts; one that fails ends them all. After the stop they get time to drain."""
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(part) for part in parts]
            for task in tasks:
                task.add_done_callback(self._part_ended)
            if await self._scanned_once():
                self.ready.set()
                self._systemd.ready()
                log.info("ready", feeds=len(self._config.feeds))
            await self._stop.wait()
            _, late = await asyncio.wait(tasks, timeout=_DRAIN)
            self._ledger.wait_for_room(wait=False)
            for task in late:
                task.cancel()
        log.info("stopped")

    def _part_ended(self, task: asyncio.Task[None]) -> None:
        """Where one part failed, the others end, and may not wait for what may never come."""
        if not task.cancelled() and task.exception() is not None:
            self._ledger.wait_for_room(wait=False)
            self._leave_within(_IN_ALL, 1)

    async def _scanned_once(self) -> bool:
        """Wait for the first scan or the stop; return whether the first scan is done."""
        waits = [asyncio.create_task(event.wait()) for event in (self._intake.ready, self._stop)]
        try:
            await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for wait in waits:
                wait.cancel()
        return self._intake.ready.is_set()

    # -- once ----------------------------------------------------------------------------------

    async def _until_done(self) -> None:
        """Stop when nothing moves any more and a last scan finds nothing new either."""
        while not self._stop.is_set():
            if await self._is_idle():
                await self._intake.scan_once()
                if await self._is_idle():
                    self.stop()
            self._ledger.wake(Stage.LOAD)  # the last file that could join a batch may be gone
            await asyncio.sleep(_IDLE_LOOK)

    async def _is_idle(self) -> bool:
        # Impala holds nothing up: what it is owed is paid by the next daemon.
        closed = {outage.name for outage in self._breakers.closed_directories()}
        given_up = {outage.name for outage in self._breakers.exhausted()} - {Dependency.IMPALA}
        if given_up - closed or closed - given_up:
            return not closed - given_up
        # What this host gives may be enough again soon: until it is, not all has been looked at.
        if not self._intake.ready.is_set() or self._breakers.is_down(Dependency.HOST):
            return False
        feeds, flowing = self._context.open_feeds(), self._context.workable_feeds(Stage.SHIP)
        held_up = [feed for feed in feeds if feed not in flowing]
        return not (
            await self._ledger.ask(files.any_unfinished, flowing)
            or await self._ledger.ask(files.any_unfinished, held_up, _BESIDE_SHIP)
        )

    async def _nothing_can_join(self) -> bool:
        """Return whether no file on its way could still come into the next batch."""
        if not self._intake.ready.is_set():
            return False
        feeds = self._context.open_feeds()
        return not await self._ledger.ask(files.any_unfinished, feeds, _BEFORE_LOAD)


def _refuse_other_ledger(new: Config, old: Config) -> None:
    if new.ledger != old.ledger:
        mistake = Mistake("ledger.url", "has changed", "a restart takes another ledger")
        raise ConfigMistakes([mistake])


async def _never() -> bool:
    """A daemon always may see another file."""
    return False


async def _skipped(_: Task) -> Result:
    """Stand in for the stages that leave this host alone in dev."""
    return Result(changes={}, detail="skipped (dev)")
