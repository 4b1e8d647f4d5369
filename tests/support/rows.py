"""Makes production rows and batches of them."""

from __future__ import annotations

import time
from dataclasses import fields
from typing import TYPE_CHECKING

from backupd.core.records import Batch, new_id
from backupd.core.rows import ProductionRow
from backupd.core.stages import Stage, Status

if TYPE_CHECKING:
    from collections.abc import Sequence

COLUMNS = {field.name: field.name for field in fields(ProductionRow)}
NOON = 1_795_435_200.123456  # 2026-11-23 12:00:00 UTC, and some

# Names that a statement, a shell, or a text file with delimiters would trip over.
EVIL = [
    "a'b;c.csv",
    'q"uote.csv',
    "${env:HOME}.csv",
    ":name %s {x}.csv",
    "back\\slash.csv",
    "übung-日本-🙂.csv",
    "-- comment.csv",
]


def production_row(
    batch_id: str, *, file_id: str = "", at: float = NOON, name: str = ""
) -> ProductionRow:
    """A row of a file that a feed might deliver at this time."""
    file_id = file_id or new_id(at)
    return ProductionRow(
        file_id=file_id,
        file_type="traffic",
        customer="eLUX",
        file_name=name or f"eLUX_HOL_01_{time.strftime('%Y%m%d%H%M%S', time.gmtime(at))}.csv",
        file_timestamp=at,
        record_count=42,
        size_bytes=4711,
        sha256="ab" * 32,
        companion_name=None,
        first_seen_at=at + 1.5,
        batch_id=batch_id,
        file_date=time.strftime("%Y-%m-%d", time.gmtime(at)),
    )


def batch_of(rows: Sequence[ProductionRow], batch_id: str = "") -> Batch:
    """A batch with these rows' files as its members."""
    return Batch(
        id=batch_id or rows[0].batch_id,
        stage=Stage.LOAD,
        status=Status.RUNNING,
        reason="",
        attempts=1,
        interruptions=0,
        claims=1,
        next_attempt_at=NOON,
        created_at=NOON,
        done_at=None,
        staged_at="",
        members=tuple(row.file_id for row in rows),
    )


def new_batch(
    count: int = 3, *, days: int = 1, first_day: int = 0
) -> tuple[Batch, list[ProductionRow]]:
    """A new batch of `count` rows, spread evenly over `days` dates from the first one on."""
    batch_id, first = new_id(NOON), NOON + first_day * 86_400
    rows = [production_row(batch_id, at=first + (n % days) * 86_400) for n in range(count)]
    return batch_of(rows), rows
