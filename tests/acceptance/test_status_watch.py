"""`backupd-admin status --watch`: a screen that follows what happens, until Ctrl-C."""

from __future__ import annotations

import contextlib
import fcntl
import os
import pty
import re
import signal
import struct
import subprocess
import termios
from typing import TYPE_CHECKING

from support.daemon import PROGRAMS, Host, environment, until

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

# The feed's row: nothing waits, runs or is parked, one file was done today.
ONE_DONE = re.compile(r"traffic/a +\. +\. +\. +1 ")


class Screen:
    """A terminal of 80 columns, and all that was shown on it."""

    def __init__(self) -> None:
        self._ours, self.theirs = pty.openpty()
        os.set_blocking(self._ours, False)
        fcntl.ioctl(self.theirs, termios.TIOCSWINSZ, struct.pack("4H", 50, 80, 0, 0))
        self._shown = b""

    def shown(self) -> str:
        with contextlib.suppress(BlockingIOError):
            while block := os.read(self._ours, 65536):
                self._shown += block
        return re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", self._shown.decode(errors="replace"))

    def shows(self, pattern: re.Pattern[str]) -> None:
        until(lambda: pattern.search(self.shown()), self.shown)

    def close(self) -> None:
        os.close(self._ours)
        os.close(self.theirs)


@contextlib.contextmanager
def interruptible() -> Iterator[None]:
    """Start programs that SIGINT ends, though tests that run in the background ignore it."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


def test_it_follows_what_happens_until_it_is_interrupted(tmp_path: Path) -> None:
    host = Host(tmp_path)
    command = [str(PROGRAMS / "backupd-admin"), "--config", str(host.config), "status", "--watch"]
    with host.daemon() as daemon, contextlib.closing(Screen()) as screen:
        variables = environment({"TERM": "xterm"})
        with interruptible():
            watching = subprocess.Popen(
                command,
                stdin=screen.theirs,
                stdout=screen.theirs,
                stderr=screen.theirs,
                env=variables,
            )
        screen.shows(re.compile("No open incident"))
        assert not ONE_DONE.search(screen.shown())

        host.deliver("one.csv")
        daemon.tells("cleanup finished")

        screen.shows(ONE_DONE)
        watching.send_signal(signal.SIGINT)
        # Read on: a terminal that nobody reads is full soon, and holds up who writes to it.
        until(lambda: screen.shown() and watching.poll() is not None, screen.shown)
        assert watching.returncode == 0
