"""Compaction as a daemon does it when it is asked: a date at a time, and none after the stop."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import structlog

from backupd.core.errors import BackupdError

if TYPE_CHECKING:
    from backupd.core.ports import Compacting
    from backupd.core.rows import Compaction

log = structlog.get_logger()


class Compactor:
    """`core.ports.Compacting`, over the warehouse that the batches go into."""

    def __init__(self, warehouse: Compacting, stop: asyncio.Event) -> None:
        self._warehouse = warehouse
        self._stop = stop
        self._alone = asyncio.Lock()

    async def dates_to_compact(self, before: str) -> list[str]:
        """Ask the warehouse."""
        return await self._warehouse.dates_to_compact(before)

    async def compact(self, date: str) -> Compaction:
        """Have it compacted. Raises BackupdError where the daemon stops meanwhile."""
        async with self._alone:
            outcome = await self._until_stop(date)
        if outcome.left:
            log.warning("not compacted", date=date, reason=outcome.left)
        else:
            log.info("compacted", date=date, files=outcome.files_before, rows=outcome.rows)
        return outcome

    async def _until_stop(self, date: str) -> Compaction:
        """Half a compaction changes nothing: it is given up at once when the daemon stops."""
        work = asyncio.ensure_future(self._warehouse.compact(date))
        stop = asyncio.ensure_future(self._stop.wait())
        try:
            await asyncio.wait([work, stop], return_when=asyncio.FIRST_COMPLETED)
            if work.done():
                return work.result()
        finally:
            work.cancel()
            stop.cancel()
            await asyncio.wait([work, stop])
        raise BackupdError(
            f"backupd is stopping, or reads its config anew: the files of {date} are as they were"
        )
