"""merge: what load staged goes into the production table, and is seen there."""

from __future__ import annotations

from typing import TYPE_CHECKING

from backupd.core.errors import UnknownOutcomeError
from backupd.stages.rows import key_of, rows_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from backupd.core.ports import Warehouse
    from backupd.core.records import Batch, FileRecord
    from backupd.core.rows import RowKey


async def merge(warehouse: Warehouse, batch: Batch, files: Sequence[FileRecord]) -> list[RowKey]:
    """Merge what is staged, then see every file's row; return those that are there more than once.

    Raises UnknownOutcomeError when one is missing.
    """
    seen = await warehouse.merge(batch, rows_of(files, batch))
    others = [file for file in files if file.row_id not in seen]
    found = await warehouse.find([key_of(file) for file in others]) if others else frozenset()
    missing = [file for file in others if file.row_id not in found]
    if missing:
        raise UnknownOutcomeError(
            f"{len(missing)} of {len(files)} rows of batch {batch.id} are not in production, "
            f"that of {missing[0].file_name} among them"
        )
    keys = map(key_of, files)
    return [key for key in keys if seen[key.file_id] > 1]
