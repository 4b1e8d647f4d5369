"""Files through all stages, against the peers, in turns."""

from __future__ import annotations

import shutil
from collections import defaultdict
from dataclasses import dataclass, replace
from functools import partial
from statistics import median
from typing import TYPE_CHECKING

from backupd.core.places import MARK_FILE
from bench import corpus, daemon
from bench.process import MeasuringError
from bench.report import Figure

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path

    from bench.corpus import Corpus
    from bench.peers import Peers
    from bench.process import Run
    from bench.revision import Revision

    Job = Callable[[Sequence[Path], Path], Run]

MIB = 1024 * 1024
MEMORY_BAR = 200  # MiB
_SCATTER = 0.1  # of the median, from the fastest to the slowest run
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
    """Where the jobs run: the same disk, the same server; another revision too, if there is one."""

    directory: Path
    peers: Peers
    other: Revision | None = None

    def compete(self, case: Case) -> dict[str, list[Run]]:
        """Run every job in turns, so that what disturbs the machine disturbs all alike.

        Where runs of one job differ much, all are run again, up to as often as they were.
        """
        wanted = dict(case.rounds)
        if self.other is not None:
            wanted[_named(self.other)] = wanted["backupd"]
        most = max(wanted.values())
        runs: defaultdict[str, list[Run]] = defaultdict(list)
        for turn in range(2 * most):
            if turn >= most and not any(map(_scattered, runs.values())):
                break
            for job, rounds in wanted.items():
                if turn % most < rounds:
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
        jobs: dict[str, Job] = {
            "backupd": partial(self._backupd, None),
            "old job": self.peers.old_job,
            "rclone": self.peers.rclone,
            "igzip | ssh": self.peers.igzip,
        }
        if self.other is not None:
            jobs[_named(self.other)] = partial(self._backupd, self.other.code)
        return jobs

    def _backupd(self, code: Path | None, feeds: Sequence[Path], archive: Path) -> Run:
        state, server = self.directory / "state", self.peers.server
        inbox, watched = feeds[0].parents[1], state / "watched"
        arriving: dict[Path, Path] = {}
        for feed in feeds:
            target = watched / feed.relative_to(inbox)
            target.mkdir(parents=True)
            arriving |= {path: target / path.name for path in feed.iterdir()}
        site = daemon.site(state, watched, archive, server)
        return daemon.take_through(replace(site, code=code), arriving)


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
        *_against(case, arena, runs),
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
        *_against(case, arena, runs),
        *_cpu(case, runs, number),
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


def _against(case: str, arena: Arena, runs: dict[str, list[Run]]) -> list[Figure]:
    if arena.other is None:
        return []
    other = _named(arena.other)
    speed = _seconds(runs[other]) / _seconds(runs["backupd"])
    return [Figure(case=case, name=f"speed of {other}", value=speed, unit="x")]


def _cpu(case: str, runs: dict[str, list[Run]], files: int) -> Iterator[Figure]:
    for job, some in runs.items():
        if found := [run.cpu_seconds for run in some if run.cpu_seconds is not None]:
            each = median(found) / files * 1000
            yield Figure(case=case, name=f"CPU a file, {job}", value=each, unit="ms")


def _named(revision: Revision) -> str:
    return f"backupd at {revision.name}"


def _scattered(runs: list[Run]) -> bool:
    times = [run.seconds for run in runs]
    return max(times) - min(times) > _SCATTER * median(times)


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
    if job.startswith("backupd") and any(path.is_file() for path in inbox.rglob("*")):
        raise MeasuringError("backupd left local files behind")
