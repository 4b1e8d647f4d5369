"""Calls into directories that take no time unless they hang: made many at a time in one thread.

To change the thread takes longer than such a call, above all where the interpreter's lock is wanted
by both threads.
"""

from __future__ import annotations

import asyncio
from collections import Counter, deque
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, TypeVar

from backupd.core.calls import AT_ONCE, give, outcome_of

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Coroutine
    from concurrent.futures import Future, ThreadPoolExecutor
    from contextlib import AbstractContextManager

    RunApart = Callable[[str, Callable[[], Any], AbstractContextManager[None]], Awaitable[Any]]

T = TypeVar("T")

_COMPANY = 0.002  # seconds that calls wait for more, where more than one came the last time
_COMPANY_BESIDE = 0.01  # the same while others are being made: another thread has its price
_WITHIN = 0.25  # seconds that one thread gets for all; then each directory has threads of its own


@dataclass(eq=False, slots=True)
class _SmallCall:
    directory: str
    make: Callable[[], Any]
    slow: AbstractContextManager[None]
    answer: asyncio.Future[Any]
    outcome: tuple[Any, Exception | None] | None = None


class SmallCalls:
    """Makes calls that come together one after the other, into whichever directory."""

    def __init__(self, pool: ThreadPoolExecutor, run_apart: RunApart) -> None:
        """`run_apart` runs what has turned out to be slow, and bounds how long it is waited for."""
        self._pool = pool
        self._run_apart = run_apart
        self._waiting: list[_SmallCall] = []
        self._is_gathering = False
        self._came_together = 0
        self._rounds = 0  # under way
        self._slow: Counter[str] = Counter()  # calls under way by directory
        self._tasks: set[asyncio.Task[None]] = set()

    def is_slow(self, directory: str) -> bool:
        """Return whether a call into it is slow just now: others would keep everybody waiting."""
        return self._slow[directory] > 0

    async def run(
        self, directory: str, call: Callable[[], T], slow: AbstractContextManager[None]
    ) -> T:
        """Call it. Raises what it raises, and what `run_apart` does."""
        answer: asyncio.Future[T] = asyncio.get_running_loop().create_future()
        self._waiting.append(_SmallCall(directory, call, slow, answer))
        self._begin()
        try:
            return await answer
        finally:
            del answer  # else what it raises would keep itself alive, and what the call holds

    def _begin(self) -> None:
        if self._waiting and not self._is_gathering and self._rounds < AT_ONCE:
            self._is_gathering = True
            self._spawn(self._round())

    def _spawn(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _round(self) -> None:
        """Make what waits in one thread, for as long as none of it is slow."""
        await asyncio.sleep(self._wait_for_company())
        asked, self._waiting = self._waiting, []
        self._is_gathering, self._came_together = False, len(asked)
        pending = deque(asked)
        self._rounds += 1
        try:
            made = self._pool.submit(_make_all, pending)
            await asyncio.wait([asyncio.wrap_future(made)], timeout=_WITHIN)
        except RuntimeError as error:  # the host is at its limit
            for call in asked:
                give(call.answer, None, error)
        else:
            self._answer(asked, _taken_from(pending), made)
        finally:
            self._rounds -= 1
            self._begin()

    def _wait_for_company(self) -> float:
        if self._rounds:
            return _COMPANY_BESIDE
        return _COMPANY if self._came_together > 1 else 0.0

    def _answer(self, asked: list[_SmallCall], left: list[_SmallCall], made: Future[None]) -> None:
        for call in asked:
            if call.outcome is not None:
                give(call.answer, *call.outcome)
            elif call in left:
                self._spawn(self._apart(call, call.make))
            else:  # the one that keeps the thread
                self._spawn(self._apart(call, partial(_ended, call, made)))

    async def _apart(self, call: _SmallCall, make: Callable[[], Any]) -> None:
        self._slow[call.directory] += 1
        result, failure = None, None
        try:
            result = await self._run_apart(call.directory, make, call.slow)
        except Exception as error:  # noqa: BLE001 - not lost: who asked for it gets it
            failure = error
        finally:
            self._slow[call.directory] -= 1
        give(call.answer, result, failure)


def _make_all(pending: deque[_SmallCall]) -> None:
    with suppress(IndexError):  # the last was made, or the rest was taken
        while True:
            call = pending.popleft()
            if not call.answer.done():  # else its caller was cancelled
                call.outcome = outcome_of(call.make)


def _taken_from(pending: deque[_SmallCall]) -> list[_SmallCall]:
    taken = []
    with suppress(IndexError):
        while True:
            taken.append(pending.popleft())
    return taken


def _ended(call: _SmallCall, made: Future[None]) -> Any:  # noqa: ANN401 - whatever it returns
    """Wait until the thread has made it; return or raise what came of it."""
    made.result()
    if call.outcome is None:
        return None  # its caller is gone
    result, failure = call.outcome
    if failure is not None:
        raise failure
    return result
