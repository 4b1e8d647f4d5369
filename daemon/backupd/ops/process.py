"""This process: its garbage collector, and its end when a thread dies by an unforeseen error."""

from __future__ import annotations

import gc
import os
import threading

import structlog

from backupd.ops import output

log = structlog.get_logger()

_FAILED = 1


def die_with_threads() -> None:
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


_YOUNG = 50_000  # objects; a few MiB


def tune_garbage_collector() -> None:
    """Look for garbage seldom, and never among what is there now: modules, config, connections.

    Nearly all that comes later is freed by its reference count; by Python's own measure the
    collector would go through it after every few files.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(_YOUNG)
