"""Threads for calls into directories that may freeze: a network file system whose server hangs."""

from __future__ import annotations

import asyncio
import hashlib
import os
import threading
import time
from collections import defaultdict
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, nullcontext
from functools import partial
from typing import TYPE_CHECKING, Any, TypeVar

from backupd.core.calls import Call, Calls, DoesNotAnswerError
from backupd.core.small_calls import SmallCalls

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Generator, Iterator, Mapping
    from contextlib import AbstractContextManager

T = TypeVar("T")

_SLOW = 1.0  # seconds: from then on, others need not wait for a call
_PATIENCE = 5.0  # seconds; what merely was slow goes on by itself, and it costs no attempt
STEP = 0.2  # seconds that long work goes on in one call: so it is seen to come on, and takes turns
_CHUNK = 256 * 1024  # bytes
_PLENTY = 4_096  # threads: who calls bounds them
NOTHING = nullcontext()


class DirectoryThreads:
    """Runs calls in threads. One that hangs is left behind, and keeps nobody but its directory.

    As long as it hangs, further calls into its directory fail at once: so that no more threads
    hang there than calls were under way when it froze.
    """

    def __init__(self, name: str, *, slow: float = _SLOW, patience: float = _PATIENCE) -> None:
        """Seconds until a call counts as slow, and then until it counts as one that hangs."""
        self._pool = ThreadPoolExecutor(_PLENTY, thread_name_prefix=name)
        self._slow, self._patience = slow, patience
        no_calls = partial(Calls, self._pool, slow, patience)
        self._calls: dict[str, Calls] = defaultdict(no_calls)  # by directory
        self._small = SmallCalls(self._pool, self.run)

    async def run(
        self,
        directory: str,
        call: Callable[[], T],
        slow: AbstractContextManager[None] = NOTHING,
    ) -> T:
        """Call it. Raises DoesNotAnswerError, beside what it raises.

        `slow` is entered for as long as the call takes longer than it should.
        """
        answer: asyncio.Future[T] = asyncio.get_running_loop().create_future()
        with ExitStack() as while_slow:
            is_slow = partial(while_slow.enter_context, slow)
            self._calls[directory].add(Call(call, answer, is_slow))
            try:
                return await answer
            finally:
                del answer  # else what it raises would keep itself alive, and what the call holds

    async def run_small(
        self,
        directory: str,
        call: Callable[[], T],
        slow: AbstractContextManager[None] = NOTHING,
    ) -> T:
        """The same for a call that takes no time unless it hangs."""
        if self._calls[directory].hanging or self._small.is_slow(directory):
            return await self.run(directory, call, slow)
        return await self._small.run(directory, call, slow)

    async def run_at_last(self, directory: str, call: Callable[[], object]) -> None:
        """Call what gives back what earlier calls took, in any case. Who asks does not wait long.

        Raises what it raises.
        """
        running = asyncio.get_running_loop().run_in_executor(self._pool, call)
        running.add_done_callback(unheard)
        if not self._calls[directory].hanging:
            await asyncio.wait([running], timeout=self._slow + self._patience)
        if running.done():
            running.result()

    async def run_each(
        self, calls: Mapping[str, tuple[str, Callable[[], T]]]
    ) -> dict[str, T | DoesNotAnswerError]:
        """Make a call into each directory: all in one thread, but for those that are slow.

        Behind one that is slow, the rest goes on in two: a hundred that hang do not add up.
        """
        if not calls:
            return {}
        asked = {
            key: call for key, (where, call) in calls.items() if not self._calls[where].hanging
        }
        made: dict[str, T] = {}
        left = threading.Event()
        loop = asyncio.get_running_loop()
        running = loop.run_in_executor(self._pool, _make_each, asked, made, left)
        try:
            await asyncio.wait([running], timeout=self._slow)
        finally:
            left.set()
            running.add_done_callback(unheard)
        if running.done():
            running.result()
        answers: dict[str, T | DoesNotAnswerError] = {key: DoesNotAnswerError() for key in calls}
        answers |= (done := made.copy())
        if rest := [key for key in asked if key not in done]:
            one, other = _halves(rest[1:])
            slow, here, there = await asyncio.gather(
                self._answer(*calls[rest[0]]),
                self.run_each({key: calls[key] for key in one}),
                self.run_each({key: calls[key] for key in other}),
            )
            answers |= {rest[0]: slow} | here | there
        return answers

    async def _answer(self, directory: str, call: Callable[[], T]) -> T | DoesNotAnswerError:
        try:
            return await self.run(directory, call)
        except DoesNotAnswerError as error:
            return error


async def in_steps(
    run: Callable[[Callable[[], list[T]]], Awaitable[list[T]]], items: Iterator[T]
) -> list[T]:
    """Return all items of an iterator that blocks, by several calls where it is slow."""
    made: list[T] = []
    while some := await run(partial(_step, items)):
        made += some
    return made


def _step(items: Iterator[T]) -> list[T]:
    made, until = [], time.monotonic() + STEP
    for item in items:
        made.append(item)
        if time.monotonic() >= until:
            break
    return made


def _halves(items: list[str]) -> tuple[list[str], list[str]]:
    middle = len(items) // 2
    return items[:middle], items[middle:]


def _make_each(
    asked: Mapping[str, Callable[[], T]], made: dict[str, T], left: threading.Event
) -> None:
    """Make calls one after the other, until they are left: for one of them is slow."""
    for key, call in asked.items():
        if left.is_set():
            return
        made[key] = call()


def unheard(ended: asyncio.Future[Any]) -> None:
    """Nobody may wait for it any more: what it raised is no fault to be logged."""
    if not ended.cancelled():
        ended.exception()


def sha256_in_steps(descriptor: int) -> Generator[None, None, str]:
    """Read an open file on to its end; return the hex digest, after a break between each two steps.

    Raises OSError.
    """
    digest, until = hashlib.sha256(), time.monotonic() + STEP
    while chunk := os.read(descriptor, _CHUNK):
        digest.update(chunk)
        if time.monotonic() >= until:
            yield
            until = time.monotonic() + STEP
    return digest.hexdigest()
