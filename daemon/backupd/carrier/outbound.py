"""The stages that leave this host, and what else is asked of the archive."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING

from backupd.archive.scope import Scope
from backupd.archive.stream import SendStream
from backupd.carrier.wire import Demand, Identify, LookForSnapshots, ShipSnapshot
from backupd.core.archive_names import directory_of
from backupd.core.stages import Stage
from backupd.stages import Cleanup, FeedThreads, Ship, SnapshotShelf

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from backupd.carrier.wire import Asked, CarrierConfig, Outcome
    from backupd.core.ports import Archive, Work
    from backupd.core.records import Task


class OutboundStages:
    """Does what is asked for."""

    def __init__(
        self, config: CarrierConfig, archive: Archive, before_removal: Callable[[], object]
    ) -> None:
        """`before_removal` is called before anything is removed: it may end the process instead."""
        threads = FeedThreads("feeds")
        stream = partial(SendStream, level=config.archive.compression_level)
        self._shelf = partial(SnapshotShelf, archive, stream)
        self._archive = archive
        self._scope = Scope(archive, config.directories)
        self._stages: dict[Stage | None, Work] = {
            Stage.SHIP: Ship(archive, stream, threads, config.ship),
            Stage.CLEANUP: Cleanup(archive, threads, config.cleanup, before_removal),
        }

    async def do(self, stage: Stage | None, asked: Asked) -> Outcome | None:
        """Return the result of a file's stage, or what else was asked for."""
        match asked:
            case LookForSnapshots():
                return await self._shelf(asked.home).names()
            case ShipSnapshot():
                return await self._shelf(asked.home).add(asked.path, asked.name, asked.kept)
            case Identify():
                return await self._archive.identify(asked.expected, asked.witnesses)
            case Demand():
                await self._scope.demand(asked.directory)
                return None
        work = self._stages[stage]
        if asked.is_proven:  # the archive is not looked at
            return await work(asked)
        runs = _runs(asked)
        where = directory_of(asked.holder, asked.feed)
        return await self._scope.within(where, lambda: work(next(runs)))


def _runs(task: Task) -> Iterator[Task]:
    """Yield the task for each run of its stage in one try."""
    yield task
    while True:
        yield replace(task, is_repeat=True)
