"""Progress bars for a run that ends: files and bytes by stage, rate, time left."""

from __future__ import annotations

import asyncio
import time
from contextlib import suppress
from typing import TYPE_CHECKING, Self

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    TaskID,
    TextColumn,
    TimeRemainingColumn,
)
from rich.progress import Progress as Bars

from backupd.core.stages import ORDER, Stage, Status
from backupd.ledger import reports

if TYPE_CHECKING:
    from backupd.ledger import Ledger
    from backupd.ledger.reports import Share

_EVERY = 0.25  # seconds between looks
_LOOKING_SHARE = 10  # a look may take a tenth of the time: rarer ones where there are many files


class Progress:
    """Shows bars on stderr while entered as an async context manager."""

    def __init__(self, ledger: Ledger, since: float) -> None:
        self._ledger = ledger
        self._since = since
        self._bars = Bars(
            TextColumn("{task.description:<9}"),
            BarColumn(bar_width=None),
            MofNCompleteColumn(),
            TextColumn("{task.fields[size]:>9} {task.fields[rate]:>7}"),
            TimeRemainingColumn(compact=True),
            console=Console(stderr=True),
        )
        self._tasks: dict[Stage, TaskID] = {
            stage: self._bars.add_task(stage, total=None, size="", rate="") for stage in ORDER
        }

    async def __aenter__(self) -> Self:
        """Begin to show."""
        self._bars.start()
        self._showing = asyncio.create_task(self._show())
        return self

    async def __aexit__(self, *_: object) -> None:
        """Show the end."""
        self._showing.cancel()
        with suppress(asyncio.CancelledError):
            await self._showing
        await self._look()
        self._bars.stop()

    async def _show(self) -> None:
        while True:
            began = time.monotonic()
            await self._look()
            await asyncio.sleep(max(_EVERY, _LOOKING_SHARE * (time.monotonic() - began)))

    async def _look(self) -> None:
        shares = await self._ledger.ask(reports.progress, self._since)
        total = sum(share.files for share in shares)
        for stage, bar in self._tasks.items():
            passed = [share for share in shares if _is_past(share, stage)]
            files = sum(share.files for share in passed)
            size = sum(share.size_bytes for share in passed)
            speed = files / max(time.time() - self._since, 0.1)
            self._bars.update(
                bar, total=total or None, completed=files, size=_size(size), rate=f"{speed:.0f}/s"
            )


def _is_past(share: Share, stage: Stage) -> bool:
    return share.status is Status.DONE or ORDER.index(share.stage) > ORDER.index(stage)


def _size(number: float) -> str:
    for unit in ("B", "KiB", "MiB", "GiB"):
        if number < 1024:  # noqa: PLR2004 - binary units
            return f"{number:.0f} {unit}"
        number /= 1024
    return f"{number:.1f} TiB"
