"""The warehouse in Hive: the port over one connection, in one thread."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar

from backupd.core.rows import RowKey
from backupd.warehouse.columns import PARTITION, STAGING_PARTITION
from backupd.warehouse.hive.batch_statements import BatchStatements
from backupd.warehouse.hive.compaction import HiveCompaction
from backupd.warehouse.hive.connection import session_settings
from backupd.warehouse.hive.earlier_statements import EarlierStatements
from backupd.warehouse.hive.history_table import HistoryTable
from backupd.warehouse.hive.merge_by_files import FilesMerge
from backupd.warehouse.hive.merge_by_insert import InsertMerge
from backupd.warehouse.hive.new_file import MadeByHive, MadeHere, NewFile
from backupd.warehouse.hive.partition_dirs import PartitionDirs
from backupd.warehouse.hive.partition_files import PartitionFiles
from backupd.warehouse.hive.probe import probe_files, probe_history, probe_insert
from backupd.warehouse.hive.probe_way_in import probe_way_in
from backupd.warehouse.hive.replaced_dirs import ReplacedDirs
from backupd.warehouse.hive.rows import HiveRows, keys_of
from backupd.warehouse.hive.sql import StagingSql, TableSql, leave_one_each
from backupd.warehouse.hive.staging import BatchFolders
from backupd.warehouse.hive.thread import HiveThread

if TYPE_CHECKING:
    from collections import Counter
    from collections.abc import AsyncIterator, Callable, Collection, Sequence

    from backupd.config.sections import HiveSection
    from backupd.core.compacting import ReplacementLog
    from backupd.core.ports import Probe, StatementLog
    from backupd.core.records import Batch
    from backupd.core.rows import Compaction, ProductionRow

T = TypeVar("T")

_LISTED = 20  # partitions whose files are listed before a batch has its turn


class HiveWarehouse:
    """`core.ports.Warehouse` in the table that the config names."""

    def __init__(
        self,
        section: HiveSection,
        columns: dict[str, str],
        log: StatementLog,
        replacements: ReplacementLog,
    ) -> None:
        """`columns` maps our columns to the table's names, in table order."""
        self._columns = columns
        self._log = log
        self._known_in_use: dict[str, str] | None = None
        self._hive = HiveThread(section, "hive")
        connection = self._hive.connection
        self._sql = TableSql(section.database, section.production_table, columns[PARTITION])
        self._rows = HiveRows(connection, self._sql, columns["file_id"])
        earlier = EarlierStatements(section, connection)
        timeout = section.statement_timeout
        self._execution = BatchStatements(connection, earlier, log, timeout)
        self._merge = self._merge_of(section)
        self._compaction = self._compaction_of(section, replacements)
        self._history = HistoryTable(section, connection, self._hive.staging)  # for the probe

    def _merge_of(self, section: HiveSection) -> FilesMerge | InsertMerge:
        folders = BatchFolders(self._hive.staging)
        if section.merge == "files":
            run = self._execution.run
            files = PartitionFiles(self._hive.connection, run, folders, self._sql)
            return FilesMerge(self._execution, files, self._rows, self._columns)
        partition = self._columns[STAGING_PARTITION]
        return InsertMerge(
            self._execution,
            folders,
            self._rows,
            StagingSql(section.database, section.staging_table, partition),
            self._columns,
            session_settings(section),
        )

    def _compaction_of(self, section: HiveSection, log: ReplacementLog) -> HiveCompaction:
        by_files = isinstance(self._merge, FilesMerge)
        dirs = PartitionDirs(
            self._hive.connection,
            self._sql,
            self._hive.staging,
            self._columns,
            self._log,
            not by_files,
        )
        folders = BatchFolders(self._hive.staging)
        here = MadeHere(dirs, folders, self._hive.connection.gave_up)
        return HiveCompaction(
            section.database,
            dirs,
            NewFile(dirs, here if by_files else MadeByHive(dirs)),
            ReplacedDirs(section.database, dirs, folders, self._rows, self._execution),
            self._merge.moved,
            self._execution,
            log,
        )

    async def load(self, batch: Batch, rows: Sequence[ProductionRow]) -> str:
        """Put the batch's rows into the staging folder or, for "insert", the staging table."""
        return await self._run(self._load, batch, rows)

    async def merge(self, batch: Batch, rows: Sequence[ProductionRow]) -> Counter[str]:
        """Have Hive bring them into the table's partitions, and read them there."""
        return await self._run(self._merge_batch, batch.id, rows)

    async def find(self, keys: Collection[RowKey], *, by_others: bool = False) -> frozenset[str]:
        """Ask Hive; nothing with `by_others`: both merges look for such rows themselves."""
        if by_others:
            return frozenset()
        return frozenset(await self._run(self._rows.count, keys))

    async def rows(self, dates: Collection[str]) -> AsyncIterator[RowKey]:
        """Yield every row of these partitions as Hive reads them, a date at a time."""
        for date in sorted(set(dates)):
            for file_id in await self._run(self._rows.ids, date):
                yield RowKey(file_id, date)

    # The port's argument: what lies on a local disk is looked at.
    async def file_sums(self, date: str) -> dict[str, str]:  # noqa: ARG002
        """Return nothing: HDFS keeps checksums of its own."""
        return {}

    async def discard(self, batch_id: str) -> None:
        """Remove what is staged for the batch."""
        await self._run(self._merge.discard, batch_id)

    async def sweep(self, live: Collection[str]) -> list[str]:
        """Remove what is staged for batches that are not `live`, and nothing else."""
        return await self._run(self._merge.sweep, frozenset(live))

    def statements(self, batch: Batch, rows: Sequence[ProductionRow]) -> list[str]:
        """Return what load and merge run in Hive."""
        return self._merge.statements(batch.id, rows)

    def repairs(self, dates: Collection[str]) -> list[str]:
        """Return a statement a partition, which writes it anew."""
        return [leave_one_each(self._sql, self._columns, date) for date in sorted(dates)]

    async def dates_to_compact(self, before: str, more_than: int = 1) -> list[str]:
        """Ask Hive for the partitions, and list their files, some dates at a time."""
        dates = await self._run(self._compaction.dates, before)
        counts: dict[str, int] = {}
        for start in range(0, len(dates), _LISTED):
            counts |= await self._run(self._compaction.counts, dates[start : start + _LISTED])
        return [date for date, count in counts.items() if count > more_than]

    async def compact(self, date: str) -> Compaction:
        """Compact a partition; no batch of ours is loaded or merged meanwhile."""
        return await self._run(self._compaction.compact, date)

    async def finish_compactions(self) -> list[str]:
        """Settle what was cut short, move what came too late, remove what is a day old."""
        return await self._run(self._compaction.finish)

    async def probe(self) -> list[Probe]:
        """Log in, compare the tables with the config, have a row staged, moved and read."""
        hive = self._hive
        way_in = await self._run(probe_way_in, hive.connection, hive.kerberos, hive.staging)
        history = await self._run(probe_history, self._history)
        match self._merge:
            case FilesMerge():
                return way_in + history + await self._run(probe_files, self._merge)
            case InsertMerge():
                return way_in + history + await self._run(probe_insert, self._merge)

    async def aclose(self) -> None:
        """Cancel the statement at work, log out."""
        await self._hive.aclose()

    # ------------------------------------------------------------------ in the thread

    def _load(self, batch: Batch, rows: Sequence[ProductionRow]) -> str:
        self._execution.settle(batch.id)
        if batch.staged_at:
            # It came back from merge: an earlier try, maybe by the other merge, may have made rows.
            there = self._rows.count(keys_of(rows))
            rows = [row for row in rows if row.file_id not in there]
        staged_at = self._merge.load(batch.id, rows)
        self._execution.over(batch.id)
        return staged_at

    def _merge_batch(self, batch_id: str, rows: Sequence[ProductionRow]) -> Counter[str]:
        seen = self._merge.merge(batch_id, rows)
        self._execution.over(batch_id)
        return seen

    async def _run(self, work: Callable[..., T], *args: object) -> T:
        return await self._hive.run(self._work, work, *args)

    def _work(self, work: Callable[..., T], *args: object) -> T:
        result = work(*args)
        self._note_servers()
        return result

    def _note_servers(self) -> None:
        """Have it known which servers are in use, when others are than before."""
        in_use = self._hive.in_use()
        if in_use != self._known_in_use:
            self._log.note_servers(in_use)
            self._known_in_use = in_use
