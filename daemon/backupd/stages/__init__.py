"""The stages: each takes one file (load and merge: one batch) and does one thing to it."""

from backupd.stages.cleanup import Cleanup, proof_of
from backupd.stages.load import load, rows_to_make
from backupd.stages.local import LocalFiles
from backupd.stages.manifest import Manifest
from backupd.stages.merge import merge
from backupd.stages.ship import Ship, ShipRules

__all__ = [
    "Cleanup",
    "LocalFiles",
    "Manifest",
    "Ship",
    "ShipRules",
    "load",
    "merge",
    "proof_of",
    "rows_to_make",
]
