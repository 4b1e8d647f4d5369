"""Whether this process can have what any work needs just now: descriptors, a thread."""

from __future__ import annotations

import os
import threading

_DESCRIPTORS = 8


def try_limits() -> None:
    """Take a few descriptors and a thread, and give them back.

    Raises OSError (EMFILE, ENFILE, ENOMEM) or RuntimeError where they are not to be had.
    """
    taken: list[int] = []
    try:
        taken += (os.open("/dev/null", os.O_RDONLY | os.O_CLOEXEC) for _ in range(_DESCRIPTORS))
        thread = threading.Thread(target=int)
        thread.start()
        thread.join()
    finally:
        for descriptor in taken:
            os.close(descriptor)
