"""The workers: claim, run one stage, record one outcome.

The only room that decides whether a failure means again, later, never or smaller.
"""

from backupd.worker.archive_place import ArchivePlace
from backupd.worker.archive_trials import ArchiveTrials
from backupd.worker.batches import LATE, BatchFormer, BatchLane
from backupd.worker.breaker import Breakers
from backupd.worker.clock import ClockWatch
from backupd.worker.compaction import Compactor
from backupd.worker.completeness import CompletenessLane, Standing
from backupd.worker.context import WorkerContext
from backupd.worker.duplicate_rows import DuplicateRowLane
from backupd.worker.files import FileLane
from backupd.worker.folding import QUIET_FOR, FoldingLane
from backupd.worker.history import HistoryHealth, HistoryLane
from backupd.worker.hive_compaction import CompactionLane
from backupd.worker.host import HostWatch
from backupd.worker.ledger_calls import LedgerPlace, LedgerReplacements, LedgerStatements
from backupd.worker.recalling import Recaller
from backupd.worker.recovery import recover, sweep
from backupd.worker.refresh import RefreshLane
from backupd.worker.rows_seen import RowsSeen
from backupd.worker.snapshots import SnapshotLane, SnapshotMaker

__all__ = [
    "LATE",
    "QUIET_FOR",
    "ArchivePlace",
    "ArchiveTrials",
    "BatchFormer",
    "BatchLane",
    "Breakers",
    "ClockWatch",
    "CompactionLane",
    "Compactor",
    "CompletenessLane",
    "DuplicateRowLane",
    "FileLane",
    "FoldingLane",
    "HistoryHealth",
    "HistoryLane",
    "HostWatch",
    "LedgerPlace",
    "LedgerReplacements",
    "LedgerStatements",
    "Recaller",
    "RefreshLane",
    "RowsSeen",
    "SnapshotLane",
    "SnapshotMaker",
    "Standing",
    "WorkerContext",
    "recover",
    "sweep",
]
