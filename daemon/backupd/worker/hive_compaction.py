"""Compaction as a daemon does it unasked: of the dates that have many files, one at a time."""

from __future__ import annotations

import asyncio
import time
from contextlib import suppress
from typing import TYPE_CHECKING

import structlog

from backupd.core.dependencies import Dependency
from backupd.core.errors import BackupdError, LedgerError
from backupd.core.pace import repeat
from backupd.worker.stopping import unless_stopped

if TYPE_CHECKING:
    from backupd.core.compacting import CompactedByItself
    from backupd.worker.compaction import Compactor
    from backupd.worker.context import WorkerContext

log = structlog.get_logger()

_FIRST_LOOK = 300.0  # seconds after the start, when what waited for it is through
_LOOK_EVERY = 3600.0  # seconds
_LEFT_FOR = 86_400.0  # seconds: a date that was left as it is may have changed by then


class CompactionLane:
    """Looks for dates that are longer ago than `after` seconds and have more than `files` files.

    With 0 files only what was begun earlier is finished. Whatever goes wrong is noted, once, and
    tried again at the next look: nothing else waits for it.
    """

    def __init__(
        self,
        context: WorkerContext,
        warehouse: CompactedByItself,
        compactor: Compactor,
        after: float,
        files: int,
    ) -> None:
        self._context = context
        self._warehouse = warehouse
        self._compactor = compactor
        self._after = after
        self._files = files
        self._left: dict[str, float] = {}  # dates that were left as they are, and when
        self._told: set[str] = set()

    async def run(self) -> None:
        """Work until the stop."""
        with suppress(TimeoutError):
            async with asyncio.timeout(_FIRST_LOOK):
                await self._context.stop.wait()
        await repeat(self.look, _LOOK_EVERY, self._context.stop)

    async def look(self) -> None:
        """Finish what was begun, compact what is to be."""
        if self._context.breakers.is_paused(Dependency.WAREHOUSE):
            return
        stop = self._context.stop
        try:
            await unless_stopped(self._work(), stop, BackupdError("backupd is stopping"))
        except LedgerError:
            raise
        except BackupdError as error:
            if not stop.is_set():
                self._tell("compaction did not come to its end", str(error))

    async def _work(self) -> None:
        for problem in await self._warehouse.finish_compactions():
            self._tell("compaction left something behind", problem)
        if self._files:
            await self._compact_all()

    async def _compact_all(self) -> None:
        now = self._context.now()
        before = time.strftime("%Y-%m-%d", time.gmtime(now - self._after))
        for date in await self._warehouse.dates_to_compact(before, self._files):
            if now >= self._left.get(date, now - _LEFT_FOR) + _LEFT_FOR:
                self._left[date] = now  # also where it fails: other dates have their turn
                if not (await self._compactor.compact(date)).left:
                    del self._left[date]

    def _tell(self, event: str, reason: str) -> None:
        if reason not in self._told:
            self._told.add(reason)
            log.warning(event, reason=reason)
