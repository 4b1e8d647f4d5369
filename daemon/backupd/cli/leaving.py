"""The end of the process, within a bound: a thread that hangs in the kernel is not to be stopped.

Nothing is lost: what is not in the ledger was not done, as after a kill.
"""

from __future__ import annotations

import os
import sys
import threading
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, NoReturn

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

_TO_SAY_SO = 3.0  # seconds: standard output may hang, and the last lines take their time


def leave_within(seconds: float, code: int) -> None:
    """End the process in so many seconds at the latest. Called again, the earliest end counts."""
    _later(seconds, _give_up, code)


@contextmanager
def leaving() -> Iterator[None]:
    """End the process with the block: the interpreter would wait for threads that hang."""
    try:
        yield
    except SystemExit as ended:
        _leave(ended.code if isinstance(ended.code, int) else int(ended.code is not None))
    except BaseException:  # noqa: BLE001 - not lost: it is printed as the interpreter would
        sys.excepthook(*sys.exc_info())
        _leave(1)
    _leave(0)


def _leave(code: int) -> NoReturn:
    for stream in (sys.stdout, sys.stderr):
        with suppress(OSError, ValueError):
            stream.flush()
    if output := sys.modules.get("backupd.ops.output"):  # not loaded where nothing was logged
        output.end()
    os._exit(code)


def _give_up(code: int) -> None:
    import structlog  # noqa: PLC0415 - commands start without it

    _later(_TO_SAY_SO, os._exit, code)
    names = sorted({thread.name for thread in threading.enumerate()})
    structlog.get_logger().warning("ended without what hangs", threads=names)
    _leave(code)


def _later(seconds: float, call: Callable[[int], None], code: int) -> None:
    timer = threading.Timer(seconds, call, [code])
    timer.daemon = True
    timer.start()
