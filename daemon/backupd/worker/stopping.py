"""Work that is given up when the daemon stops."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, TypeVar

from backupd.core.threads import unheard

if TYPE_CHECKING:
    from collections.abc import Coroutine

    from backupd.core.errors import BackupdError

T = TypeVar("T")


async def unless_stopped(
    work: Coroutine[Any, Any, T], stop: asyncio.Event, stopping: BackupdError
) -> T:
    """Return what comes of the work. If the stop comes first, cancel it and raise `stopping`."""
    task, stopped = asyncio.create_task(work), asyncio.create_task(stop.wait())
    task.add_done_callback(unheard)
    either: list[asyncio.Task[Any]] = [task, stopped]
    try:
        await asyncio.wait(either, return_when=asyncio.FIRST_COMPLETED)
        if not task.done():
            raise stopping
        return task.result()
    finally:
        stopped.cancel()
        task.cancel()
        await asyncio.wait([task])
