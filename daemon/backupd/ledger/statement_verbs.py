"""The statements that batches run in the warehouse, and rows that were found more than once."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING

import sqlalchemy as sa
from sqlalchemy.dialects.sqlite import insert

from backupd.core.ports import RowKey
from backupd.core.records import Statement
from backupd.ledger.schema import doubled_rows, statements

if TYPE_CHECKING:
    from collections.abc import Sequence


def write(connection: sa.Connection, written: Sequence[Statement]) -> list[None]:
    """Write statements, each over the last one of its batch."""
    rows = [asdict(each) for each in written]
    connection.execute(insert(statements).prefix_with("OR REPLACE"), rows)
    return [None] * len(written)


def forget(connection: sa.Connection, batch_ids: Sequence[str]) -> list[None]:
    """Forget the statements of these batches."""
    connection.execute(sa.delete(statements).where(statements.c.batch_id.in_(batch_ids)))
    return [None] * len(batch_ids)


def forget_ended(connection: sa.Connection, batch_id: str) -> None:
    """Forget the statement of a batch that goes no further, unless it may still run."""
    is_its = sa.and_(statements.c.batch_id == batch_id, statements.c.session == "")
    connection.execute(sa.delete(statements).where(is_its))


def unended(connection: sa.Connection) -> list[Statement]:
    """Return the statements that may still run, oldest first."""
    query = sa.select(statements).where(statements.c.session != "").order_by(statements.c.began_at)
    return [Statement(**row._mapping) for row in connection.execute(query)]  # noqa: SLF001 - its name


def of_batch(connection: sa.Connection, batch_id: str) -> Statement | None:
    """Return the statement that a batch came to last; None where its end is known."""
    query = sa.select(statements).where(statements.c.batch_id == batch_id)
    row = connection.execute(query).one_or_none()
    return Statement(**row._mapping) if row else None  # noqa: SLF001 - SQLAlchemy's documented name


def note_doubled(connection: sa.Connection, keys: Sequence[RowKey]) -> list[None]:
    """Write files whose rows were seen more than once."""
    for key in keys:
        connection.execute(insert(doubled_rows).on_conflict_do_nothing(), asdict(key))
    return [None] * len(keys)


def forget_doubled(connection: sa.Connection, keys: Sequence[RowKey]) -> list[None]:
    """Forget those: they were seen with one row, or none."""
    for key in keys:
        connection.execute(sa.delete(doubled_rows).where(doubled_rows.c.file_id == key.file_id))
    return [None] * len(keys)


def doubled(connection: sa.Connection) -> list[RowKey]:
    """Return the files that were seen with more than one row."""
    query = sa.select(doubled_rows).order_by(doubled_rows.c.file_date, doubled_rows.c.file_id)
    return [RowKey(row.file_id, row.file_date) for row in connection.execute(query)]
