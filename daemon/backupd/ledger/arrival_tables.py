"""The ledger's tables of what came of feeds, and what never will. Dates are days since 1970."""

from __future__ import annotations

import sqlalchemy as sa

from backupd.ledger.schema import metadata

# The feeds of which something is expected: since when, by which pattern their numbers are read, a
# digest of all that is expected and since when that holds, and whether the files that were there
# are counted.
watched_feeds = sa.Table(
    "watched_feeds",
    metadata,
    sa.Column("feed", sa.Text, primary_key=True),
    sa.Column("rule", sa.Text, nullable=False),
    sa.Column("since", sa.Float, nullable=False),
    sa.Column("terms", sa.Text, nullable=False),
    sa.Column("terms_since", sa.Float, nullable=False),
    sa.Column("is_counted", sa.Boolean, nullable=False),
)

# What came of each date of every feed, watched or not: see `completeness.arrivals.Came`.
arrivals = sa.Table(
    "arrivals",
    metadata,
    sa.Column("feed", sa.Text, primary_key=True),
    sa.Column("day", sa.Integer, primary_key=True),
    sa.Column("files", sa.Integer, nullable=False),
    sa.Column("records", sa.Integer, nullable=False),
    sa.Column("size", sa.Integer, nullable=False),
    sa.Column("first_at", sa.Float, nullable=False),
    sa.Column("last_at", sa.Float, nullable=False),
    sa.Column("quiet", sa.Float, nullable=False),
    sa.Column("least_records", sa.Integer, nullable=False),
    sa.Column("most_records", sa.Integer, nullable=False),
    sa.Column("least_size", sa.Integer, nullable=False),
    sa.Column("most_size", sa.Integer, nullable=False),
    sa.Column("minutes", sa.LargeBinary, nullable=False),
    sqlite_with_rowid=False,
)

# The numbers of their names by source: `spans` is a JSON list of `completeness.arrivals.Span`.
arrived_numbers = sa.Table(
    "arrived_numbers",
    metadata,
    sa.Column("feed", sa.Text, primary_key=True),
    sa.Column("day", sa.Integer, primary_key=True),
    sa.Column("source", sa.Text, primary_key=True),
    sa.Column("spans", sa.Text, nullable=False),
    sa.Column("before", sa.Text, nullable=False),
    sa.Column("after", sa.Text, nullable=False),
    sa.Column("width", sa.Integer, nullable=False),
    sqlite_with_rowid=False,
)

# What will never come, as a person said: for ever.
excuses = sa.Table(
    "excuses",
    metadata,
    sa.Column("id", sa.Integer, primary_key=True),
    sa.Column("feed", sa.Text, nullable=False),
    sa.Column("day", sa.Integer, nullable=False),
    sa.Column("low", sa.Integer),
    sa.Column("high", sa.Integer),
    sa.Column("why", sa.Text, nullable=False),
    sa.Column("at", sa.Float, nullable=False),
)
