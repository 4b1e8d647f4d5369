"""Histories in a scriptable Hive, written as the daemon would."""

from __future__ import annotations

from contextlib import asynccontextmanager
from functools import partial
from typing import TYPE_CHECKING

from backupd.core.history import Past
from backupd.warehouse.hive.history import HiveHistory
from support.hives import hive_section
from support.merging import until_it_works

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Sequence

    from backupd.core.errors import BackupdError
    from backupd.core.history import History, Story
    from support.hive_server import HiveServer

    Opened = Callable[..., HiveHistory]


@asynccontextmanager
async def opening_histories(server: HiveServer) -> AsyncIterator[Opened]:
    """Open histories at a server, with changes of `[warehouse.hive]`; close them in the end."""
    histories: list[HiveHistory] = []

    def open_one(**changes: object) -> HiveHistory:
        hive = hive_section(server, **changes).hive
        assert hive
        histories.append(HiveHistory(hive))
        return histories[-1]

    try:
        yield open_one
    finally:
        for each in histories:
            await each.aclose()


async def until_written(
    history: History,
    batch_id: str,
    stories: Sequence[Story],
    *,
    tries: int = 10,
    pause: float = 0.0,
) -> list[BackupdError]:
    """Write the stories of a date, again after each failure; return the failures.

    A real server takes `pause` seconds between tries to come back.
    """
    write = partial(history.write, batch_id, stories[0].done_date, stories)
    failures, _ = await until_it_works(write, tries=tries, pause=pause)
    return failures


async def found(history: History, **past: object) -> list[Story]:
    """Return what is found by these conditions of `Past`."""
    asked = Past(**past)  # type: ignore[arg-type]  # any field
    return [story async for story in history.find(asked)]
