"""What a person may ask of files, and the socket by which the daemon is asked."""

from backupd.control.actions import (
    Answer,
    carry_out,
    described,
    excuse,
    nothing_shipped,
    remember_place,
)
from backupd.control.client import DaemonAbsentError, ask_daemon
from backupd.control.requests import Action, FileRequest
from backupd.control.server import ControlServer

__all__ = [
    "Action",
    "Answer",
    "ControlServer",
    "DaemonAbsentError",
    "FileRequest",
    "ask_daemon",
    "carry_out",
    "described",
    "excuse",
    "nothing_shipped",
    "remember_place",
]
