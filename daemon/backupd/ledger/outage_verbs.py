"""What is down just now, written for people to see."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING

import sqlalchemy as sa
from sqlalchemy.dialects.sqlite import insert

from backupd.ledger.schema import dependencies

if TYPE_CHECKING:
    from collections.abc import Sequence

    from backupd.ledger.reports import Outage


def note(connection: sa.Connection, outages: Sequence[Outage]) -> list[None]:
    """Write outages, newer words over older ones."""
    rows = [asdict(outage) for outage in outages]
    connection.execute(insert(dependencies).prefix_with("OR REPLACE"), rows)
    return [None] * len(outages)


def end(connection: sa.Connection, groups: Sequence[Sequence[str]]) -> list[None]:
    """Forget the named outages; an empty group forgets all."""
    for names in groups:
        statement = sa.delete(dependencies)
        if names:
            statement = statement.where(dependencies.c.name.in_(names))
        connection.execute(statement)
    return [None] * len(groups)
