"""Jobs in directories, one after the other; one that hangs keeps none waiting but its own."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import TYPE_CHECKING, TypeVar

from backupd.core.calls import DoesNotAnswerError
from backupd.core.shares import Shares

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable

    from backupd.core.threads import DirectoryThreads

T = TypeVar("T")


class Turns:
    """The turns of some jobs. What blocks in a job is done by `run`."""

    def __init__(self, threads: DirectoryThreads) -> None:
        self._threads = threads
        self._places = Shares(1)

    async def take(self, jobs: Iterable[tuple[str, Callable[[], Awaitable[None]]]]) -> None:
        """Do them all. Each goes with its directory: where that does not answer, it is given up."""
        async with asyncio.TaskGroup() as group:
            for directory, job in jobs:
                group.create_task(self._do(directory, job))

    async def run(self, directory: str, call: Callable[[], T]) -> T:
        """Call it in a thread. While it hangs, other jobs go on."""
        return await self._threads.run(directory, call, self._places.lent())

    async def _do(self, directory: str, job: Callable[[], Awaitable[None]]) -> None:
        async with self._places.place(directory):
            with suppress(DoesNotAnswerError):  # the feed's health reports it
                await job()
