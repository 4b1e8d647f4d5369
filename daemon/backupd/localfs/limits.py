"""What this process can have just now (descriptors, a thread), and what it may do."""

from __future__ import annotations

import os
import threading
from contextlib import suppress
from enum import IntEnum
from pathlib import Path

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


class Capability(IntEnum):
    """The numbers of include/uapi/linux/capability.h."""

    FOWNER = 3  # remove others' files from a directory with the sticky bit
    LEASE = 28  # ask for a lease on files of other owners


def has(capability: Capability) -> bool:
    """Return whether this process has it in effect."""
    with suppress(OSError, ValueError):
        status = Path("/proc/self/status").read_text()
        effective = int(status.partition("\nCapEff:")[2].split()[0], 16)
        return bool(effective >> capability & 1)
    return os.geteuid() == 0
