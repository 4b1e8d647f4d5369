"""load: a batch's rows go into the staging area."""

from __future__ import annotations

from typing import TYPE_CHECKING

from backupd.stages.rows import key_of, row_of

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

    from backupd.core.ports import Warehouse
    from backupd.core.records import Batch, FileRecord
    from backupd.core.rows import ProductionRow


async def rows_to_make(
    warehouse: Warehouse, batch: Batch, files: Sequence[FileRecord], before: Collection[str]
) -> list[ProductionRow]:
    """Return the rows that production still lacks.

    `before` are the ids of members that were in another batch before this one: that batch may have
    made their rows, so production is asked for them.
    """
    keys = [key_of(file) for file in files if file.id in before]
    there = await warehouse.find(keys) if keys else frozenset()
    return [row_of(file, batch) for file in files if file.id not in there]


async def load(warehouse: Warehouse, batch: Batch, rows: Sequence[ProductionRow]) -> str:
    """Stage the rows; return where. With none to make, nothing is staged."""
    return await warehouse.load(batch, rows) if rows else "nowhere: all its rows are in production"
