"""The one line that `systemctl status` shows: how many files stand where, and what is amiss."""

from __future__ import annotations

import asyncio
import time
from contextlib import suppress
from typing import TYPE_CHECKING

from backupd.core.stages import Status

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

    from backupd.core.incidents import InShort

_EVERY = 1.0  # seconds between looks
_LOOKING_SHARE = 20  # looking takes a twentieth of the time at most
_NAMED = 3  # incidents


def line(now: InShort, amiss: Sequence[str]) -> str:
    """Return the line. `amiss`: what is wrong with the daemon itself. Pure."""
    files = [
        f"{now.files[status]} {status}"
        for status in (Status.WAITING, Status.RUNNING, Status.PARKED)
        if status in now.files
    ]
    counts = f"files: {', '.join(files)}" if files else "no files to be done"
    incidents = list(now.incidents[:_NAMED])
    if len(now.incidents) > _NAMED:
        incidents.append(f"{len(now.incidents) - _NAMED} more incidents")
    return "; ".join([*amiss, counts, *incidents])


async def keep(
    look: Callable[[], Awaitable[str]], show: Callable[[str], None], stop: asyncio.Event
) -> None:
    """Show the line that `look` returns whenever it is another, until `stop` is set."""
    shown = ""
    while not stop.is_set():
        began = time.monotonic()
        if (now := await look()) != shown:
            show(now)
            shown = now
        pause = max(_EVERY, (time.monotonic() - began) * _LOOKING_SHARE)
        with suppress(TimeoutError):
            await asyncio.wait_for(stop.wait(), pause)
