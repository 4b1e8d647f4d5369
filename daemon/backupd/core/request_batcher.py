"""Many callers, few calls: for work that costs as much for one as for a hundred."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Generic, TypeVar

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable, Mapping

# Where so many came together the last time, many more are on their way: the next call waits for
# them for some seconds.
MANY = 4
COMPANY = 0.03

Key = TypeVar("Key")
Answer = TypeVar("Answer")


class RequestBatcher(Generic[Key, Answer]):
    """Hands what is asked while calls are under way to the next call, all of it at once.

    A key that is asked for during a call is not answered by that call: what it stands for may
    have come after the call had looked.
    """

    def __init__(
        self, call: Callable[[list[Key]], Awaitable[Mapping[Key, Answer]]], *, at_once: int = 1
    ) -> None:
        """`call` answers every key that it is given, or raises for all of them."""
        self._call = call
        self._at_once = at_once
        self._waiting: dict[Key, asyncio.Future[Answer]] = {}
        self._calls: set[asyncio.Task[None]] = set()
        self._gathers = False  # whether a call has yet to take what waits
        self._came_together = 0

    async def ask(self, key: Key) -> Answer:
        """Return the answer for `key`; raises what the call raised."""
        if key not in self._waiting:
            self._waiting[key] = asyncio.get_running_loop().create_future()
        answer = self._waiting[key]
        self._begin()
        # Shielded: others may wait for the same key.
        return await asyncio.shield(answer)

    async def aclose(self) -> None:
        """Give up what is under way."""
        calls = list(self._calls)
        for call in calls:
            call.cancel()
        await asyncio.gather(*calls, return_exceptions=True)
        _cancel(self._waiting.values())
        self._waiting, self._gathers = {}, False

    def _begin(self) -> None:
        if self._waiting and not self._gathers and len(self._calls) < self._at_once:
            self._gathers = True
            call = asyncio.create_task(self._run())
            self._calls.add(call)
            call.add_done_callback(self._ended)

    def _ended(self, call: asyncio.Task[None]) -> None:
        self._calls.discard(call)
        self._begin()

    async def _run(self) -> None:
        if self._came_together >= MANY:
            await asyncio.sleep(COMPANY)
        keys, self._waiting = self._waiting, {}
        self._gathers, self._came_together = False, len(keys)
        try:
            answers = await self._call(list(keys))
            for key, future in keys.items():
                future.set_result(answers[key])
        except Exception as error:  # noqa: BLE001 -- not lost: every caller gets it
            _fail(keys.values(), error)
        finally:
            _cancel(keys.values())


def _fail(futures: Iterable[asyncio.Future[Answer]], error: Exception) -> None:
    for future in futures:
        if not future.done():
            future.set_exception(error)
            future.exception()  # taken note of: a caller that is gone is no fault to be logged


def _cancel(futures: Iterable[asyncio.Future[Answer]]) -> None:
    """After `aclose`: nobody answers any more."""
    for future in futures:
        if not future.done():
            future.cancel()
