"""The warehouse in Hive: the port over one connection, in one thread."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import TYPE_CHECKING, TypeVar

from backupd.core.ports import RowKey
from backupd.warehouse.columns import PARTITION
from backupd.warehouse.hive_connection import HiveConnection
from backupd.warehouse.hive_files import FilesMerge
from backupd.warehouse.hive_probe import probes
from backupd.warehouse.hive_sql import TableSql
from backupd.warehouse.staging import Staging

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Collection, Iterator, Sequence

    from backupd.config.sections import HiveSection
    from backupd.core.ports import Probe
    from backupd.core.records import Batch, ProductionRow

T = TypeVar("T")

_IDS_AT_ONCE = 500  # in one statement


class HiveWarehouse:
    """`core.ports.Warehouse` in the table that the config names.

    One thread does all the work, one call at a time, so that no two statements of ours ever race.
    A call that was given up goes on to its end before the next one looks at what it left.
    """

    def __init__(self, section: HiveSection, columns: dict[str, str]) -> None:
        """`columns` maps our columns to the table's names, in table order."""
        self._id_column = columns["file_id"]
        self._sql = TableSql(section.database, section.production_table, columns[PARTITION])
        self._connection = HiveConnection(section)
        staging = Staging(section.staging_url, section.username)
        self._merge = FilesMerge(self._connection, staging, self._sql, columns)
        self._thread = ThreadPoolExecutor(1, "hive")

    async def load(self, batch: Batch, rows: Sequence[ProductionRow]) -> str:
        """Put the batch's Parquet files into the staging folder."""
        return await self._run(self._merge.load, batch.id, rows)

    async def merge(self, batch: Batch, rows: Sequence[ProductionRow]) -> frozenset[str]:
        """Have Hive move them into the table's partitions, and read them there."""
        return await self._run(self._merge.merge, batch.id, rows)

    async def find(self, keys: Collection[RowKey]) -> frozenset[str]:
        """Ask Hive, for each date that `keys` name."""
        return await self._run(self._find, keys)

    async def rows(self, dates: Collection[str]) -> AsyncIterator[RowKey]:
        """Yield every row of these partitions as Hive reads them, a date at a time."""
        for date in sorted(set(dates)):
            for file_id in await self._run(self._ids, self._sql.select_ids(self._id_column, date)):
                yield RowKey(file_id, date)

    async def discard(self, batch_id: str) -> None:
        """Remove the batch's staging folder."""
        await self._run(self._merge.discard, batch_id)

    async def sweep(self, live: Collection[str]) -> list[str]:
        """Remove the staging folders of batches that are not `live`, and no others."""
        return await self._run(self._merge.sweep, frozenset(live))

    def statements(self, batch: Batch, rows: Sequence[ProductionRow]) -> list[str]:
        """Return what the merge runs in Hive; the load runs none."""
        return self._merge.statements(batch.id, rows)

    async def probe(self) -> list[Probe]:
        """Log in, compare the table with the config, have a file staged, moved and read."""
        return await self._run(probes, self._merge)

    async def aclose(self) -> None:
        """Cancel the statement at work, log out."""
        self._connection.give_up()
        await asyncio.to_thread(self._thread.shutdown, cancel_futures=True)
        await asyncio.to_thread(self._connection.close)

    # ------------------------------------------------------------------ in the thread

    def _find(self, keys: Collection[RowKey]) -> frozenset[str]:
        wanted: dict[str, list[str]] = defaultdict(list)
        for key in keys:
            wanted[key.file_date].append(key.file_id)
        return frozenset(
            file_id
            for date, ids in wanted.items()
            for some in _in_parts(sorted(set(ids)))
            for file_id in self._ids(self._sql.select_ids(self._id_column, date, some))
        )

    def _ids(self, statement: str) -> list[str]:
        return [str(row[0]) for row in self._connection.run(statement)]

    async def _run(self, work: Callable[..., T], *args: object) -> T:
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._thread, partial(work, *args))


def _in_parts(ids: Sequence[str]) -> Iterator[Sequence[str]]:
    for start in range(0, len(ids), _IDS_AT_ONCE):
        yield ids[start : start + _IDS_AT_ONCE]
