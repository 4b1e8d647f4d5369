"""Which files' rows in production are to be counted again, and which were seen more than once."""

from __future__ import annotations

from typing import TYPE_CHECKING

import sqlalchemy as sa
from sqlalchemy.dialects.sqlite import insert

from backupd.core.rows import RowKey
from backupd.ledger.rows import in_chunks
from backupd.ledger.schema import row_counts_due as due

if TYPE_CHECKING:
    from collections.abc import Sequence

    from backupd.core.rows import RowCount

_AT_ONCE = 500


def note(connection: sa.Connection, counts: Sequence[RowCount]) -> list[None]:
    """Write what was counted: a row that is to be counted no more is forgotten."""
    again = [each for each in counts if each.due_at is not None]
    rows = [
        {
            "file_id": each.key.file_id,
            "file_date": each.key.file_date,
            "doubled": each.doubled,
            "due_at": each.due_at,
        }
        for each in again
    ]
    if rows:
        connection.execute(insert(due).prefix_with("OR REPLACE"), rows)
    done = [each.key.file_id for each in counts if each.due_at is None]
    for some in in_chunks(done, _AT_ONCE):
        connection.execute(sa.delete(due).where(due.c.file_id.in_(some)))
    return [None] * len(counts)


def due_at(connection: sa.Connection, now: float, limit: int) -> list[RowKey]:
    """Return rows that are to be counted by now, those of a date together."""
    query = sa.select(due).where(due.c.due_at <= now).limit(limit)
    return _keys(connection, query)


def doubled(connection: sa.Connection) -> list[RowKey]:
    """Return the files that were last seen with more than one row."""
    return _keys(connection, sa.select(due).where(due.c.doubled))


def _keys(connection: sa.Connection, query: sa.Select[tuple[object, ...]]) -> list[RowKey]:
    rows = connection.execute(query.order_by(due.c.file_date, due.c.file_id))
    return [RowKey(row.file_id, row.file_date) for row in rows]
