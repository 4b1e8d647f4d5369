"""One daemon, put together from its config: the only place that knows all rooms."""

from __future__ import annotations

import os
import random
import socket
import time
from collections import Counter
from functools import partial
from typing import TYPE_CHECKING

from backupd.alerts import Alerts, IncidentTracker
from backupd.carrier import Carrier, CarrierConfig
from backupd.config import warehouse_answers
from backupd.control import ControlServer, described
from backupd.core.archive_names import home_of
from backupd.core.compacting import CompactedByItself, Compacting
from backupd.core.dependencies import Dependency
from backupd.core.incidents import BACKUP_CAUSE, Kind
from backupd.core.moves import RetryPolicy
from backupd.core.records import Result
from backupd.core.shares import Shares
from backupd.core.stages import SINGLE, Stage
from backupd.core.times import Pauses
from backupd.daily import reporting
from backupd.intake.service import Intake
from backupd.ledger import LedgerReader, incidents, reports
from backupd.ops import output, process, systemd
from backupd.ops.metrics import Meter, MetricsServer, Snapshot
from backupd.ops.status_file import StatusFile
from backupd.ops.systemd import Manager, Watchdog
from backupd.stages import CleanupRules, FeedThreads, Manifest, ShipRules
from backupd.supervisor import customers
from backupd.warehouse import open_history, open_refresher, open_warehouse
from backupd.worker import (
    LATE,
    QUIET_FOR,
    ArchivePlace,
    ArchiveTrials,
    BatchFormer,
    BatchLane,
    Breakers,
    ClockWatch,
    CompactionLane,
    Compactor,
    CompletenessLane,
    DuplicateRowLane,
    FileLane,
    FoldingLane,
    HistoryHealth,
    HistoryLane,
    HostWatch,
    LedgerPlace,
    LedgerReplacements,
    LedgerStatements,
    Recaller,
    RefreshLane,
    RowsSeen,
    SnapshotLane,
    SnapshotMaker,
    WorkerContext,
    recover,
    sweep,
)

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Awaitable, Callable, Coroutine, Iterator, Mapping
    from contextlib import AsyncExitStack
    from typing import Any

    from backupd.config.sections import Config, MetricsSection, RetrySection
    from backupd.core.history import History
    from backupd.core.ports import Refresher, Warehouse, Work
    from backupd.core.records import Task
    from backupd.ledger import Ledger
    from backupd.supervisor.once import UntilDone

    Part = Coroutine[Any, Any, None]

_CLEANUPS = 32  # at once: each is a look and an unlink
# The rows of so many files are looked for at once after a start: in Hive a statement may take
# seconds, whether for one row or for a hundred.
_ROWS_LOOKED_FOR = 128
_VERIFYING = 3  # as many files in ship as are sent at once: the others wait for their verification
_JITTER = (0.75, 1.25)


def _places_of(config: Config) -> dict[Stage, Shares]:
    removes = config.cleanup.action == "delete"
    return {
        Stage.MANIFEST: Shares(config.concurrency.manifest),
        Stage.SHIP: Shares(_VERIFYING * config.concurrency.ship),
        Stage.CLEANUP: Shares(_ROWS_LOOKED_FOR if removes else _CLEANUPS),
    }


def _policy_of(retry: RetrySection) -> RetryPolicy:
    return RetryPolicy(
        first=retry.first,
        cap=retry.cap,
        attempts=retry.attempts,
        jitter=lambda: random.uniform(*_JITTER),  # noqa: S311 - no secret hangs on it
    )


