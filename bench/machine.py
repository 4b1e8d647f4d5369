"""Whether the machine did nothing else while it was measured."""

from __future__ import annotations

import os
from pathlib import Path

_MOST_LOAD = 0.5  # processes that ran in the minute before
_MOST_STEAL = 0.01  # of the CPU time
_STEAL = 8  # the column of /proc/stat: time in which a virtual machine was not let run


class Machine:
    """Looks at the beginning, and says in the end what was found."""

    def __init__(self) -> None:
        """The bench begins."""
        self.load_before = os.getloadavg()[0]
        self._stolen, self._all = _ticks()

    @property
    def steal(self) -> float:
        """The share of CPU time since the beginning that went to other virtual machines."""
        stolen, everything = _ticks()
        return (stolen - self._stolen) / max(1, everything - self._all)

    def disturbances(self) -> list[str]:
        """Return what else went on, in words; nothing on a quiet machine."""
        found = []
        if self.load_before > _MOST_LOAD:
            found.append(f"a load of {self.load_before:.1f} before it began")
        if self.steal > _MOST_STEAL:
            found.append(f"{self.steal:.0%} of the CPU time was stolen by other virtual machines")
        return found


def _ticks() -> tuple[int, int]:
    fields = [int(each) for each in Path("/proc/stat").read_text().splitlines()[0].split()[1:]]
    return fields[_STEAL - 1], sum(fields[:_STEAL])
