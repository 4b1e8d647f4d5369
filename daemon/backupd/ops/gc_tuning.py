"""Tunes the garbage collector for a daemon, whose objects live either for ever or briefly."""

from __future__ import annotations

import gc

_YOUNG = 50_000  # objects; a few MiB


def tune() -> None:
    """Look for garbage seldom, and never among what is there now: modules, config, connections.

    Nearly all that comes later is freed by its reference count; by Python's own measure the
    collector would go through it after every few files.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(_YOUNG)
