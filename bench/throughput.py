"""Files through all stages, against the peers, in turns."""

from __future__ import annotations

import shutil
from collections import defaultdict
from dataclasses import dataclass
from statistics import median
from typing import TYPE_CHECKING

from backupd.core.places import MARK_FILE
from bench import corpus, daemon
from bench.process import MeasuringError
from bench.report import Figure

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from bench.corpus import Corpus
    from bench.peers import Peers
    from bench.process import Run

    Job = Callable[[Sequence[Path], Path], Run]

MIB = 1024 * 1024
MEMORY_BAR = 200  # MiB
_NOTE = (
    f"from arrival to done at a daemon that runs; settle_for = {daemon.SETTLE_FOR} and max_wait = "
    f"{daemon.MAX_WAIT}, so that waiting for files to settle or to fill a batch is not measured"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """Files, and how often each job is run on them."""

    name: str
    files: Corpus
    rounds: dict[str, int]


@dataclass(frozen=True, slots=True)
class Arena:
    """Where the jobs run: the same disk, the same server."""

    directory: Path
    peers: Peers

    def compete(self, case: Case) -> dict[str, list[Run]]:
        """Run every job in turns, so that what disturbs the machine disturbs all alike."""
        runs: defaultdict[str, list[Run]] = defaultdict(list)
        for turn in range(max(case.rounds.values())):
            for job, rounds in case.rounds.items():
                if turn < rounds:
                    runs[job].append(self._run(job, case.files))
        return runs

    def _run(self, job: str, files: Corpus) -> Run:
        inbox, archive = self.directory / "inbox", self.directory / "archive"
        feeds = files.lay_out(inbox)
        try:
            run = self._jobs()[job](feeds, archive)
            _check(job, files, inbox, archive)
        finally:
            for directory in (inbox, archive, self.directory / "state"):
                shutil.rmtree(directory, ignore_errors=True)
        print(f"  {job}: {run.seconds:.2f} s", flush=True)
        return run

    def _jobs(self) -> dict[str, Job]:
        return {
            "backupd": self._backupd,
            "old job": self.peers.old_job,
            "rclone": self.peers.rclone,
            "igzip | ssh": self.peers.igzip,
        }

    def _backupd(self, feeds: Sequence[Path], archive: Path) -> Run:
        state, server = self.directory / "state", self.peers.server
        inbox, watched = feeds[0].parents[1], state / "watched"
        arriving: dict[Path, Path] = {}
        for feed in feeds:
            target = watched / feed.relative_to(inbox)
            target.mkdir(parents=True)
            arriving |= {path: target / path.name for path in feed.iterdir()}
        return daemon.take_through(daemon.site(state, watched, archive, server), arriving)


def large(arena: Arena, *, quick: bool) -> list[Figure]:
    """A few big files: how fast bytes go through."""
    size = 8 * MIB if quick else 128 * MIB
    files = corpus.make(arena.directory / "large", 4, size)
    rounds = {"backupd": 3, "igzip | ssh": 3, "old job": 1, "rclone": 1}
    case = f"4 files of {size // MIB} MiB"
    runs = arena.compete(Case(name=case, files=files, rounds=rounds))
    figures = [
        *_speeds(case, runs, files.total_bytes / 1e6, "MB/s"),
        *_ratios(case, runs, {"old job": 10}),
        Figure(
            case=case,
            name="time of igzip | ssh",
            value=_seconds(runs["backupd"]) / _seconds(runs["igzip | ssh"]),
            unit="x",
            at_most=1.3,
        ),
        _peak(case, runs["backupd"]),
    ]
    shutil.rmtree(files.directory)
    return figures


def small(arena: Arena, *, quick: bool) -> list[Figure]:
    """Many small files: what a file costs beyond its bytes."""
    number = 300 if quick else 5_000
    files = corpus.make(arena.directory / "small", number, 8 * 1024)
    rounds = {"backupd": 3, "rclone": 3, "old job": 3}
    case = f"{number:,} files of 8 KiB"
    runs = arena.compete(Case(name=case, files=files, rounds=rounds))
    figures = [
        *_speeds(case, runs, number, "files/s"),
        *_ratios(case, runs, {"old job": 3, "rclone": 1.5}),
        _peak(case, runs["backupd"]),
    ]
    shutil.rmtree(files.directory)
    return figures


def _speeds(case: str, runs: dict[str, list[Run]], amount: float, unit: str) -> list[Figure]:
    return [
        Figure(
            case=case,
            name=job,
            value=amount / _seconds(some),
            unit=unit,
            note=_of(some) + (f"; {_NOTE}" if job == "backupd" else ""),
        )
        for job, some in runs.items()
    ]


def _ratios(case: str, runs: dict[str, list[Run]], bars: dict[str, float]) -> list[Figure]:
    own = _seconds(runs["backupd"])
    return [
        Figure(
            case=case,
            name=f"speed of {job}",
            value=_seconds(runs[job]) / own,
            unit="x",
            at_least=bar,
            note="the aim beyond is 3 times rclone" if job == "rclone" else "",
        )
        for job, bar in bars.items()
    ]


def _peak(case: str, runs: list[Run]) -> Figure:
    peak = max(run.peak_mib for run in runs)
    return Figure(case=case, name="peak resident size", value=peak, unit="MiB", at_most=MEMORY_BAR)


def _seconds(runs: list[Run]) -> float:
    return median(run.seconds for run in runs)


def _of(runs: list[Run]) -> str:
    times = ", ".join(f"{run.seconds:.2f}" for run in runs)
    return f"{times} s" if len(runs) == 1 else f"median of {times} s"


def _check(job: str, files: Corpus, inbox: Path, archive: Path) -> None:
    """See that the work was done: a job that skips some looks fast."""
    there = [path for path in archive.rglob("*") if path.is_file()]
    arrived = sum(path.name != MARK_FILE for path in there)
    if arrived != files.files:
        raise MeasuringError(f"{job}: {arrived} of {files.files} files are in the archive")
    if job == "backupd" and any(path.is_file() for path in inbox.rglob("*")):
        raise MeasuringError("backupd left local files behind")
