"""Has files of a feed's dates come, without any being there."""

from __future__ import annotations

from typing import TYPE_CHECKING

from backupd.completeness.arrivals import number_in
from backupd.completeness.dates import day_of
from backupd.core.arrivals import Arrival
from backupd.ledger import arrivals

if TYPE_CHECKING:
    from collections.abc import Sequence

    import sqlalchemy as sa

    from backupd.completeness.expectations import SequenceRule
    from backupd.ledger import Ledger


def an_arrival(feed: str, at: float, name: str = "", rule: SequenceRule | None = None) -> Arrival:
    """A file of ten records that came on its own date."""
    number = number_in(name, rule) if rule else None
    return Arrival(feed=feed, day=day_of(at), at=at, records=10, size=100, number=number)


async def come(ledger: Ledger, *files: Arrival) -> None:
    """Count these files."""
    await ledger._writer.apply(_count, files)


def _count(connection: sa.Connection, files: Sequence[Arrival]) -> list[None]:
    arrivals.count(connection, files)
    return [None] * len(files)
