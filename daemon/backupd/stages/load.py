"""load: a batch's rows go into the staging area."""

from __future__ import annotations

from typing import TYPE_CHECKING

from backupd.stages.rows import key_of, rows_of

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

    from backupd.core.ports import Warehouse
    from backupd.core.records import Batch, FileRecord
    from backupd.core.rows import ProductionRow


async def rows_to_make(
    warehouse: Warehouse, batch: Batch, files: Sequence[FileRecord], before: Collection[str]
) -> list[ProductionRow]:
    """Return the rows that production still lacks, each id once.

    `before` are the ids of members that were in another batch before this one: that batch may have
    made their rows. Any row may have been made by another daemon, or with a ledger that was lost.
    """
    ours = [key_of(file) for file in files if file.id in before]
    theirs = [key_of(file) for file in files if file.id not in before]
    there = await warehouse.find(ours) if ours else frozenset()
    there |= await warehouse.find(theirs, by_others=True) if theirs else frozenset()
    return rows_of([file for file in files if file.row_id not in there], batch)


async def load(warehouse: Warehouse, batch: Batch, rows: Sequence[ProductionRow]) -> str:
    """Stage the rows; return where. With none to make, nothing is staged."""
    return await warehouse.load(batch, rows) if rows else "nowhere: all its rows are in production"
