"""From a file to its row in the production table."""

from __future__ import annotations

from typing import TYPE_CHECKING

from backupd.core.errors import PermanentError
from backupd.core.rows import ProductionRow, RowKey

if TYPE_CHECKING:
    from collections.abc import Iterable

    from backupd.core.records import Batch, FileRecord


def key_of(file: FileRecord) -> RowKey:
    """Return where the file's row is to be found. Raises as `row_of`."""
    if file.row_id is None or file.file_date is None:
        raise _never_read()
    return RowKey(file.row_id, file.file_date, file.batch_id)


def rows_of(files: Iterable[FileRecord], batch: Batch) -> list[ProductionRow]:
    """Return the files' rows, each id once. Raises as `row_of`."""
    rows = {file.row_id: row_of(file, batch) for file in files}
    return list(rows.values())


def row_of(file: FileRecord, batch: Batch) -> ProductionRow:
    """Return the file's row. Raises PermanentError when manifest has not been through."""
    if (
        file.row_id is None
        or file.sha256 is None
        or file.size_bytes is None
        or file.record_count is None
        or file.file_timestamp is None
        or file.file_date is None
    ):
        raise _never_read()
    return ProductionRow(
        file_id=file.row_id,
        file_type=file.file_type,
        customer=file.customer,
        file_name=file.file_name,
        file_timestamp=file.file_timestamp,
        record_count=file.record_count,
        size_bytes=file.size_bytes,
        sha256=file.sha256,
        companion_name=_companion_name(file),
        first_seen_at=file.first_seen_at,
        batch_id=batch.id,
        file_date=file.file_date,
    )


def _never_read() -> PermanentError:
    return PermanentError("it was never counted and hashed", hint="requeue it from manifest")


def _companion_name(file: FileRecord) -> str | None:
    if file.companion_text is None or file.companion_path is None:
        return None
    return file.companion_path.rpartition("/")[2]
