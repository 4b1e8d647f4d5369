"""The stages: each takes one file (load and merge: one batch) and does one thing to it."""

from backupd.stages.cleanup import Cleanup, CleanupRules, proof_of
from backupd.stages.load import load, rows_to_make
from backupd.stages.local import FeedThreads
from backupd.stages.manifest import Manifest
from backupd.stages.merge import merge
from backupd.stages.rows import key_of
from backupd.stages.ship import Ship, ShipRules
from backupd.stages.snapshots import SnapshotShelf, ship_snapshot

__all__ = [
    "Cleanup",
    "CleanupRules",
    "FeedThreads",
    "Manifest",
    "Ship",
    "ShipRules",
    "SnapshotShelf",
    "key_of",
    "load",
    "merge",
    "proof_of",
    "rows_to_make",
    "ship_snapshot",
]