class Assembly:
    """What one daemon is made of."""

    def __init__(self, config: Config, ledger: Ledger, stop: asyncio.Event) -> None:
        """Nothing runs yet. `stop` ends all parts."""
        self._stop = stop
        self._config = config
        self._ledger = ledger
        self._places = _places_of(config)
        policy = _policy_of(config.retry)
        self._meter = Meter()
        self._archive_trials: ArchiveTrials | None = None
        self._snapshots: SnapshotLane | None = None
        self.breakers = Breakers(ledger, policy, time.time, config.feeds)
        self.status_file = self._status_file_of(config)
        self.intake = Intake(config.intake, config.feeds, ledger, self.breakers.failed)
        self.systemd = Manager(os.environ)
        self._signs_of_life: dict[str, Callable[[], Awaitable[None]]] = {
            "the ledger's writer": ledger.sign_of_life,
            "the observer": self.intake.sign_of_life,
        }
        self.refused = ""  # what the status line says of a config that was refused
        self.watchdog = Watchdog(self.systemd, self._signs_of_life)
        self.context = WorkerContext(
            ledger=ledger,
            feeds={feed.name: feed for feed in config.feeds},
            policy=policy,
            breakers=self.breakers,
            roots=lambda: self.intake.health.roots,
            now=time.time,
            since=time.time(),
            stop=self._stop,
            measure=self._meter.measure,
            expectations=config.expectations,
        )
        self._completeness = CompletenessLane(
            self.context,
            self.intake.ready.is_set,
            self._feeds_away,
            config.ledger.remember,
            config.intake.rescan_every,
        )

    def _status_file_of(self, config: Config) -> StatusFile | None:
        ledger = self._ledger
        if config.status_file is None:
            return None
        look = partial(ledger.ask, incidents.standing)
        return StatusFile(config.status_file, look, lambda: ledger.commits)

    async def parts(self, stack: AsyncExitStack, until_done: UntilDone | None) -> list[Part]:
        """Open what they need, recover, and return all that runs side by side until the stop.

        With `until_done`, for `run --once`, that is a part as well.
        """
        section = self._config.warehouse
        refresher = open_refresher(section)
        if refresher is not None:
            stack.push_async_callback(refresher.aclose)
        place = LedgerPlace(self._ledger, Dependency.WAREHOUSE)
        statements = LedgerStatements(self._ledger)
        compacted = LedgerReplacements(self._ledger, refresher.table if refresher else "")
        warehouse = open_warehouse(section, statements, place, replacements=compacted)
        stack.push_async_callback(warehouse.aclose)
        past = self._past(stack, open_history(section, place))
        work = await self._work_of_stages(stack, warehouse)
        await self._recover(warehouse)
        if self._config.warehouse.hive is None:
            await self._ledger.note_servers({})
        if refresher is None:  # there is no Impala to notify any more
            await self._ledger.refreshed(await self._ledger.owed_refreshes())
        process.tune_garbage_collector()
        if self._snapshots is None or not self._config.ledger.backup_every:
            await self._ledger.close_incidents([BACKUP_CAUSE], time.time())
        compactor = self._compactor_of(warehouse)
        await stack.enter_async_context(self._control_server(compactor))
        if self._config.metrics and until_done is None:
            await stack.enter_async_context(self._metrics_server(stack, self._config.metrics))
        parts = self._parts(work, warehouse, refresher, until_done)
        if until_done is None:
            compaction = self._compaction(warehouse, compactor)
            return [*parts, *(lane.run() for lane in past), *compaction]
        for lane in past:
            until_done.see_to_past(lane)
        return [*parts, until_done.run()]

    def _past(self, stack: AsyncExitStack, history: History) -> list[FoldingLane | HistoryLane]:
        """Return who sees to the files that are over."""
        context, section = self.context, self._config.ledger
        folding = FoldingLane(context, min(QUIET_FOR, section.keep))
        stack.push_async_callback(history.aclose)
        host, health = socket.gethostname(), HistoryHealth(context)
        recaller = Recaller(context, history, health, host)
        stack.push_async_callback(recaller.aclose)
        context.recall = recaller.recall
        return [folding, HistoryLane(context, history, health, host, section)]

    def _compactor_of(self, warehouse: Warehouse) -> Compactor | None:
        return Compactor(warehouse, self._stop) if isinstance(warehouse, Compacting) else None

    def _compaction(self, warehouse: Warehouse, compactor: Compactor | None) -> Iterator[Part]:
        hive = self._config.warehouse.hive
        if hive and compactor and isinstance(warehouse, CompactedByItself):
            after, files = hive.compact_after, hive.compact_files
            yield CompactionLane(self.context, warehouse, compactor, after, files).run()

    def _control_server(self, compactor: Compactor | None) -> ControlServer:
        socket, snapshots = self._config.control.socket, self._snapshots
        if snapshots is None:
            return ControlServer(socket, self._ledger, compacting=compactor)

        async def back_up() -> dict[str, Any]:
            return described(*await snapshots.make_now())

        return ControlServer(socket, self._ledger, back_up, compactor)

    async def _recover(self, warehouse: Warehouse) -> None:
        await recover(self.context)
        answers = warehouse_answers(self._config)
        silent = "" if answers else str(self._config.warehouse.embedded_root)
        await sweep(self.context, warehouse, silent)

    def _metrics_server(self, stack: AsyncExitStack, section: MetricsSection) -> MetricsServer:
        reader = LedgerReader(self._config.ledger.path)
        stack.callback(reader.close)
        return MetricsServer(section, self._meter, partial(self._snapshot, reader))

    def _snapshot(self, reader: LedgerReader) -> Snapshot:
        kinds = Counter(each.kind for each in reader.ask(incidents.all_open))
        standing = self._completeness.standing
        return Snapshot(
            files={
                (count.feed, count.stage, count.status): count.files
                for count in reader.ask(reports.counts)
            },
            oldest=reader.ask(reports.oldest_open),
            last_done=reader.ask(reports.last_done, self.context.feeds),
            incidents={kind: kinds[kind] for kind in Kind},
            breakers={
                **{name: self.breakers.is_down(name) for name in self._dependencies()},
                "ledger": self._ledger.lacks_room,
            },
            rescanned=self.intake.found["rescan"],
            last_snapshot=self._last_snapshot(),
            expected={feed: each.expected for feed, each in standing.items()},
            missing={feed: each.missing for feed, each in standing.items()},
            lateness={feed: each.late_s for feed, each in standing.items()},
        )

    def _last_snapshot(self) -> float | None:
        last = self._snapshots.last if self._snapshots else None
        return last.at if last and last.name else None

    def _dependencies(self) -> list[str]:
        impala = [Dependency.IMPALA] if self._config.warehouse.impala else []
        return [Dependency.ARCHIVE, Dependency.WAREHOUSE, *impala, Dependency.HOST]

    def _parts(
        self,
        work: Mapping[Stage, Work],
        warehouse: Warehouse,
        refresher: Refresher | None,
        until_done: UntilDone | None,
    ) -> list[Part]:
        config, context = self._config, self.context
        nothing_can_join = until_done.nothing_can_join if until_done else _never
        former = BatchFormer(context, config.batch, nothing_can_join)
        parts = [
            self.intake.run(self._stop),
            self._alerts().run(self._stop),
            *(FileLane(context, each, work[each], self._places[each]).run() for each in SINGLE),
            former.run(),
            BatchLane(context, Stage.LOAD, warehouse).run(),
            BatchLane(context, Stage.MERGE, warehouse, refresher.table if refresher else "").run(),
            DuplicateRowLane(context, warehouse).run(),
            HostWatch(self.breakers, self._stop).run(),
            ClockWatch(self._ledger, self._longest_pauses(), self._stop).run(),
            self._completeness.run(),
        ]
        if self.status_file:
            parts.append(self.status_file.run(self._stop))
        if self.systemd.listens:
            show = self.systemd.status
            parts.append(systemd.keep_status(self._status_line, show, self._stop))
        if self._archive_trials is not None:
            parts.append(self._archive_trials.run())
        if self._snapshots is not None:
            parts.append(self._snapshots.run())
            if until_done is not None:
                until_done.wait_for(self._snapshots)
        if refresher is not None:
            parts.append(RefreshLane(context, refresher).run())
        return parts

    def _longest_pauses(self) -> Pauses:
        intake, retry = self._config.intake, self._config.retry
        usual = max(intake.settle_for, intake.rescan_every, retry.cap * max(_JITTER), LATE)
        return Pauses(longest=usual, kept=self._config.cleanup.keep_for)

    async def _status_line(self) -> str:
        now = await self._ledger.ask(incidents.in_short)
        missing = [f"no sign of life from {part}" for part in self.watchdog.missing]
        full = ["no room for the ledger on its disk: all waits"] if self._ledger.lacks_room else []
        refused = [self.refused] if self.refused else []
        lost = [f"{output.lost()} log lines were lost"] if output.lost() else []
        return systemd.status_line(now, [*full, *missing, *lost, *refused])

    def _alerts(self) -> Alerts:
        config = self._config
        is_dev = config.environment == "dev"
        tracker = IncidentTracker(
            self._ledger, self._feeds_away, self.intake.untaken, customers.unusable(config)
        )
        report = reporting(config, self._ledger)
        return Alerts(config.alerts, self._ledger, tracker, report, dev=is_dev)

    def _feeds_away(self) -> Mapping[str, str] | None:
        health = self.intake.health
        return health.away if health.checked else None

    async def _work_of_stages(
        self, stack: AsyncExitStack, warehouse: Warehouse
    ) -> dict[Stage, Work]:
        """Return who does each stage for single files: the carrier what needs the archive."""
        section, cleanup = self._config.archive, self._config.cleanup
        compress = section.compression == "gzip"
        manifest = Manifest(
            self._places[Stage.MANIFEST], FeedThreads("manifest"), compress=compress
        )
        here: dict[Stage, Work] = {Stage.MANIFEST: manifest}
        if self._config.environment == "dev":
            skipped: dict[Stage, Work] = {each: _skipped for each in SINGLE if each not in here}
            return here | skipped | {Stage.CLEANUP: self._counted(_skipped)}
        at_once = self._config.concurrency.ship
        ship = ShipRules(compress=compress, keep_for=cleanup.keep_for, at_once=at_once)
        rules = CleanupRules(
            delete=cleanup.action == "delete", ask_writers=self._config.intake.open_files == "auto"
        )
        homes = {home_of(feed) for feed in self._config.feeds}
        carrier_config = CarrierConfig(
            archive=section, directories=sorted(homes), ship=ship, cleanup=rules
        )
        place = ArchivePlace(section, self._ledger)
        stack.callback(place.close)
        carrier = await stack.enter_async_context(Carrier(carrier_config, place))
        self._signs_of_life["the carrier"] = carrier.sign_of_life
        self._archive_trials = ArchiveTrials(self.context, carrier.demand)
        ledger = self._config.ledger
        maker = SnapshotMaker(self._ledger, ledger, carrier.shelf)
        self._snapshots = SnapshotLane(self.context, maker, ledger.backup_every)
        clean_up = carrier.stage(Stage.CLEANUP)
        if rules.delete:
            rows = RowsSeen(warehouse, Shares(_CLEANUPS))
            stack.push_async_callback(rows.aclose)
            clean_up = rows.seen_before(clean_up)
        return here | {
            Stage.SHIP: carrier.stage(Stage.SHIP),
            Stage.CLEANUP: self._counted(clean_up),
        }

    def _counted(self, last_stage: Work) -> Work:
        async def work(task: Task) -> Result:
            result = await last_stage(task)
            self._meter.done(task.feed.name, task.file.size_bytes or 0)
            return result

        return work


async def _never() -> bool:
    """A daemon always may see another file."""
    return False


async def _skipped(_: Task) -> Result:
    """Stand in for the stages that leave this host alone in dev."""
    return Result(changes={}, detail="skipped (dev)")
