"""The supervisor: builds the daemon from its config, runs it, drains it, recovers at the start."""

from backupd.supervisor.lifecycle import Supervisor

__all__ = ["Supervisor"]
