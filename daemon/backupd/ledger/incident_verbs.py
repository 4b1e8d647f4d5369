"""What is written about incidents, and about who was notified of them."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa
from sqlalchemy.dialects.sqlite import insert

from backupd.core.dependencies import ARCHIVE_PREFIX, FEED_PREFIX
from backupd.core.incidents import (
    Incident,
    Kind,
    Notice,
    Outage,
    Outcome,
)
from backupd.core.records import new_id
from backupd.ledger.schema import incidents, notices

if TYPE_CHECKING:
    from collections.abc import Sequence

IS_OPEN = incidents.c.closed_at.is_(None)


def open_incidents(connection: sa.Connection, opened: Sequence[Incident]) -> list[bool]:
    """Write incidents; False for one whose cause has an open one already."""
    statement = insert(incidents).on_conflict_do_nothing()
    return [connection.execute(statement, asdict(each)).rowcount == 1 for each in opened]


def note_outages(connection: sa.Connection, outages: Sequence[Outage]) -> list[None]:
    """Write what is down: a new incident, or newer words in the open one."""
    for outage in outages:
        row = _row_of(outage)
        newer = {name: row[name] for name in ("trouble", "reason", "trials", "next_try_at")}
        statement = insert(incidents).on_conflict_do_update(
            index_elements=["cause"], index_where=IS_OPEN, set_=newer
        )
        connection.execute(statement, row)
    return [None] * len(outages)


def note_incident(connection: sa.Connection, noted: Sequence[Incident]) -> list[None]:
    """Write incidents: new ones, or newer words in those that are open."""
    for each in noted:
        statement = insert(incidents).on_conflict_do_update(
            index_elements=["cause"],
            index_where=IS_OPEN,
            set_={"reason": each.reason, "trouble": each.trouble},
        )
        connection.execute(statement, asdict(each))
    return [None] * len(noted)


def close_incidents(connection: sa.Connection, ended: Sequence[tuple[str, float]]) -> list[bool]:
    """Close the open incidents of causes: items are (cause, now); False where there was none."""
    statement = sa.update(incidents).where(IS_OPEN)
    return [
        connection.execute(
            statement.where(incidents.c.cause == cause).values(closed_at=now)
        ).rowcount
        == 1
        for cause, now in ended
    ]


def note_notices(connection: sa.Connection, written: Sequence[Notice]) -> list[None]:
    """Write notices, each over what was written of it before."""
    connection.execute(
        insert(notices).prefix_with("OR REPLACE"), [asdict(notice) for notice in written]
    )
    return [None] * len(written)


def mark_interrupted_notices_unknown(
    connection: sa.Connection, details: Sequence[str]
) -> list[None]:
    """Make notices unknown that were being sent when the last process ended; say so."""
    connection.execute(
        sa.update(notices)
        .where(notices.c.outcome == Outcome.TRYING)
        .values(outcome=Outcome.UNKNOWN, detail=details[0])
    )
    return [None] * len(details)


def _kind_of(name: str) -> Kind:
    if name.startswith(FEED_PREFIX):
        return Kind.FEED
    return Kind.ARCHIVE if name.startswith(ARCHIVE_PREFIX) else Kind.DEPENDENCY


def _row_of(outage: Outage) -> dict[str, Any]:
    kind = _kind_of(outage.name)
    incident = Incident(
        id=new_id(outage.since),
        kind=kind,
        cause=outage.name,
        feed=outage.name.removeprefix(FEED_PREFIX) if kind is Kind.FEED else "",
        trouble="\n".join(outage.feeds),
        reason=outage.reason,
        opened_at=outage.since,
        trials=outage.trials,
        next_try_at=outage.next_try_at,
    )
    return asdict(incident)
