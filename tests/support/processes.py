"""Processes that a test starts on a port of its own: waited for, stopped with all they started."""

from __future__ import annotations

import contextlib
import ctypes
import os
import signal
import socket
import time
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import subprocess
    from collections.abc import Callable, Iterator

START_WITHIN = 20.0  # seconds; far more than a server needs, even on a busy machine
SECONDS_BETWEEN_LOOKS = 0.01
_PR_SET_CHILD_SUBREAPER = 36  # include/uapi/linux/prctl.h


def free_port() -> int:
    """Return a port of loopback on which nobody listens."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port: int = listener.getsockname()[1]
        return port


def accepts(port: int) -> bool:
    """Return whether somebody listens on a port of loopback."""
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def resident(pid: int) -> int:
    """Return how many bytes of memory a process has."""
    pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")


def says_ssh(host: str, port: int) -> bool:
    """Return whether an SSH server answers there."""
    with (
        contextlib.suppress(OSError),
        socket.create_connection((host, port), 1) as connection,
    ):
        connection.settimeout(START_WITHIN)
        return connection.recv(4) == b"SSH-"
    return False


def wait_for_start(
    process: subprocess.Popen[bytes], answers: Callable[[], bool], log: Path
) -> None:
    """Return once it answers; AssertionError with its log where it does not."""
    deadline = time.monotonic() + START_WITHIN
    while process.poll() is None and time.monotonic() < deadline:
        if answers():
            return
        time.sleep(SECONDS_BETWEEN_LOOKS)
    raise AssertionError(f"{process.args!r} did not start:\n{log.read_text()}")


def descendants(pid: int) -> list[int]:
    """Return the processes below `pid`, deepest first."""
    found: list[int] = []
    for children in Path(f"/proc/{pid}/task").glob("*/children"):
        with contextlib.suppress(FileNotFoundError, ProcessLookupError):
            for child in children.read_text().split():
                found += [*descendants(int(child)), int(child)]
    return found


def kill_descendants(pid: int) -> None:
    """Kill what `pid` started, and leave it the time to take note, or a zombie stays behind."""
    for child in descendants(pid):
        send_signal(child, signal.SIGKILL)
        deadline = time.monotonic() + START_WITHIN
        while Path(f"/proc/{child}").exists() and time.monotonic() < deadline:
            time.sleep(0.001)


def end_whole(process: subprocess.Popen[bytes]) -> None:
    """End a server first, then what it started: else it takes one more connection in between."""
    with _adopting():
        started = descendants(process.pid)
        process.terminate()
        process.wait()
        for child in started:
            send_signal(child, signal.SIGKILL)
        for child in started:
            with contextlib.suppress(ChildProcessError):
                os.waitpid(child, 0)


@contextlib.contextmanager
def _adopting() -> Iterator[None]:
    """Become the parent of what loses its own meanwhile, so that none is left a zombie."""
    libc = ctypes.CDLL(None)
    libc.prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    try:
        yield
    finally:
        libc.prctl(_PR_SET_CHILD_SUBREAPER, 0, 0, 0, 0)


def send_signal(pid: int, number: signal.Signals) -> None:
    """Send a signal; a process that has ended is no error."""
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, number)
