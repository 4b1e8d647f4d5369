"""Notifies Impala of merges, beside all other work: whatever Impala does, no file is held up."""

from __future__ import annotations

from typing import TYPE_CHECKING

import structlog

from backupd.core.dependencies import Dependency
from backupd.core.errors import DependencyDownError
from backupd.core.host import host_fault
from backupd.core.stages import Stage

if TYPE_CHECKING:
    from backupd.core.ports import Refresher
    from backupd.worker.context import WorkerContext

log = structlog.get_logger()


class RefreshLane:
    """Pays what is owed by the ledger, a table at a time."""

    def __init__(self, context: WorkerContext, refresher: Refresher) -> None:
        self._context = context
        self._refresher = refresher
        self._wake = context.ledger.wakes(Stage.MERGE)

    async def run(self) -> None:
        """Work until the stop, and once more then: the last merges may be owed still."""
        await self._context.keep_looking(self._wake, self._pay)
        await self._pay()

    async def _pay(self) -> None:
        for owed in await self._context.ledger.owed_refreshes():
            if self._context.breakers.is_paused(Dependency.IMPALA):
                return
            try:
                await self._refresher.refresh(owed.name, owed.dates)
            except Exception as error:
                if not isinstance(down := host_fault(error) or error, DependencyDownError):
                    raise
                await self._context.breakers.failed(down)
                return
            await self._context.breakers.succeeded(Dependency.IMPALA)
            await self._context.ledger.refreshed([owed])
            log.info("impala refreshed", table=owed.name, merges=owed.merges)
