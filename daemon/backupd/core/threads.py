"""Threads for calls into directories that may freeze: a network file system whose server hangs."""

from __future__ import annotations

import asyncio
import errno
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext
from typing import TYPE_CHECKING, ParamSpec, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable
    from contextlib import AbstractContextManager

P = ParamSpec("P")
T = TypeVar("T")

_SLOW = 1.0  # seconds: from then on, others need not wait for a call
_PATIENCE = 10.0  # seconds: a disk that wakes up, or a server that changes over, takes that long
_PLENTY = 4_096  # threads: who calls bounds them


class DoesNotAnswerError(TimeoutError):
    """A call into a directory hangs. An OSError, as others that say why it cannot be reached."""

    def __init__(self) -> None:
        super().__init__(errno.ETIMEDOUT, "it does not answer")


class DirectoryThreads:
    """Runs calls in threads. One that hangs is left behind, and keeps nobody but its directory.

    As long as it hangs, further calls into its directory fail at once: so that no more threads
    hang there than calls were under way when it froze.
    """

    def __init__(self, name: str, *, slow: float = _SLOW, patience: float = _PATIENCE) -> None:
        """Seconds until a call counts as slow, and then until it counts as one that hangs."""
        self._pool = ThreadPoolExecutor(_PLENTY, thread_name_prefix=name)
        self._slow, self._patience = slow, patience
        self._hanging: Counter[str] = Counter()  # calls, by directory

    async def run(
        self,
        directory: str,
        call: Callable[P, T],
        *args: P.args,
        **kw: P.kwargs,
    ) -> T:
        """Call it. Raises DoesNotAnswerError, beside what it raises."""
        return await self.run_while(nullcontext(), directory, call, *args, **kw)

    async def run_while(
        self,
        slow: AbstractContextManager[None],
        directory: str,
        call: Callable[P, T],
        *args: P.args,
        **kw: P.kwargs,
    ) -> T:
        """The same; `slow` is entered for as long as the call takes longer than it should."""
        if self._hanging[directory]:
            raise DoesNotAnswerError
        loop = asyncio.get_running_loop()
        running = loop.run_in_executor(self._pool, lambda: call(*args, **kw))
        try:
            await asyncio.wait([running], timeout=self._slow)
            if not running.done():
                with slow:
                    await asyncio.wait([running], timeout=self._patience)
        except asyncio.CancelledError:
            running.cancel()
            raise
        if not running.done():
            self._leave(directory, running)
            raise DoesNotAnswerError
        return running.result()

    def _leave(self, directory: str, running: asyncio.Future[T]) -> None:
        self._hanging[directory] += 1
        running.add_done_callback(lambda ended: self._came_back(directory, ended))

    def _came_back(self, directory: str, ended: asyncio.Future[T]) -> None:
        self._hanging[directory] -= 1
        if not ended.cancelled():
            ended.exception()  # nobody waits for it any more

    def close(self) -> None:
        """Take no more calls. What hangs is not waited for."""
        self._pool.shutdown(wait=False, cancel_futures=True)
