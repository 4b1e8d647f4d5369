"""Directories of the archive that take no files are tried again, beside all else, by no file."""

from __future__ import annotations

from typing import TYPE_CHECKING

from backupd.core.dependencies import ARCHIVE_PREFIX, Dependency
from backupd.core.errors import BackupdError, DependencyDownError, LedgerError
from backupd.core.stages import Stage

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from backupd.core.incidents import Incident
    from backupd.worker.context import WorkerContext


class ArchiveTrials:
    """Tries each directory that is down when its pause is over."""

    def __init__(self, context: WorkerContext, demand: Callable[[str], Awaitable[None]]) -> None:
        """`demand` raises what is down, of a directory or instead of it."""
        self._context = context
        self._demand = demand
        self._wake = context.ledger.wakes(Stage.SHIP)

    async def run(self) -> None:
        """Work until the stop."""
        await self._forget_what_no_feed_needs()
        await self._context.keep_looking(self._wake, self._look)

    async def _look(self) -> float | None:
        for outage in self._due():
            await self._try(outage)
        return self._next()

    async def _forget_what_no_feed_needs(self) -> None:
        """The config may have changed since the last process."""
        for outage in self._context.breakers.closed_directories():
            if not outage.feeds:
                await self._context.breakers.succeeded(outage.cause)

    def _due(self) -> list[Incident]:
        """Return those to be tried now: none while the archive as a whole is down."""
        now = self._context.now()
        return [outage for at, outage in self._closed() if at <= now]

    def _next(self) -> float | None:
        return min((at for at, _ in self._closed()), default=None)

    def _closed(self) -> list[tuple[float, Incident]]:
        breakers = self._context.breakers
        if breakers.is_down(Dependency.ARCHIVE):
            return []
        return [(breakers.opens_at(each.cause), each) for each in breakers.closed_directories()]

    async def _try(self, outage: Incident) -> None:
        breakers = self._context.breakers
        if not breakers.is_down(outage.cause):
            return
        try:
            await self._demand(outage.cause.removeprefix(ARCHIVE_PREFIX))
        except DependencyDownError as error:
            await breakers.moved(outage, error)
        except LedgerError:
            raise
        except BackupdError:  # nothing was found out
            await breakers.failed(DependencyDownError(outage.cause, outage.reason))
        else:
            await breakers.succeeded(outage.cause)
