"""The production table's columns: what kind of value each holds, whatever its name there."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from collections.abc import Mapping

Kind = Literal["string", "bigint", "timestamp"]  # as Hive and Impala call them

KINDS: dict[str, Kind] = {
    "file_id": "string",
    "file_type": "string",
    "customer": "string",
    "file_name": "string",
    "file_timestamp": "timestamp",
    "record_count": "bigint",
    "size_bytes": "bigint",
    "sha256": "string",
    "companion_name": "string",
    "first_seen_at": "timestamp",
    "batch_id": "string",
    "file_date": "string",
}
NULLABLE = frozenset({"companion_name"})
PARTITION = "file_date"  # stands in the directory's name and not in the file
STAGING_PARTITION = "batch_id"  # the same in the staging table


def in_file(columns: Mapping[str, str], partition: str = PARTITION) -> dict[str, str]:
    """Return the columns that a file holds, ours to the table's names, in table order."""
    return {ours: name for ours, name in columns.items() if ours != partition}
