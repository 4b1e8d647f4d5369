"""What Hive and Impala still owe: statements that may run, refreshes, rows to be counted again."""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import TYPE_CHECKING

import sqlalchemy as sa
from sqlalchemy.dialects.sqlite import insert

from backupd.core.rows import OwedRefresh, RowKey, Statement
from backupd.ledger.rows import in_chunks
from backupd.ledger.schema import refreshes_owed as owed
from backupd.ledger.schema import row_counts_due as due
from backupd.ledger.schema import servers_in_use as in_use
from backupd.ledger.schema import statements

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from backupd.core.rows import RowCount, TouchedTable


def write_statements(connection: sa.Connection, written: Sequence[Statement]) -> list[None]:
    """Write statements, each over the last one of its batch."""
    rows = [asdict(each) for each in written]
    connection.execute(insert(statements).prefix_with("OR REPLACE"), rows)
    return [None] * len(written)


def forget_statements(connection: sa.Connection, batch_ids: Sequence[str]) -> list[None]:
    """Forget the statements of these batches."""
    connection.execute(sa.delete(statements).where(statements.c.batch_id.in_(batch_ids)))
    return [None] * len(batch_ids)


def forget_ended_statement(connection: sa.Connection, batch_id: str) -> None:
    """Forget the statement of a batch that goes no further, unless it may still run."""
    is_its = sa.and_(statements.c.batch_id == batch_id, statements.c.session == "")
    connection.execute(sa.delete(statements).where(is_its))


def possibly_running(connection: sa.Connection) -> list[Statement]:
    """Return the statements that may still run, oldest first."""
    query = sa.select(statements).where(statements.c.session != "").order_by(statements.c.began_at)
    return [Statement(**row._mapping) for row in connection.execute(query)]  # noqa: SLF001 - its name


def statement_of(connection: sa.Connection, batch_id: str) -> Statement | None:
    """Return the statement that a batch came to last; None where its end is known."""
    query = sa.select(statements).where(statements.c.batch_id == batch_id)
    row = connection.execute(query).one_or_none()
    return Statement(**row._mapping) if row else None  # noqa: SLF001 - SQLAlchemy's documented name


def note_servers(connection: sa.Connection, written: Sequence[Mapping[str, str]]) -> list[None]:
    """Write which servers are in use, in place of what was known."""
    connection.execute(sa.delete(in_use))
    rows = [{"kind": kind, "address": address} for kind, address in written[-1].items()]
    if rows:
        connection.execute(insert(in_use), rows)
    return [None] * len(written)


def servers(connection: sa.Connection) -> dict[str, str]:
    """Return which servers are in use, by what they are."""
    rows = connection.execute(sa.select(in_use).order_by(in_use.c.kind))
    return {row.kind: row.address for row in rows}


def owe_refresh(connection: sa.Connection, table: TouchedTable, now: float) -> None:
    """Note a merge into a table, in the transaction that records it."""
    before = connection.execute(sa.select(owed.c.dates).where(owed.c.name == table.name)).scalar()
    dates = json.dumps(sorted({*json.loads(before or "[]"), *table.dates}))
    statement = insert(owed).values(name=table.name, since=now, merges=1, dates=dates)
    again = statement.on_conflict_do_update(
        index_elements=[owed.c.name], set_={"merges": owed.c.merges + 1, "dates": dates}
    )
    connection.execute(again)


def refreshed(connection: sa.Connection, refreshes: Sequence[OwedRefresh]) -> list[None]:
    """Forget those, unless there was another merge since they were read."""
    for each in refreshes:
        connection.execute(
            sa.delete(owed).where(owed.c.name == each.name, owed.c.merges == each.merges)
        )
    return [None] * len(refreshes)


def owed_refreshes(connection: sa.Connection) -> list[OwedRefresh]:
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


def note_row_counts(connection: sa.Connection, counts: Sequence[RowCount]) -> list[None]:
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
    for some in in_chunks(done):
        connection.execute(sa.delete(due).where(due.c.file_id.in_(some)))
    return [None] * len(counts)


def rows_to_count(connection: sa.Connection, now: float, limit: int) -> list[RowKey]:
    """Return rows that are to be counted by now, those of a date together."""
    query = sa.select(due).where(due.c.due_at <= now).limit(limit)
    return _keys(connection, query)


def doubled_rows(connection: sa.Connection) -> list[RowKey]:
    """Return the files that were last seen with more than one row."""
    return _keys(connection, sa.select(due).where(due.c.doubled))


def _keys(connection: sa.Connection, query: sa.Select[tuple[object, ...]]) -> list[RowKey]:
    rows = connection.execute(query.order_by(due.c.file_date, due.c.file_id))
    return [RowKey(row.file_id, row.file_date) for row in rows]
