"""The garbage collector, told what a daemon's objects are like."""

from __future__ import annotations

import gc

_YOUNG = 50_000  # objects; a few MiB


def spare() -> None:
    """Look for garbage seldom, and never among what is there now: modules, config, connections.

    Nearly all that comes later is freed by its reference count; by Python's own measure the
    collector would go through it after every few files.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(_YOUNG)
