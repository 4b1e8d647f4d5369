"""Processes to be measured."""

from __future__ import annotations

import contextlib
import os
import subprocess
import threading
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

_SAMPLE_EVERY = 0.2  # seconds
_TICKS = os.sysconf("SC_CLK_TCK")


class MeasuringError(Exception):
    """What was to be measured did not work: a figure of it would mean nothing."""


@dataclass(frozen=True, slots=True)
class Run:
    """One process from start to end."""

    seconds: float
    peak_mib: float  # resident, its children's with it, pages that they share counted once
    cpu_seconds: float | None = None  # its own and its children's, where that was measured


def run(command: Sequence[str], log: Path, environ: Mapping[str, str] | None = None) -> Run:
    """Run a command to its end. Raises MeasuringError with the end of its log if it fails."""
    with log.open("wb") as output:
        began = time.perf_counter()
        process = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=output, stderr=output, env=environ
        )
        peak = Peak(process.pid)
        code = process.wait()
        seconds = time.perf_counter() - began
    if code:
        tail = log.read_text(errors="replace")[-2000:]
        raise MeasuringError(f"{' '.join(command)} ended with {code}:\n{tail}")
    return Run(seconds, peak.mib())


class Peak:
    """Watches what a process and its children hold resident, until it ends."""

    def __init__(self, pid: int) -> None:
        self._pid = pid
        self._mib = 0.0
        self._thread = threading.Thread(target=self._watch)
        self._thread.start()

    def mib(self) -> float:
        """Return the most that they held together, once the process has ended."""
        self._thread.join()
        return self._mib

    def _watch(self) -> None:
        while own := _proportional_mib(self._pid):
            together = own + sum(_proportional_mib(child) for child in _children(self._pid))
            self._mib = max(self._mib, together)
            time.sleep(_SAMPLE_EVERY)


def _proportional_mib(pid: int) -> float:
    """Return a process's share of the memory that it holds; 0 once it has ended."""
    with contextlib.suppress(FileNotFoundError, ProcessLookupError):
        for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
            if line.startswith("Pss:"):
                return int(line.split()[1]) / 1024
    return 0.0


def _children(pid: int) -> list[int]:
    with contextlib.suppress(FileNotFoundError, ProcessLookupError):
        return [
            int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
        ]
    return []


def memory_mib(pid: int, what: str = "VmRSS") -> float:
    """Return a figure of /proc/PID/status in MiB; 0 once the process has ended."""
    with contextlib.suppress(FileNotFoundError, ProcessLookupError):
        for line in Path(f"/proc/{pid}/status").read_text().splitlines():
            if line.startswith(f"{what}:"):
                return int(line.split()[1]) / 1024
    return 0.0


def cpu_of_all(pid: int) -> float:
    """Return the CPU time in seconds that a process and its children have used so far."""
    return sum(map(cpu_seconds, [pid, *_children(pid)]))


def cpu_seconds(pid: int) -> float:
    """Return the CPU time that a process has used so far, all its threads."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / _TICKS
