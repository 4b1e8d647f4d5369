"""The only memory: every file's state and history, in SQLite."""

from backupd.ledger.engine import LedgerReader
from backupd.ledger.ledger import Ledger
from backupd.ledger.lock import LedgerLockedError
from backupd.ledger.restoring import Restoring
from backupd.ledger.snapshots import Snapshotting, last_snapshot, temporary_of

__all__ = [
    "Ledger",
    "LedgerLockedError",
    "LedgerReader",
    "Restoring",
    "Snapshotting",
    "last_snapshot",
    "temporary_of",
]
