"""What systemd hears by sd_notify(3): readiness, signs of life, one line of status.

Where systemd did not start this process, nobody listens, and nothing happens.
"""

from __future__ import annotations

import asyncio
import os
import time
from contextlib import suppress
from typing import TYPE_CHECKING

import structlog
from systemd import daemon

from backupd.core.pace import repeat
from backupd.core.stages import Status

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping, Sequence

    from backupd.core.incidents import InShort

log = structlog.get_logger()

_START_BY = 60  # seconds more that a start or a reload gets, each time that it shows progress


class Manager:
    """The service manager, if there is one.

    `watchdog` is the time in seconds within which it wants to hear `alive`; None: never.
    """

    def __init__(self, environ: Mapping[str, str]) -> None:
        self.listens = "NOTIFY_SOCKET" in environ
        self.watchdog = _watchdog(environ) if self.listens else None
        self._is_ready = False

    def ready(self) -> None:
        """Say that the service is up: at its start, and after each reload."""
        self._is_ready = True
        self._notify("READY=1")

    def reloading(self) -> None:
        """Say that the config is being read anew: `ready` ends it."""
        self._is_ready = False
        self._notify(f"RELOADING=1\nMONOTONIC_USEC={time.monotonic_ns() // 1000}")

    def stopping(self) -> None:
        """Say that the service is about to end."""
        self._notify("STOPPING=1")

    def status(self, text: str) -> None:
        """Say in one line how it is."""
        self._notify(f"STATUS={text}")

    def alive(self) -> None:
        """Say that all parts make progress."""
        more = "" if self._is_ready else f"\nEXTEND_TIMEOUT_USEC={_START_BY * 1_000_000}"
        self._notify(f"WATCHDOG=1{more}")

    def _notify(self, state: str) -> None:
        if self.listens:
            # A failed notification holds nothing up: the next sign of life may get through again.
            with suppress(OSError):
                daemon.notify(state)


def _watchdog(environ: Mapping[str, str]) -> float | None:
    """Return what sd_watchdog_enabled(3) would, in seconds."""
    if environ.get("WATCHDOG_PID", str(os.getpid())) != str(os.getpid()):
        return None
    microseconds = int(environ.get("WATCHDOG_USEC", "0"))
    return microseconds / 1_000_000 or None


_OF_INTERVAL = 4  # notifications in the time that systemd allows


class Watchdog:
    """Keeps asking each part for a sign of life; notifies systemd when all have given one."""

    def __init__(
        self, manager: Manager, signs: Mapping[str, Callable[[], Awaitable[None]]]
    ) -> None:
        """`signs` by the part's name: each returns once its part has shown progress."""
        self._manager = manager
        self._signs = signs
        self.missing: list[str] = []  # the parts that are waited for longer than they should be

    async def run(self) -> None:
        """Run for ever; at once return where systemd wants to hear nothing."""
        if self._manager.watchdog is None:
            return
        pause = self._manager.watchdog / _OF_INTERVAL
        while True:
            await self._all_give_one(pause)
            self._manager.alive()
            await asyncio.sleep(pause)

    async def _all_give_one(self, soon: float) -> None:
        """Wait for all signs; name in the log those that take longer than `soon` (seconds)."""
        async with asyncio.TaskGroup() as group:
            tasks = {group.create_task(_of(sign)): part for part, sign in self._signs.items()}
            _, late = await asyncio.wait(tasks, timeout=soon)
            if late:
                self.missing = sorted(tasks[task] for task in late)
                log.error("no sign of life", of=", ".join(self.missing))
        self.missing = []


async def _of(sign: Callable[[], Awaitable[None]]) -> None:
    await sign()


_STATUS_EVERY = 1.0  # seconds between looks
_LOOKING_SHARE = 20  # looking takes a twentieth of the time at most
_MOST_NAMED = 3  # incidents


def status_line(now: InShort, amiss: Sequence[str]) -> str:
    """Return the line. `amiss`: what is wrong with the daemon itself. Pure."""
    files = [
        f"{now.files[status]} {status}"
        for status in (Status.WAITING, Status.RUNNING, Status.PARKED)
        if status in now.files
    ]
    counts = f"files: {', '.join(files)}" if files else "no files to be done"
    incidents = list(now.incidents[:_MOST_NAMED])
    if len(now.incidents) > _MOST_NAMED:
        incidents.append(f"{len(now.incidents) - _MOST_NAMED} more incidents")
    return "; ".join([*amiss, counts, *incidents])


async def keep_status(
    look: Callable[[], Awaitable[str]], show: Callable[[str], None], stop: asyncio.Event
) -> None:
    """Show the line that `look` returns whenever it is another, until `stop` is set."""
    shown = ""

    async def step() -> None:
        nonlocal shown
        if (now := await look()) != shown:
            show(now)
            shown = now

    await repeat(step, _STATUS_EVERY, stop, share=_LOOKING_SHARE)
