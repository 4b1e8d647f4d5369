"""Which waiting files are next: some of each feed, so that none keeps another from its turn."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa

from backupd.ledger.schema import files

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

_wanted = sa.func.json_each(sa.bindparam("feeds")).table_valued("value", name="wanted")
_first = files.alias("first")
_due = files.alias("due")


def first_of_feeds(
    where: Callable[[sa.FromClause], Iterable[sa.ColumnElement[bool]]],
) -> sa.Select[Any]:
    """Return the row numbers of waiting files, those due first in front: to be run with `of_feeds`.

    Each feed's first ones are looked up by themselves: that is a look into the index, however many
    of another feed wait.
    """
    first_of_feed: sa.Select[Any] = (
        sa.select(sa.literal_column("first.rowid"))
        .select_from(_first)
        .where(
            _first.c.status == sa.literal_column("'waiting'"),
            _first.c.feed == _wanted.c.value,
            *where(_first),
        )
        .order_by(_first.c.next_attempt_at)
        .limit(sa.bindparam("each"))
        .correlate(_wanted)
    )
    return (
        sa.select(sa.literal_column("due.rowid"))
        .select_from(_wanted)
        .join(_due, sa.literal_column("due.rowid").in_(first_of_feed))
        .order_by(_due.c.next_attempt_at)
        .limit(sa.bindparam("at_most"))
    )


def of_feeds(feeds: Sequence[str], each: int, *, at_most: int) -> dict[str, Any]:
    """Return the parameters: up to `each` of each of these feeds."""
    return {"feeds": json.dumps(feeds), "each": each, "at_most": at_most}
