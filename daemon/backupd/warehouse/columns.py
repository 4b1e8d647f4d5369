"""The production table's columns, whatever their names there, and its partitions."""

from __future__ import annotations

import time
from collections import defaultdict
from typing import TYPE_CHECKING, Literal

from backupd.core.errors import PermanentError
from backupd.core.records import new_id
from backupd.core.rows import ProductionRow
from backupd.core.times import DATE_FORM

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

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


def by_date(rows: Sequence[ProductionRow]) -> dict[str, list[ProductionRow]]:
    """Return the rows of each date. Raises PermanentError for one that has none."""
    dates: dict[str, list[ProductionRow]] = defaultdict(list)
    for row in rows:
        if not DATE_FORM.fullmatch(row.file_date):
            raise PermanentError(
                f"{row.file_name!r} has no date to file it under: {row.file_date!r}"
            )
        dates[row.file_date].append(row)
    return dates


def probe_row(now: float) -> ProductionRow:
    """Return a row of no file. Its id and its batch's are one, like any other's."""
    probe_id = new_id(now)
    return ProductionRow(
        file_id=probe_id,
        file_type="probe",
        customer="probe",
        file_name="probe",
        file_timestamp=now,
        record_count=0,
        size_bytes=0,
        sha256="",
        companion_name=None,
        first_seen_at=now,
        batch_id=probe_id,
        file_date=time.strftime("%Y-%m-%d", time.gmtime(now)),
    )
