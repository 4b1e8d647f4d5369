"""Batches go through load and merge of a real adapter, whatever goes wrong on their way."""

from __future__ import annotations

import asyncio
from collections import Counter
from contextlib import suppress
from dataclasses import replace
from typing import TYPE_CHECKING, TypeVar

from backupd.core.errors import BackupdError, RewindError
from backupd.core.records import new_id
from backupd.core.rows import RowKey
from support.rows import NOON, batch_of, new_batch

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

    from backupd.core.ports import Warehouse
    from backupd.core.records import Batch
    from backupd.core.rows import ProductionRow
    from support.hive_server import HiveServer

T = TypeVar("T")


async def until_merged(
    warehouse: Warehouse,
    batch: Batch,
    rows: Sequence[ProductionRow],
    *,
    tries: int = 10,
    pause: float = 0.0,
) -> list[BackupdError]:
    """Load and merge as the worker would, again after each failure; return the failures.

    A real server takes `pause` seconds between tries to come back.
    """

    async def once() -> Counter[str]:
        await warehouse.load(batch, rows)
        return await warehouse.merge(batch, rows)

    failures, seen = await until_it_works(once, tries=tries, pause=pause)
    assert seen == Counter(row.file_id for row in rows)
    return failures


async def merge_again(warehouse: Warehouse, rows: Sequence[ProductionRow]) -> None:
    """Have the rows of files that were requeued merged, in a new batch, as the worker would."""
    again = [replace(row, batch_id=(batch_id := new_id(NOON))) for row in rows]
    batch = batch_of(again, batch_id)
    await warehouse.load(batch, again)
    try:
        await warehouse.merge(batch, again)
    except RewindError:
        await warehouse.load(replace(batch, staged_at="there"), again)
        await warehouse.merge(batch, again)


async def until_it_works(
    work: Callable[[], Awaitable[T]], *, tries: int, pause: float
) -> tuple[list[BackupdError], T]:
    """Do it again after each failure, so many tries at most; return the failures and the answer."""
    failures: list[BackupdError] = []
    while len(failures) < tries:
        try:
            return failures, await work()
        except BackupdError as error:
            failures.append(error)
            await asyncio.sleep(pause)  # a real server needs that long to come back
    raise AssertionError(failures)


async def assert_once(warehouse: Warehouse, rows: Sequence[ProductionRow]) -> None:
    """See that production has each row once."""
    found = Counter([key async for key in warehouse.rows({row.file_date for row in rows})])
    assert found == Counter(RowKey(row.file_id, row.file_date) for row in rows)


async def merged_once_though_cut(server: HiveServer, warehouse: Warehouse, call: str) -> None:
    """Have the connection cut at this call again and again, and each row made once all the same."""
    batch, rows = new_batch(4, days=2)
    for _ in range(3):
        server.cut_at = call
        with suppress(BackupdError):
            await warehouse.load(batch, rows)
        server.cut_at = call
        with suppress(BackupdError):
            await warehouse.merge(batch, rows)
    await until_merged(warehouse, batch, rows)
    await assert_once(warehouse, rows)
