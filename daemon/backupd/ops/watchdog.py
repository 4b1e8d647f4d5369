"""The watchdog: systemd hears of life only while every part of the daemon makes progress."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import structlog

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping

    from backupd.ops.systemd import Manager

log = structlog.get_logger()

_SHARE = 4  # notifications in the time that systemd allows


class Watchdog:
    """Keeps asking each part for a sign of life; notifies systemd when all have given one."""

    def __init__(
        self, manager: Manager, signs: Mapping[str, Callable[[], Awaitable[None]]]
    ) -> None:
        """`signs` by the part's name: each returns once its part has shown progress."""
        self._manager = manager
        self._signs = signs
        self.missing: list[str] = []  # the parts that are waited for longer than they should be

    async def run(self) -> None:
        """Run for ever; at once return where systemd wants to hear nothing."""
        if self._manager.watchdog is None:
            return
        pause = self._manager.watchdog / _SHARE
        while True:
            await self._all_give_one(pause)
            self._manager.alive()
            await asyncio.sleep(pause)

    async def _all_give_one(self, soon: float) -> None:
        """Wait for all signs; name in the log those that take longer than `soon` (seconds)."""
        async with asyncio.TaskGroup() as group:
            tasks = {group.create_task(_of(sign)): part for part, sign in self._signs.items()}
            _, late = await asyncio.wait(tasks, timeout=soon)
            if late:
                self.missing = sorted(tasks[task] for task in late)
                log.error("no sign of life", of=", ".join(self.missing))
        self.missing = []


async def _of(sign: Callable[[], Awaitable[None]]) -> None:
    await sign()
