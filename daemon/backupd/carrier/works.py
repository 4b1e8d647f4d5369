"""The stages that leave this host."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from backupd.archive.stream import SendStream
from backupd.core.stages import Stage
from backupd.stages import Cleanup, Ship

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from backupd.carrier.wire import Orders
    from backupd.core.ports import Archive
    from backupd.core.records import Result, Task

    Work = Callable[[Task], Awaitable[Result]]


def works(
    orders: Orders, archive: Archive, before_removal: Callable[[], object]
) -> dict[Stage, Work]:
    """Return ship and cleanup as the orders want them."""
    stream = partial(SendStream, level=orders.archive.compression_level)
    return {
        Stage.SHIP: Ship(archive, stream, orders.ship),
        Stage.CLEANUP: Cleanup(archive, orders.cleanup, before_removal),
    }
