"""Delivers lines in a thread of its own, so that a slow reader holds nobody up.

When a reader stops reading, the disk is full, or a pipe has no reader, lines are lost. They are
counted, and their number is logged as soon as a line gets through again.
"""

from __future__ import annotations

import atexit
import io
import os
import select
import sys
import threading
import time
from typing import TYPE_CHECKING, Protocol

import structlog

from backupd.ops.streams import STDERR, text_over

if TYPE_CHECKING:
    from collections.abc import Sequence

    from _typeshed import ReadableBuffer

log = structlog.get_logger()

_MOST = 4 * 1024 * 1024  # bytes that wait; as many again may be under way
_TOGETHER = 0.02  # seconds that lines wait for more: to change threads costs more than a line
_LAST_WORDS = 2.0  # seconds that the last lines get at the end

_open: list[Output] = []


class Way(Protocol):
    """Where lines go."""

    def __call__(self, lines: Sequence[bytes]) -> int:
        """Deliver them, however long it takes; return how many of them were lost."""
        ...


class Output:
    """Takes lines at once and delivers them when it can. `lost` counts those that it could not."""

    def __init__(self, way: Way) -> None:
        self._way = way
        self._lock = threading.RLock()  # what is thrown away meanwhile may have something to say
        self._more = threading.Event()
        self._lines: list[bytes] = []
        self._size = 0
        self.lost = self._reported = 0
        self._ending = threading.Event()
        self._thread = threading.Thread(target=self._run, name="output", daemon=True)
        self._thread.start()
        _open.append(self)

    def put(self, line: bytes) -> None:
        """Take a line, or lose it where too many wait."""
        with self._lock:
            if self._size + len(line) > _MOST:
                self.lost += 1
                return
            self._lines.append(line)
            self._size += len(line)
        self._more.set()

    def end(self, within: float) -> None:
        """Have what waits delivered, as far as that can be done in so many seconds."""
        self._ending.set()
        if self._thread is threading.current_thread():  # it is this one that dies
            self._deliver(self._taken())
            return
        self._more.set()
        self._thread.join(within)

    def _run(self) -> None:
        while not self._ending.is_set() or self._lines:
            self._more.wait()
            self._ending.wait(_TOGETHER)
            self._more.clear()
            self._deliver(self._taken())

    def _taken(self) -> list[bytes]:
        with self._lock:
            lines, self._lines, self._size = self._lines, [], 0
        return lines

    def _deliver(self, lines: Sequence[bytes]) -> None:
        try:
            lost = self._way(lines)
        except Exception:  # noqa: BLE001 - whatever it is, it must not end the delivery
            lost = len(lines)
        with self._lock:
            self.lost += lost
        if lines and not lost and self._reported < self.lost:
            self._reported = self.lost
            log.warning("log lines were lost", lines_so_far=self._reported)


class Stderr:
    """The way to stderr."""

    def __init__(self) -> None:
        self._is_cut = False  # the last line did not get through whole

    def __call__(self, lines: Sequence[bytes]) -> int:
        """Write them with as few calls as possible."""
        data = b"".join([b"\n"] * self._is_cut + list(lines))
        done = 0
        try:
            while done < len(data):
                done += _written(memoryview(data)[done:])
        except OSError:
            return data.count(b"\n", done)
        finally:
            if done:
                self._is_cut = data[done - 1 : done] != b"\n"
        return 0


def _written(data: memoryview) -> int:
    try:
        return os.write(STDERR, data)
    except BlockingIOError:  # whoever else has the pipe may have made it so
        select.select([], [STDERR], [])
        return 0


class _Lines(io.RawIOBase):
    """What `sys.stderr` writes to."""

    def __init__(self, output: Output) -> None:
        self._output = output

    def write(self, data: ReadableBuffer, /) -> int:
        taken = bytes(data)
        self._output.put(taken)
        return len(taken)

    def writable(self) -> bool:
        return True

    def fileno(self) -> int:
        return STDERR

    def isatty(self) -> bool:
        return os.isatty(STDERR)


def take_stderr() -> None:
    """Have all that is written to stderr go this way."""
    sys.stderr = text_over(_Lines(Output(Stderr())))


def lost() -> int:
    """Return how many lines could not be delivered."""
    return sum(output.lost for output in _open)


@atexit.register
def end() -> None:
    """Have the last lines delivered: called by itself at an orderly end."""
    until = time.monotonic() + _LAST_WORDS
    for output in _open:
        output.end(max(until - time.monotonic(), 0))
