"""What Impala is still to be notified of: one row a table, however many merges it stands for."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import sqlalchemy as sa
from sqlalchemy.dialects.sqlite import insert

from backupd.core.rows import OwedRefresh
from backupd.ledger.schema import refreshes_owed as owed

if TYPE_CHECKING:
    from collections.abc import Sequence

    from backupd.core.rows import TouchedTable


def owe(connection: sa.Connection, table: TouchedTable, now: float) -> None:
    """Note a merge into a table, in the transaction that records it."""
    before = connection.execute(sa.select(owed.c.dates).where(owed.c.name == table.name)).scalar()
    dates = json.dumps(sorted({*json.loads(before or "[]"), *table.dates}))
    statement = insert(owed).values(name=table.name, since=now, merges=1, dates=dates)
    again = statement.on_conflict_do_update(
        index_elements=[owed.c.name], set_={"merges": owed.c.merges + 1, "dates": dates}
    )
    connection.execute(again)


def done(connection: sa.Connection, refreshes: Sequence[OwedRefresh]) -> list[None]:
    """Forget those, unless there was another merge since they were read."""
    for each in refreshes:
        connection.execute(
            sa.delete(owed).where(owed.c.name == each.name, owed.c.merges == each.merges)
        )
    return [None] * len(refreshes)


def all_owed(connection: sa.Connection) -> list[OwedRefresh]:
    """Return what is owed, the oldest first."""
    query = sa.select(owed).order_by(owed.c.since)
    return [
        OwedRefresh(
            name=row.name,
            since=row.since,
            merges=row.merges,
            dates=tuple(json.loads(row.dates)),
        )
        for row in connection.execute(query)
    ]
