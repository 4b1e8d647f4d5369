"""Before a removal: the file's row is seen in production, unless it was seen just now."""

from __future__ import annotations

import time
from dataclasses import replace
from typing import TYPE_CHECKING

from backupd.core.dependencies import Dependency
from backupd.core.errors import PermanentError
from backupd.core.request_batcher import RequestBatcher
from backupd.stages import key_of
from backupd.worker.context import PROOF_IS_FRESH_FOR

if TYPE_CHECKING:
    from backupd.core.ports import Warehouse, Work
    from backupd.core.records import Result, Task
    from backupd.core.rows import RowKey
    from backupd.core.shares import Shares


class RowsSeen:
    """Looks for rows, those of many files at once."""

    def __init__(self, warehouse: Warehouse, cleanups: Shares) -> None:
        """Rows are looked for of as many files as ask; `cleanups` are done at a time."""
        self._warehouse = warehouse
        self._cleanups = cleanups
        self._looks: RequestBatcher[RowKey, bool] = RequestBatcher(self._look)

    def seen_before(self, clean_up: Work) -> Work:
        """Return `clean_up` so that it is done only where the row is there.

        It raises PermanentError where the row is not, and what the warehouse raises.
        """

        async def work(task: Task) -> Result:
            seen_in = await self._see(task)
            seen_at = time.monotonic()
            async with self._cleanups.place(task.feed.name):
                if time.monotonic() - seen_at >= PROOF_IS_FRESH_FOR:
                    task = replace(task, is_proven=False)
                    seen_in = await self._see(task)
                result = await clean_up(task)
            return replace(result, leaned_on=(*result.leaned_on, *seen_in))

        return work

    async def aclose(self) -> None:
        """Give up looks under way."""
        await self._looks.aclose()

    async def _see(self, task: Task) -> tuple[str, ...]:
        """Return what the row was seen in; nothing where it need not be looked for."""
        if task.is_proven or task.holder.row_seen_at is None:
            return ()
        if await self._looks.ask(key_of(task.holder)):
            return (Dependency.WAREHOUSE,)
        whose = "its row" if task.original is None else f"the row of {task.holder.id}"
        raise PermanentError(
            f"not deleted: {whose} is not in the production table any more",
            hint=f"requeue {task.holder.id} from load: its row is made again",
        )

    async def _look(self, keys: list[RowKey]) -> dict[RowKey, bool]:
        found = await self._warehouse.find(keys)
        return {key: key.file_id in found for key in keys}
