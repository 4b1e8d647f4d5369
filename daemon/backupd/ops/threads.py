"""A thread that dies by an unforeseen error takes the process with it: nobody does its work."""

from __future__ import annotations

import os
import threading

import structlog

from backupd.ops import output

log = structlog.get_logger()

_FAILED = 1


def none_dies_alone() -> None:
    """Have the process say so and end at once; a restart takes up what ran."""
    threading.excepthook = _end


def _end(died: threading.ExceptHookArgs) -> None:
    try:
        name = died.thread.name if died.thread else "?"
        error = died.exc_value or died.exc_type()
        log.critical("a thread died by an unforeseen error", thread=name, exc_info=error)
        output.end()
    finally:
        os._exit(_FAILED)
