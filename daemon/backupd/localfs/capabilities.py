"""What this process may do beyond what its user may: capabilities(7)."""

from __future__ import annotations

import os
from contextlib import suppress
from enum import IntEnum
from pathlib import Path


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
