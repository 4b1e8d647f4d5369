"""The versions of the ledger's schema, and the steps from each to the next."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from backupd.core.errors import LedgerError

if TYPE_CHECKING:
    import sqlalchemy as sa

# Step N, the file `migrations/000N.sql`, brings a ledger of version N - 1 to version N. It is never
# changed once released. The order of its indexes counts: SQLite's planner breaks ties by it.
MIGRATIONS = tuple(
    step.read_text() for step in sorted(Path(__file__).with_name("migrations").glob("*.sql"))
)
VERSION = len(MIGRATIONS)


def version(connection: sa.Connection) -> int:
    """Return the ledger's schema version; 0 for an empty file."""
    return int(connection.exec_driver_sql("PRAGMA user_version").scalar_one())


def refuse_newer(found: int) -> None:
    """Raise LedgerError for a ledger that a newer program has written."""
    if found > VERSION:
        raise LedgerError(
            f"the ledger has schema version {found}, this backupd knows up to {VERSION}",
            hint="install the newer backupd again; nothing was touched",
        )


def refuse_older(found: int) -> None:
    """Raise LedgerError for a ledger that only the daemon can bring to this program's version."""
    if 0 < found < VERSION:
        raise LedgerError(
            f"the ledger has schema version {found}, of an older backupd",
            hint=f"start the daemon, or restart it: it brings the ledger to version {VERSION}",
        )


def migrate(connection: sa.Connection) -> None:
    """Bring the ledger to this program's version, inside the caller's transaction."""
    found = version(connection)
    refuse_newer(found)
    for step in MIGRATIONS[found:]:
        for statement in filter(str.strip, step.split(";\n")):
            connection.exec_driver_sql(statement)
    connection.exec_driver_sql(f"PRAGMA user_version = {VERSION:d}")
