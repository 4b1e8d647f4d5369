"""Rows that production has more than once are an incident until each is there once."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

import structlog

from backupd.core.dependencies import Dependency
from backupd.core.errors import BackupdError, LedgerError
from backupd.core.host import host_fault
from backupd.core.incidents import DOUBLED_CAUSE, Incident, Kind
from backupd.core.records import new_id
from backupd.core.rows import RowCount
from backupd.core.stages import Stage
from backupd.worker.batches import LATE

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

    from backupd.core.ports import Warehouse
    from backupd.core.rows import RowKey
    from backupd.worker.context import WorkerContext

log = structlog.get_logger()

_AT_ONCE = 5_000  # files whose rows are counted in one reading of their partitions
_NAMED = 5  # files, and statements, in the incident's words


class DuplicateRowLane:
    """Counts again the rows that a merge saw more than once, or may have made twice."""

    def __init__(self, context: WorkerContext, warehouse: Warehouse) -> None:
        self._context = context
        self._warehouse = warehouse
        self._wake = context.ledger.wakes(Stage.MERGE)
        self._reported: list[RowKey] | None = None

    async def run(self) -> None:
        """Work until the stop, and once more then: the last merge may have made some."""
        await self._count(await self._context.ledger.doubled_rows())
        await self._context.keep_looking(self._wake, self._look)
        await self._look()

    async def _look(self) -> None:
        due = self._context.ledger.due_row_counts
        while (keys := await due(self._context.now(), _AT_ONCE)) and await self._count(keys):
            pass
        doubled = await self._context.ledger.doubled_rows()
        if doubled != self._reported:
            await self._report(doubled)
            self._reported = doubled

    async def _count(self, keys: Sequence[RowKey]) -> bool:
        """Count the rows of these files; return whether that could be done."""
        breakers = self._context.breakers
        if (
            not keys
            or breakers.is_down(Dependency.WAREHOUSE)
            or breakers.is_paused(Dependency.WAREHOUSE)
        ):
            return False
        try:
            rows = await self._rows_of(frozenset(keys))
        except LedgerError:
            raise
        except Exception as error:
            if down := host_fault(error):
                await breakers.failed(down)
            elif not isinstance(error, BackupdError):
                raise
            log.warning("rows could not be counted again", rows=len(keys), reason=str(error))
            return False
        later = self._context.now() + LATE
        counts = [
            RowCount(key=key, doubled=rows[key] > 1, due_at=later if rows[key] > 1 else None)
            for key in keys
        ]
        await self._context.ledger.note_row_counts(counts)
        return True

    async def _rows_of(self, keys: Collection[RowKey]) -> Counter[RowKey]:
        """Count: of the others in their partitions, which may be millions, nothing is kept."""
        rows: Counter[RowKey] = Counter()
        async for key in self._warehouse.rows({key.file_date for key in keys}):
            if key in keys:
                rows[key] += 1
        return rows

    async def _report(self, doubled: Sequence[RowKey]) -> None:
        now = self._context.now()
        if not doubled:
            await self._context.ledger.close_incidents([DOUBLED_CAUSE], now)
            return
        dates = sorted({key.file_date for key in doubled})
        incident = Incident(
            id=new_id(now),
            kind=Kind.DOUBLED,
            cause=DOUBLED_CAUSE,
            feed="",
            trouble=_cut("; ", self._warehouse.repairs(dates)),
            reason=f"file ids {_cut(', ', [key.file_id for key in doubled])}"
            f" in the partitions {_cut(', ', dates)}",
            opened_at=now,
        )
        await self._context.ledger.note_incidents([incident])


def _cut(between: str, items: Sequence[str]) -> str:
    """Return the first few items as one text, and how many more there are."""
    more = f"{between}and {len(items) - _NAMED} more" if len(items) > _NAMED else ""
    return between.join(items[:_NAMED]) + more
