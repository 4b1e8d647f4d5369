"""How far a run is: files and bytes by stage, rate, time left. Bars on a terminal, else lines."""

from __future__ import annotations

import asyncio
import sys
import time
from contextlib import asynccontextmanager
from dataclasses import dataclass
from math import ceil
from typing import TYPE_CHECKING, Protocol

from rich.console import Console
from rich.filesize import decimal
from rich.progress import BarColumn, Progress, TaskID, TextColumn

from backupd.core.pace import repeat
from backupd.core.stages import FACTS, ORDER, Stage, Status
from backupd.ledger import reports

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence

    from backupd.ledger import Ledger
    from backupd.ledger.reports import Share

_LOOK_EVERY = 0.2  # seconds
_LOOKING_SHARE = 10  # a look may take a tenth of the time: rarer ones where there are many files
_LINE_EVERY = 2.0  # seconds


@dataclass(frozen=True, slots=True, kw_only=True)
class StageProgress:
    """How far a stage is. Files that are parked before it never come to it and do not count."""

    stage: Stage
    total: int
    passed: int
    parked: int
    size_bytes: int  # of those that passed; 0 for settle, which reads nothing


class View(Protocol):
    """Shows progress to a person."""

    def show(self, stages: Sequence[StageProgress], seconds: float) -> None:
        """Show how far it is after so many seconds."""
        ...

    def end(self) -> None:
        """Let what was shown last stand."""
        ...


@asynccontextmanager
async def shown(ledger: Ledger) -> AsyncIterator[None]:
    """Show on stderr how far the ledger's open files are, for as long as the block runs."""
    began, clock = time.time(), time.monotonic()
    view: View = Bars() if sys.stderr.isatty() else Lines()
    showing = asyncio.create_task(_keep_showing(ledger, view, began, clock))
    try:
        yield
        view.show(await _look(ledger, began), time.monotonic() - clock)
    finally:
        showing.cancel()
        await asyncio.gather(showing, return_exceptions=True)  # its faults stop no run
        view.end()


def by_stage(shares: Sequence[Share]) -> list[StageProgress]:
    """Work out how far each stage is from where the files stand."""
    return [_progress_of(stage, shares) for stage in ORDER]


def size_text(size_bytes: float) -> str:
    """Return a size for people: `4.2 MB`."""
    return decimal(round(size_bytes))


class Bars:
    """A bar a stage, redrawn in place."""

    def __init__(self) -> None:
        self._bars = Progress(
            TextColumn("{task.description:<8}"),
            BarColumn(bar_width=None),
            TextColumn("{task.fields[files]:>11}", style="progress.download"),
            TextColumn("{task.fields[size]:>8}", style="progress.filesize"),
            TextColumn("{task.fields[rate]:>12}", style="progress.data.speed"),
            TextColumn("{task.fields[note]:<9}"),
            console=Console(stderr=True),
            expand=True,
        )
        self._tasks = {stage: self._add(stage) for stage in ORDER}
        self._bars.start()

    def show(self, stages: Sequence[StageProgress], seconds: float) -> None:
        """See View."""
        for item in stages:
            self._bars.update(
                self._tasks[item.stage],
                total=item.total or None,
                completed=item.passed + item.parked,
                files=f"{item.passed}/{item.total}" if item.total else "",
                size=size_text(item.size_bytes) if item.size_bytes else "",
                rate=_rate(item, seconds),
                note=_note(item, seconds),
            )

    def end(self) -> None:
        """See View."""
        self._bars.stop()

    def _add(self, stage: Stage) -> TaskID:
        return self._bars.add_task(stage, total=None, files="", size="", rate="", note="")


class Lines:
    """A line now and then, and one at the end, for logs."""

    def __init__(self) -> None:
        self._last = ""
        self._printed = ""
        self._due = _LINE_EVERY

    def show(self, stages: Sequence[StageProgress], seconds: float) -> None:
        """See View."""
        self._last = f"{seconds:5.1f} s  {'  '.join(map(_in_words, stages))}"
        if seconds >= self._due:
            self._due = seconds + _LINE_EVERY
            self._print()

    def end(self) -> None:
        """See View."""
        if self._last != self._printed:
            self._print()

    def _print(self) -> None:
        self._printed = self._last
        sys.stderr.write(f"{self._last}\n")
        sys.stderr.flush()


def _progress_of(stage: Stage, shares: Sequence[Share]) -> StageProgress:
    place = ORDER.index(stage)
    parked = [share for share in shares if share.status is Status.PARKED]
    passed = [share for share in shares if _is_past(share, place)]
    parked_before = sum(share.files for share in parked if ORDER.index(share.stage) < place)
    return StageProgress(
        stage=stage,
        total=sum(share.files for share in shares) - parked_before,
        passed=sum(share.files for share in passed),
        parked=sum(share.files for share in parked if share.stage is stage),
        size_bytes=0 if stage is Stage.SETTLE else sum(share.size_bytes for share in passed),
    )


def _is_past(share: Share, place: int) -> bool:
    return share.status is Status.DONE or ORDER.index(share.stage) > place


async def _keep_showing(ledger: Ledger, view: View, began: float, clock: float) -> None:
    async def step() -> None:
        looked = time.monotonic()
        view.show(await _look(ledger, began), looked - clock)

    await repeat(step, _LOOK_EVERY, asyncio.Event(), share=_LOOKING_SHARE)


async def _look(ledger: Ledger, began: float) -> list[StageProgress]:
    return by_stage(await ledger.ask(reports.progress, began))


def _rate(item: StageProgress, seconds: float) -> str:
    """Return how fast it has been on the whole."""
    if not item.passed or seconds <= 0:
        return ""
    if FACTS[item.stage].reads_all:
        return f"{size_text(item.size_bytes / seconds)}/s"
    return f"{item.passed / seconds:.0f} files/s"


def _note(item: StageProgress, seconds: float) -> str:
    """Return what a person has to know: parked files, else the time left."""
    left = item.total - item.passed - item.parked
    if item.parked:
        return f"[bold red]{item.parked} parked[/]"
    if not left or not item.passed:
        return ""
    minutes, rest = divmod(ceil(left * seconds / item.passed), 60)
    return f"{minutes}:{rest:02} left"


def _in_words(item: StageProgress) -> str:
    parked = f" ({item.parked} parked)" if item.parked else ""
    return f"{item.stage} {item.passed}/{item.total}{parked}"
