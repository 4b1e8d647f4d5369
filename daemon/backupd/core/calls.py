"""The calls into one directory, which may freeze: made in threads, late ones left behind."""

from __future__ import annotations

import errno
import threading
import time
from collections import deque
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable
    from concurrent.futures import ThreadPoolExecutor

_AT_ONCE = 6  # calls, without slow ones; Python spends its time on changing between more threads


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
    began: float = 0.0  # time.monotonic
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
        self._slow, self._patience = slow, patience
        self._waiting: deque[Call] = deque()
        self._begun: set[Call] = set()
        self._workers: set[object] = set()  # without those whose call is slow
        self._lock = threading.Lock()
        self._next_look: asyncio.TimerHandle | None = None

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
            if not self._waiting or len(self._workers) >= _AT_ONCE:
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
            with self._lock:
                self._begun.remove(call)
            with suppress(RuntimeError):  # nobody waits any more: the event loop has ended
                call.answer.get_loop().call_soon_threadsafe(self._ended, call, *outcome)

    def _next(self, worker: object) -> Call | None:
        with self._lock:
            while self._waiting and worker in self._workers:
                call = self._waiting.popleft()
                if not call.answer.done():  # else its caller was cancelled
                    call.began, call.worker = time.monotonic(), worker
                    self._begun.add(call)
                    return call
            self._workers.discard(worker)
            return None

    def _ended(self, call: Call, result: object, failure: Exception | None) -> None:
        self.hanging -= call.is_left
        give(call.answer, result, failure)

    def _look_later(self, loop: asyncio.AbstractEventLoop) -> None:
        self._next_look = loop.call_later(self._slow / 2, self._look, loop)

    def _look(self, loop: asyncio.AbstractEventLoop) -> None:
        self._next_look = None
        now = time.monotonic()
        for call in self._newly_slow(now - self._slow):
            if not call.answer.done():
                call.is_slow()
            self._begin()
        for call in self._newly_hanging(now - self._slow - self._patience):
            self._leave(call)
        if self._begun or self._waiting:
            self._look_later(loop)

    def _newly_slow(self, before: float) -> list[Call]:
        with self._lock:
            late = [call for call in self._begun if call.began <= before]
            slow = [call for call in late if call.worker in self._workers]
            self._workers -= {call.worker for call in slow}
            return slow

    def _newly_hanging(self, before: float) -> list[Call]:
        with self._lock:
            late = [call for call in self._begun if call.began <= before and not call.is_left]
            for call in late:
                call.is_left = True
            self.hanging += len(late)
            return late

    def _leave(self, call: Call) -> None:
        give(call.answer, None, DoesNotAnswerError())
        self._fail_waiting(DoesNotAnswerError())  # they would hang as well

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
