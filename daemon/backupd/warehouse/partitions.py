"""Rows by their partition."""

from __future__ import annotations

import re
import time
from collections import defaultdict
from typing import TYPE_CHECKING

from backupd.core.errors import PermanentError
from backupd.core.records import new_id
from backupd.core.rows import ProductionRow

if TYPE_CHECKING:
    from collections.abc import Sequence

_DATE = re.compile(r"\d{4}-\d{2}-\d{2}")


def by_date(rows: Sequence[ProductionRow]) -> dict[str, list[ProductionRow]]:
    """Return the rows of each date. Raises PermanentError for one that has none."""
    dates: dict[str, list[ProductionRow]] = defaultdict(list)
    for row in rows:
        if not _DATE.fullmatch(row.file_date):
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
