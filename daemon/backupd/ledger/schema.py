"""The ledger's tables."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa

metadata = sa.MetaData()

# Written out, not bound, so that SQLite sees that its partial indexes fit.
WAITING: sa.ColumnElement[str] = sa.literal_column("'waiting'")
DONE: sa.ColumnElement[str] = sa.literal_column("'done'")


def _times(*names: str) -> list[sa.Column[Any]]:
    """Return columns for seconds since the epoch, UTC."""
    return [sa.Column(name, sa.Float, nullable=False) for name in names]


files = sa.Table(
    "files",
    metadata,
    sa.Column("id", sa.Text, primary_key=True),
    sa.Column("feed", sa.Text, nullable=False),
    sa.Column("file_type", sa.Text, nullable=False),
    sa.Column("customer", sa.Text, nullable=False),
    # Paths are bytes: a name that is not UTF-8 cannot be bound as text.
    sa.Column("path", sa.LargeBinary, nullable=False),
    sa.Column("relative_path", sa.LargeBinary, nullable=False),
    sa.Column("file_name", sa.LargeBinary, nullable=False),
    sa.Column("stage", sa.Text, nullable=False),
    sa.Column("status", sa.Text, nullable=False),
    sa.Column("reason", sa.Text, nullable=False),
    sa.Column("attempts", sa.Integer, nullable=False),
    sa.Column("interruptions", sa.Integer, nullable=False),
    sa.Column("claims", sa.Integer, nullable=False),
    sa.Column("awaits", sa.Text, nullable=False),
    *_times("next_attempt_at", "stage_since", "first_seen_at"),
    sa.Column("done_at", sa.Float),
    # dev:ino:size:mtime_ns:ctime_ns as text: an inode number may be too large for SQLite's integer.
    sa.Column("identity", sa.Text, nullable=False),
    *_times("unchanged_since"),
    sa.Column("local", sa.Boolean, nullable=False),
    sa.Column("companion_path", sa.LargeBinary),
    sa.Column("companion_text", sa.Text),
    sa.Column("disagreement", sa.Text),
    sa.Column("size_bytes", sa.Integer),
    sa.Column("record_count", sa.Integer),
    sa.Column("sha256", sa.Text),
    sa.Column("file_timestamp", sa.Float),
    sa.Column("batch_id", sa.Text),
    sa.Column("row_seen_at", sa.Float),
    sa.Column("duplicate_of", sa.Text),
    sa.Column("archive_name", sa.Text),
    sa.Column("trouble", sa.Text, nullable=False),
    sa.Column("proven_at", sa.Float),
    sa.Column("row_id", sa.Text),
)
sa.Index("files_path", files.c.path)
sa.Index("files_local", files.c.path, unique=True, sqlite_where=files.c.local)
# Empty where it is the relative path too, which has an index of its own.
IS_NAMED = files.c.file_name != sa.literal_column("X''")
sa.Index("files_file_name", files.c.file_name, sqlite_where=IS_NAMED)
sa.Index("files_twins", files.c.relative_path)
sa.Index("files_done_at", files.c.done_at, sqlite_where=files.c.done_at.is_not(None))
sa.Index("files_done", files.c.feed, files.c.done_at, sqlite_where=files.c.done_at.is_not(None))
sa.Index(
    "files_due",
    files.c.stage,
    files.c.next_attempt_at,
    sqlite_where=files.c.status == sa.literal_column("'waiting'"),
)
sa.Index(
    "files_due_by_feed",
    files.c.stage,
    files.c.feed,
    files.c.next_attempt_at,
    sqlite_where=files.c.status == sa.literal_column("'waiting'"),
)
sa.Index(
    "files_open",
    files.c.status,
    files.c.feed,
    files.c.first_seen_at,
    files.c.stage,
    sqlite_where=files.c.status != sa.literal_column("'done'"),
)
# The stage (and the batch) in the next two look needless, but without them SQLite takes `files_due`
# instead, and goes through all that wait in the stage.
sa.Index(
    "files_unbatched",
    files.c.stage,
    files.c.batch_id,
    files.c.stage_since,
    sqlite_where=sa.and_(
        files.c.stage == sa.literal_column("'load'"),
        files.c.status == sa.literal_column("'waiting'"),
        files.c.batch_id.is_(None),
    ),
)
sa.Index(
    "files_companion",
    files.c.stage,
    files.c.companion_path,
    sqlite_where=sa.and_(
        files.c.stage == sa.literal_column("'settle'"),
        files.c.companion_path.is_not(None),
    ),
)
sa.Index(
    "files_trouble",
    files.c.feed,
    files.c.trouble,
    sqlite_where=files.c.trouble != sa.literal_column("''"),
)
# Such files alone can be renamed with a directory of their feed.
_SLASH: sa.ColumnElement[str] = sa.literal_column("'/'")
IS_BELOW = sa.func.instr(files.c.relative_path, _SLASH) > sa.literal_column("0")
sa.Index("files_identity", files.c.identity, sqlite_where=IS_BELOW)
sa.Index("files_row_id", files.c.row_id, sqlite_where=files.c.row_id.is_not(None))
sa.Index("files_duplicate_of", files.c.duplicate_of, sqlite_where=files.c.duplicate_of.is_not(None))

events = sa.Table(
    "events",
    metadata,
    sa.Column("seq", sa.Integer, primary_key=True),
    sa.Column("file_id", sa.Text, nullable=False),
    *_times("at"),
    sa.Column("stage", sa.Text, nullable=False),
    sa.Column("status", sa.Text, nullable=False),
    sa.Column("detail", sa.Text, nullable=False),
)
sa.Index("events_file", events.c.file_id)
sa.Index("events_done", events.c.at, sqlite_where=events.c.status == sa.literal_column("'done'"))

# What happened to a file that is done for a while, and its receipt: see `folding`.
stories = sa.Table(
    "stories",
    metadata,
    sa.Column("file_id", sa.Text, primary_key=True),
    sa.Column("has_receipt", sa.Boolean, nullable=False),
    sa.Column("body", sa.LargeBinary, nullable=False),
    sqlite_with_rowid=False,
)

batches = sa.Table(
    "batches",
    metadata,
    sa.Column("id", sa.Text, primary_key=True),
    sa.Column("stage", sa.Text, nullable=False),
    sa.Column("status", sa.Text, nullable=False),
    sa.Column("reason", sa.Text, nullable=False),
    sa.Column("attempts", sa.Integer, nullable=False),
    sa.Column("interruptions", sa.Integer, nullable=False),
    sa.Column("claims", sa.Integer, nullable=False),
    *_times("next_attempt_at", "created_at"),
    sa.Column("done_at", sa.Float),
    sa.Column("staged_at", sa.Text, nullable=False),
)
sa.Index(
    "batches_open",
    batches.c.stage,
    batches.c.next_attempt_at,
    sqlite_where=batches.c.done_at.is_(None),
)

batch_members = sa.Table(
    "batch_members",
    metadata,
    sa.Column("batch_id", sa.Text, primary_key=True),
    sa.Column("position", sa.Integer, primary_key=True),
    sa.Column("file_id", sa.Text, nullable=False),
)
sa.Index("batch_members_file", batch_members.c.file_id)

receipts = sa.Table(
    "receipts",
    metadata,
    sa.Column("file_id", sa.Text, primary_key=True),
    sa.Column("archive_name", sa.Text, nullable=False),
    sa.Column("sha256", sa.Text, nullable=False),
    sa.Column("sent_sha256", sa.Text, nullable=False),
    sa.Column("remote_sha256", sa.Text, nullable=False),
    sa.Column("sent_bytes", sa.Integer, nullable=False),
    sa.Column("verified_by", sa.Text, nullable=False),
    sa.Column("flushed", sa.Boolean, nullable=False),
    *_times("shipped_at", "verified_at"),
    sa.Column("named_by", sa.Text, nullable=False),
)

incidents = sa.Table(
    "incidents",
    metadata,
    sa.Column("id", sa.Text, primary_key=True),
    sa.Column("kind", sa.Text, nullable=False),
    sa.Column("cause", sa.Text, nullable=False),
    sa.Column("feed", sa.Text, nullable=False),
    sa.Column("trouble", sa.Text, nullable=False),
    sa.Column("reason", sa.Text, nullable=False),
    *_times("opened_at"),
    sa.Column("closed_at", sa.Float),
    sa.Column("trials", sa.Integer, nullable=False),
    sa.Column("next_try_at", sa.Float),
)
sa.Index(
    "incidents_open",
    incidents.c.cause,
    unique=True,
    sqlite_where=incidents.c.closed_at.is_(None),
)

# Who was notified, or is being: written beforehand, so that no crash notifies them twice.
notices = sa.Table(
    "notices",
    metadata,
    sa.Column("incident_id", sa.Text, primary_key=True),
    sa.Column("way", sa.Text, primary_key=True),
    sa.Column("occasion", sa.Text, primary_key=True),
    sa.Column("number", sa.Integer, primary_key=True),
    *_times("at"),
    sa.Column("outcome", sa.Text, nullable=False),
    sa.Column("detail", sa.Text, nullable=False),
)
sa.Index("notices_at", notices.c.at)

# The statement that each batch came to last, while its end is not known.
statements = sa.Table(
    "statements",
    metadata,
    sa.Column("batch_id", sa.Text, primary_key=True),
    sa.Column("text", sa.Text, nullable=False),
    *_times("began_at"),
    sa.Column("session", sa.Text, nullable=False),
    sa.Column("operation", sa.Text, nullable=False),
    sa.Column("server", sa.Text, nullable=False, server_default=""),
)

# Which of several servers is in use, for people: by what they are, such as HiveServer2.
servers_in_use = sa.Table(
    "servers_in_use",
    metadata,
    sa.Column("kind", sa.Text, primary_key=True),
    sa.Column("address", sa.Text, nullable=False),
)

# Files whose rows in production are to be counted again: those seen with more than one (`doubled`,
# until they are seen with one), and those whose merge did not go through at the first try.
row_counts_due = sa.Table(
    "row_counts_due",
    metadata,
    sa.Column("file_id", sa.Text, primary_key=True),
    sa.Column("file_date", sa.Text, nullable=False),
    sa.Column("doubled", sa.Boolean, nullable=False),
    *_times("due_at"),
)

# The tables of whose new rows Impala has not been notified; `merges` counts those since `since`,
# `dates` is a JSON list of the partitions that they touched.
refreshes_owed = sa.Table(
    "refreshes_owed",
    metadata,
    sa.Column("name", sa.Text, primary_key=True),
    *_times("since"),
    sa.Column("merges", sa.Integer, nullable=False),
    sa.Column("dates", sa.Text, nullable=False),
)

# The mount that a feed's directory was last seen on, so that an unmounted one is noticed.
feed_mounts = sa.Table(
    "feed_mounts",
    metadata,
    sa.Column("feed", sa.Text, primary_key=True),
    sa.Column("mount", sa.LargeBinary, nullable=False),
    # The feed's directory as the config named it then, and where that really was, links followed.
    sa.Column("directory", sa.LargeBinary),
    sa.Column("real_path", sa.LargeBinary),
)

# The places that this ledger writes to, and the mark that each of them bears.
places = sa.Table(
    "places",
    metadata,
    sa.Column("name", sa.Text, primary_key=True),
    sa.Column("mark", sa.Text, nullable=False),
    *_times("known_since"),
)

# The files of the embedded warehouse, below its production directory, as they were written.
warehouse_files = sa.Table(
    "warehouse_files",
    metadata,
    sa.Column("name", sa.Text, primary_key=True),
    sa.Column("sha256", sa.Text, nullable=False),
)

# The newest snapshot of this ledger by the directory of the archive that it is in; with no name,
# since when there has been none.
snapshots = sa.Table(
    "snapshots",
    metadata,
    sa.Column("directory", sa.Text, primary_key=True),
    sa.Column("name", sa.Text, nullable=False),
    *_times("taken_at"),
)

# The files that left for the history: what each is recognised by, and the day on which it was done.
remembered = sa.Table(
    "remembered",
    metadata,
    sa.Column("row_id", sa.LargeBinary, primary_key=True),  # 16 bytes, of `core.rows.row_id`
    sa.Column("done_day", sa.Integer, nullable=False),  # days since the epoch; ~days: lasts
    sqlite_with_rowid=False,
)

# How many files of each feed left, and are not back.
files_left = sa.Table(
    "files_left",
    metadata,
    sa.Column("feed", sa.Text, primary_key=True),
    sa.Column("files", sa.Integer, nullable=False),
    sa.Column("last_done_at", sa.Float, nullable=False),
    sqlite_with_rowid=False,
)

# Stories on their way into the history.
history_batches = sa.Table(
    "history_batches",
    metadata,
    sa.Column("id", sa.Text, primary_key=True),
    sa.Column("done_date", sa.Text, nullable=False),
)
history_members = sa.Table(
    "history_members",
    metadata,
    sa.Column("batch_id", sa.Text, primary_key=True),
    sa.Column("file_id", sa.Text, primary_key=True),
    sqlite_with_rowid=False,
)

# The host names under which this ledger's stories were written: a snapshot may go to another host.
history_hosts = sa.Table(
    "history_hosts",
    metadata,
    sa.Column("host", sa.Text, primary_key=True),
    sqlite_with_rowid=False,
)
# Files whose story is in the history already, with its digest; none where it is another one by now.
in_history = sa.Table(
    "in_history",
    metadata,
    sa.Column("file_id", sa.Text, primary_key=True),
    sa.Column("digest", sa.LargeBinary),
    *_times("since"),
    sqlite_with_rowid=False,
)

# When a snapshot was put in place: what was seen before may have left since it was taken.
restores = sa.Table("restores", metadata, sa.Column("at", sa.Float, primary_key=True))

# The new directories of partitions in Hive: see `core.compacting`. `files` is a JSON list of the
# names in the old directory whose rows are in the new file.
replacements = sa.Table(
    "replacements",
    metadata,
    sa.Column("id", sa.Text, primary_key=True),
    sa.Column("table_name", sa.Text, nullable=False),
    sa.Column("file_date", sa.Text, nullable=False),
    sa.Column("old", sa.Text, nullable=False),
    sa.Column("new", sa.Text, nullable=False),
    sa.Column("files", sa.Text, nullable=False),
    sa.Column("step", sa.Text, nullable=False),
    *_times("since"),
)
