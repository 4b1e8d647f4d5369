"""What a person may ask of files, and the socket by which the daemon is asked."""

from backupd.control.actions import Answer, dismiss, hold, release, remember_place, requeue
from backupd.control.client import DaemonAbsentError, ask_daemon
from backupd.control.server import ControlServer

__all__ = [
    "Answer",
    "ControlServer",
    "DaemonAbsentError",
    "ask_daemon",
    "dismiss",
    "hold",
    "release",
    "remember_place",
    "requeue",
]
