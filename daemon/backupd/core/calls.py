"""The calls into one directory, which may freeze: made in threads, late ones left behind."""

from __future__ import annotations

import errno
import math
import os
import threading
from collections import deque
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable
    from concurrent.futures import ThreadPoolExecutor

# Calls, without slow ones: as many as asyncio has threads for. With more, Python wastes its time.
AT_ONCE = min(32, (os.cpu_count() or 1) + 4)
_SLOW_LOOKS = 3  # a call is slow that so many looks have found under way; two looks take `slow`


class DoesNotAnswerError(TimeoutError):
    """A call into a directory hangs. An OSError, as others that say why it cannot be reached."""

    def __init__(self) -> None:
        super().__init__(errno.ETIMEDOUT, "it does not answer")


@dataclass(eq=False, slots=True)
class Call:
    """What is to be called, and who waits for it; `is_slow` is called when it is late."""

    make: Callable[[], Any]
    answer: asyncio.Future[Any]
    is_slow: Callable[[], object]
    looks: int = 0  # that have found it under way: no time counts in which this process stood still
    worker: object = None
    is_left: bool = False


class Calls:
    """Makes calls, a few at once beside those that are slow. `hanging` of them were left behind.

    Each worker is a thread that makes one call after the other, and one look now and then sees to
    all that are late: so the event loop has little to do with each.
    """

    def __init__(self, pool: ThreadPoolExecutor, slow: float, patience: float) -> None:
        """Seconds until a call is slow, and then until it hangs."""
        self.hanging = 0
        self._pool = pool
        self._pause = slow / 2  # seconds from look to look
        self._hangs_after = _SLOW_LOOKS + math.ceil(patience / self._pause)  # looks
        self._waiting: deque[Call] = deque()
        self._begun: set[Call] = set()
        self._workers: set[object] = set()  # without those whose call is slow
        self._lock = threading.Lock()
        self._next_look: asyncio.TimerHandle | None = None
        self._idle_looks = 0  # that have found calls waiting, and none under way

    def add(self, call: Call) -> None:
        """Make it as soon as a thread is free; its answer gets what came of it."""
        if self.hanging:
            call.answer.set_exception(DoesNotAnswerError())
            return
        with self._lock:
            self._waiting.append(call)
        self._begin()
        if self._next_look is None:
            self._look_later(call.answer.get_loop())

    def _begin(self) -> None:
        """Have one more thread make calls, unless there are enough."""
        worker = object()
        with self._lock:
            if not self._waiting or len(self._workers) >= AT_ONCE:
                return
            self._workers.add(worker)
        try:
            self._pool.submit(self._work, worker)
        except RuntimeError as error:  # the host is at its limit; threads at work take what waits
            with self._lock:
                self._workers.discard(worker)
                is_last = not self._workers
            if is_last:
                self._fail_waiting(error)

    def _work(self, worker: object) -> None:
        """Make calls until none waits, or one was slow: another worker has gone on then."""
        while (call := self._next(worker)) is not None:
            outcome = outcome_of(call.make)
            with suppress(RuntimeError):  # nobody waits any more: the event loop has ended
                call.answer.get_loop().call_soon_threadsafe(self._ended, call, *outcome)

    def _next(self, worker: object) -> Call | None:
        with self._lock:
            while self._waiting and worker in self._workers:
                call = self._waiting.popleft()
                if not call.answer.done():  # else its caller was cancelled
                    call.worker = worker
                    self._begun.add(call)
                    return call
            self._workers.discard(worker)
            return None

    def _ended(self, call: Call, result: object, failure: Exception | None) -> None:
        with self._lock:
            self._begun.discard(call)
            self.hanging -= call.is_left
        give(call.answer, result, failure)

    def _look_later(self, loop: asyncio.AbstractEventLoop) -> None:
        self._next_look = loop.call_later(self._pause, self._look, loop)

    def _look(self, loop: asyncio.AbstractEventLoop) -> None:
        self._next_look = None
        slow, hang, is_stuck = self._late()
        for call in slow:
            self._begin()
            if not call.answer.done():
                call.is_slow()
        for call in hang:
            give(call.answer, None, DoesNotAnswerError())
        if hang or is_stuck:
            self._fail_waiting(DoesNotAnswerError())  # they would hang as well
        with self._lock:
            is_over = not (self._begun or self._waiting)
        if not is_over:
            self._begin()
            self._look_later(loop)

    def _late(self) -> tuple[list[Call], list[Call], bool]:
        """Return the calls that have become slow, those that hang, and whether none begins."""
        with self._lock:
            for call in self._begun:
                call.looks += 1
            slow = [call for call in self._begun if call.looks == _SLOW_LOOKS]
            hang = [call for call in self._begun if call.looks == self._hangs_after]
            self._workers -= {call.worker for call in slow}
            for call in hang:
                call.is_left = True
            self.hanging += len(hang)
            self._idle_looks = self._idle_looks + 1 if self._waiting and not self._begun else 0
            return slow, hang, self._idle_looks >= self._hangs_after

    def _fail_waiting(self, error: Exception) -> None:
        with self._lock:
            failed = list(self._waiting)
            self._waiting.clear()
        for call in failed:
            give(call.answer, None, error)


def outcome_of(call: Callable[[], Any]) -> tuple[Any, Exception | None]:
    """Call it; return the result, or what was raised."""
    try:
        return call(), None
    except Exception as error:  # noqa: BLE001 - not lost: who asked for it gets it
        return None, error


def give(answer: asyncio.Future[Any], result: object, failure: Exception | None) -> None:
    """Give it to who waits for it, if anybody still does."""
    if failure and not answer.done():
        answer.set_exception(failure)
    elif not answer.done():
        answer.set_result(result)
