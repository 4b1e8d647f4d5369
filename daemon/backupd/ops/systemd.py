"""What systemd is notified of by sd_notify(3), and how often it wants to be notified.

Where systemd did not start this process, nobody listens, and nothing happens.
"""

from __future__ import annotations

import os
import time
from contextlib import suppress
from typing import TYPE_CHECKING

from systemd import daemon

if TYPE_CHECKING:
    from collections.abc import Mapping

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
