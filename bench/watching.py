"""The daemon while it watches: how soon it sees, how much it stands, what it costs."""

from __future__ import annotations

import asyncio
import os
import time
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import count
from statistics import median
from typing import TYPE_CHECKING, Any

from backupd.config import load
from backupd.intake.service import Intake
from backupd.ledger import Ledger
from bench import corpus, daemon
from bench.process import MeasuringError, cpu_seconds, memory_mib
from bench.report import Figure
from bench.throughput import MEMORY_BAR

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from bench.daemon import Site

_FEW = 1_000
_SEEN_WITHIN = 300.0  # seconds
_BETWEEN = 0.05  # seconds that a daemon gets to come to rest between two files

# Files stay in settle: what is measured is how they are found, not what is then done with them.
ONLY_FOUND: dict[str, Any] = {"settle_for": "1d", "rescan_every": "1h"}


def measure(directory: Path, *, quick: bool) -> list[Figure]:
    """Watch one daemon from its start on an empty inbox to some 100,000 known files."""
    many, samples, rest = (5_000, 10, 2.0) if quick else (100_000, 50, 10.0)
    inbox = directory / "inbox"
    for file_type, customer in corpus.FEEDS:
        (inbox / file_type / customer).mkdir(parents=True)
    site = daemon.site(
        directory / "state",
        inbox,
        directory / "archive",
        **ONLY_FOUND,
    )
    numbers = count()
    with watched(site, inbox, numbers) as watch:
        figures = [
            _idle("few", watch.pid, rest),
            watch.latency("close", _close_there, samples),
            watch.latency("rename", rename_there, samples),
        ]
        watch.bring_to(_FEW)
    with watched(site, inbox, numbers) as watch:
        time.sleep(rest)
        few_mib = memory_mib(watch.pid)
        figures += watch.burst(many - _FEW)
    with watched(site, inbox, numbers) as watch:
        figures.append(_idle(f"{many:,}", watch.pid, rest))
        figures += _memory(few_mib, memory_mib(watch.pid), many)
    return [*figures, _rescan(site, many)]


@dataclass(slots=True)
class Watch:
    """A running daemon, its inbox, and a look into its ledger from outside."""

    pid: int
    inbox: Path
    ledger: sqlite3.Connection
    numbers: Iterator[int]

    def latency(self, what: str, deliver: Callable[[Path], None], samples: int) -> Figure:
        """Deliver files one at a time; measure until each one's row can be read."""
        return Figure(
            case="detection, idle",
            name=f"{what} to row, median",
            value=median(self.time_to_row(deliver) for _ in range(samples)) * 1000,
            unit="ms",
            at_most=50,
            note=f"{samples} files, one at a time, seen by another process that reads the ledger",
        )

    def bring_to(self, files: int) -> None:
        """Deliver files until so many are known."""
        self._write(files - self._rows())
        self._wait_until_seen(files)

    def bring(self, files: int) -> None:
        """Deliver so many more, and wait until they are known."""
        self.bring_to(self._rows() + files)

    def burst(self, files: int) -> list[Figure]:
        """Deliver many files at once."""
        all_of_them = self._rows() + files
        began = time.perf_counter()
        self._write(files)
        written = time.perf_counter() - began
        self._wait_until_seen(all_of_them)
        seconds = time.perf_counter() - began
        case = f"burst of {files:,} files"
        return [
            Figure(
                case=case,
                name="until the last has its row",
                value=seconds,
                unit="s",
                note=f"all found; to write them took {written:.1f} s of it",
            ),
            Figure(case=case, name="found", value=files / seconds, unit="files/s"),
            Figure(
                case=case,
                name="peak resident size",
                value=memory_mib(self.pid, "VmHWM"),
                unit="MiB",
                at_most=MEMORY_BAR,
            ),
        ]

    def time_to_row(self, deliver: Callable[[Path], None]) -> float:
        """Deliver one file; return the seconds until its row can be read."""
        time.sleep(_BETWEEN)
        path = self._new_path()
        deliver(path)
        began = time.perf_counter()
        query, values = "SELECT 1 FROM files WHERE path = ?", (os.fsencode(path),)
        while self.ledger.execute(query, values).fetchone() is None:
            _give_up_after(began)
            time.sleep(0.0005)
        return time.perf_counter() - began

    def _write(self, files: int) -> None:
        for _ in range(files):
            self._new_path().touch()

    def _wait_until_seen(self, files: int) -> None:
        began = time.perf_counter()
        while self._rows() < files:
            _give_up_after(began)
            time.sleep(0.05)

    def _rows(self) -> int:
        # No row is ever removed. COUNT would read the whole table, again and again, beside the
        # daemon.
        found: int = self.ledger.execute("SELECT coalesce(max(rowid), 0) FROM files").fetchone()[0]
        return found

    def _new_path(self) -> Path:
        number = next(self.numbers)
        file_type, customer = corpus.FEEDS[number % len(corpus.FEEDS)]
        return self.inbox / file_type / customer / corpus.name(customer, number)


@contextmanager
def watched(site: Site, inbox: Path, numbers: Iterator[int]) -> Iterator[Watch]:
    """Run a daemon on an inbox; `numbers` name the files that are delivered there."""
    with daemon.running(site) as process, daemon.looking_into(site) as ledger:
        yield Watch(process.pid, inbox, ledger, numbers)


def _close_there(path: Path) -> None:
    path.write_bytes(corpus.HEADER)


def rename_there(path: Path) -> None:
    """Deliver a file as platforms do: whole at once."""
    hidden = path.with_name(f".{path.name}.tmp")
    hidden.write_bytes(corpus.HEADER)
    hidden.rename(path)


def _give_up_after(began: float) -> None:
    if time.perf_counter() - began > _SEEN_WITHIN:
        raise MeasuringError(f"backupd did not see all files within {_SEEN_WITHIN:g} s")


def _memory(few_mib: float, many_mib: float, many: int) -> list[Figure]:
    case = "memory after a restart"
    return [
        Figure(case=case, name=f"{_FEW:,} files known", value=few_mib, unit="MiB"),
        Figure(case=case, name=f"{many:,} files known", value=many_mib, unit="MiB"),
        Figure(case=case, name="growth", value=many_mib / few_mib, unit="x", at_most=1.1),
    ]


def _idle(files: str, pid: int, seconds: float) -> Figure:
    before = cpu_seconds(pid)
    time.sleep(seconds)
    share = (cpu_seconds(pid) - before) / seconds * 100
    return Figure(
        case="idle",
        name=f"CPU, {files} files known",
        value=share,
        unit="% of a core",
        at_most=1,
        note=f"over {seconds:g} s without a rescan",
    )


def _rescan(site: Site, files: int) -> Figure:
    """Time the scan itself, by the daemon's own parts, on the ledger that the daemon left."""
    seconds = asyncio.run(time_rescans(site, 1))
    return Figure(
        case="rescan",
        name=f"{files:,} known, nothing new",
        value=seconds,
        unit="s",
        at_most=1.0 if files > _FEW else None,
    )


async def time_rescans(site: Site, rescans: int) -> float:
    """Return the median seconds of so many. No daemon may run."""
    config = load(site.config, environ={})
    ledger = Ledger(site.ledger)
    intake = Intake(config.intake, config.feeds, ledger)
    try:
        return median([await _time_rescan(intake) for _ in range(rescans)])
    finally:
        intake.health.close()  # the directories are free for a daemon again
        await ledger.close()


async def _time_rescan(intake: Intake) -> float:
    began = time.perf_counter()
    await intake.scan_once()
    return time.perf_counter() - began
