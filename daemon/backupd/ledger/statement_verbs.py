"""The statements that batches run in the warehouse."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING

import sqlalchemy as sa
from sqlalchemy.dialects.sqlite import insert

from backupd.core.rows import Statement
from backupd.ledger.schema import statements

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


def possibly_running(connection: sa.Connection) -> list[Statement]:
    """Return the statements that may still run, oldest first."""
    query = sa.select(statements).where(statements.c.session != "").order_by(statements.c.began_at)
    return [Statement(**row._mapping) for row in connection.execute(query)]  # noqa: SLF001 - its name


def of_batch(connection: sa.Connection, batch_id: str) -> Statement | None:
    """Return the statement that a batch came to last; None where its end is known."""
    query = sa.select(statements).where(statements.c.batch_id == batch_id)
    row = connection.execute(query).one_or_none()
    return Statement(**row._mapping) if row else None  # noqa: SLF001 - SQLAlchemy's documented name
