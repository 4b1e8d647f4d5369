"""Which paths lie where nothing answers: on a network file system whose server hangs."""

from __future__ import annotations

import os
import threading
import time
from contextlib import suppress
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

_PAUSE = 0.1  # seconds


def silent(paths: Iterable[str], within: float) -> frozenset[str]:
    """Return those paths for which no answer comes in so many seconds, all of them together.

    One thread asks for one after the other. As long as some are left, others join it, after each
    pause twice as many; those that hang are left behind.
    """
    unanswered = set(paths)
    unasked = list(unanswered)
    all_answered = threading.Event()

    def ask() -> None:
        with suppress(IndexError):  # another thread took the last one
            while True:
                path = unasked.pop()
                with suppress(OSError):
                    os.statvfs(path)  # by the server: of a stat the kernel may remember the answer
                unanswered.discard(path)
                if not unanswered:
                    all_answered.set()

    ends_at, joining = time.monotonic() + within, 1
    while unanswered and time.monotonic() < ends_at:
        with suppress(RuntimeError):  # no more threads are to be had
            for _ in range(min(joining, len(unasked))):
                threading.Thread(target=ask, name="silence", daemon=True).start()
        joining *= 2
        all_answered.wait(_PAUSE)
    return frozenset(unanswered).difference(unasked)
