"""Compaction as a daemon does it when it is asked: a date at a time, and none after the stop."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import structlog

from backupd.core.errors import BackupdError
from backupd.worker.stopping import unless_stopped

if TYPE_CHECKING:
    from backupd.core.compacting import Compacting
    from backupd.core.rows import Compaction

log = structlog.get_logger()


class Compactor:
    """`core.ports.Compacting`, over the warehouse that the batches go into."""

    def __init__(self, warehouse: Compacting, stop: asyncio.Event) -> None:
        self._warehouse = warehouse
        self._stop = stop
        self._alone = asyncio.Lock()
        self._left: dict[str, str] = {}  # what was logged of dates that were left as they are

    async def dates_to_compact(self, before: str) -> list[str]:
        """Ask the warehouse."""
        return await self._warehouse.dates_to_compact(before)

    async def compact(self, date: str) -> Compaction:
        """Have it compacted. Raises BackupdError where the daemon stops meanwhile."""
        stopping = BackupdError(
            f"backupd is stopping, or reads its config anew: the files of {date} are as they were"
        )
        async with self._alone:  # half a compaction changes nothing: it is given up at once
            outcome = await unless_stopped(self._warehouse.compact(date), self._stop, stopping)
        self._log(outcome)
        return outcome

    def _log(self, outcome: Compaction) -> None:
        """Log it; a date that is left as it is again, for the same reason, was logged already."""
        date = outcome.date
        if not outcome.left:
            log.info("compacted", date=date, files=outcome.files_before, rows=outcome.rows)
            self._left.pop(date, None)
        elif self._left.get(date) != outcome.left:
            log.warning("not compacted", date=date, reason=outcome.left)
            self._left[date] = outcome.left
