"""Partitions in Hive whose directories are replaced, or were, by compaction."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

import sqlalchemy as sa
from sqlalchemy.dialects.sqlite import insert

from backupd.core.compacting import Replacement, Step
from backupd.core.rows import TouchedTable
from backupd.ledger.hive_memory import owe_refresh
from backupd.ledger.schema import refreshes_owed as owed
from backupd.ledger.schema import replacements

if TYPE_CHECKING:
    from collections.abc import Sequence


@dataclass(frozen=True, kw_only=True)
class Change:
    """A replacement as it is `now`, or only its `forgotten` id.

    Once it is replaced, Impala is to be notified of new files in the table `refreshes`; "": none.
    """

    now: Replacement | None = None
    forgotten: str = ""
    refreshes: str = ""


def note(connection: sa.Connection, changes: Sequence[Change]) -> list[None]:
    """Write replacements, each over what was known of it, and forget those that are to be."""
    for change in changes:
        if (each := change.now) is None:
            forget = sa.delete(replacements).where(replacements.c.id == change.forgotten)
            connection.execute(forget)
            continue
        connection.execute(insert(replacements).prefix_with("OR REPLACE"), _row_of(each))
        if each.step is Step.REPLACED and change.refreshes:
            touched = TouchedTable(name=change.refreshes, dates=(each.file_date,))
            owe_refresh(connection, touched, each.since)
    return [None] * len(changes)


def of_table(connection: sa.Connection, table: str) -> list[Replacement]:
    """Return those of a table, the oldest first."""
    query = sa.select(replacements).where(replacements.c.table_name == table)
    return [
        Replacement(
            id=row.id,
            table=row.table_name,
            file_date=row.file_date,
            old=row.old,
            new=row.new,
            files=tuple(json.loads(row.files)),
            step=Step(row.step),
            since=row.since,
        )
        for row in connection.execute(query.order_by(replacements.c.id))
    ]


def owes_refresh(connection: sa.Connection, table: str, date: str) -> bool:
    """Return whether Impala is owed a REFRESH of this date."""
    dates = connection.execute(sa.select(owed.c.dates).where(owed.c.name == table)).scalar()
    return date in json.loads(dates or "[]")


def _row_of(replacement: Replacement) -> dict[str, object]:
    row = asdict(replacement)
    row["table_name"] = row.pop("table")
    return row | {"files": json.dumps(replacement.files), "step": str(replacement.step)}
