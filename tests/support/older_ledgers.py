"""Makes a ledger what an older version would have left."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

# What takes back the step to a version, for what tests put into a ledger.
_UNDONE = {
    11: """
        DROP TABLE watched_feeds;
        DROP TABLE arrivals;
        DROP TABLE arrived_numbers;
        DROP TABLE excuses;
    """,
    10: "DROP TABLE replacements;",
    9: """
        DROP TABLE remembered;
        DROP TABLE files_left;
        DROP TABLE history_batches;
        DROP TABLE history_members;
        DROP TABLE history_hosts;
        DROP TABLE in_history;
        DROP TABLE restores;
    """,
    8: """
        DROP TABLE stories;
        DROP INDEX events_done;
        DROP INDEX files_file_name;
        CREATE INDEX files_file_name ON files (file_name);
        DROP INDEX files_twins;
        CREATE INDEX files_twins ON files (feed, relative_path);
        UPDATE files SET file_name = relative_path WHERE file_name = X'';
    """,
    7: "DROP TABLE snapshots;",
    6: "DROP INDEX files_row_id; ALTER TABLE files DROP COLUMN row_id;",
}


def make_older(path: Path, version: int) -> None:
    """Take back the steps since `version`. Nobody holds the ledger."""
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        for step in sorted((step for step in _UNDONE if step > version), reverse=True):
            connection.executescript(_UNDONE[step])
        connection.execute(f"PRAGMA user_version = {version:d}")
        connection.execute("PRAGMA auto_vacuum = NONE")
        connection.execute("VACUUM")
