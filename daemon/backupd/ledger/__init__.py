"""The only memory: every file's state and history, in SQLite."""

from backupd.ledger.engine import LedgerReader
from backupd.ledger.ledger import Ledger
from backupd.ledger.lock import LedgerLockedError

__all__ = ["Ledger", "LedgerLockedError", "LedgerReader"]
