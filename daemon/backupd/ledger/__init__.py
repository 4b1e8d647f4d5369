"""The only memory: every file's state and history, in SQLite."""

from backupd.ledger.ledger import Ledger, LedgerReader
from backupd.ledger.lock import LedgerLockedError

__all__ = ["Ledger", "LedgerLockedError", "LedgerReader"]
