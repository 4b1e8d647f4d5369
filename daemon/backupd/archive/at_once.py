"""How many files at once the archive bears: as many as come, until it refused some."""

from __future__ import annotations

import asyncio
import math
import time
from collections import deque
from typing import TYPE_CHECKING, Self

if TYPE_CHECKING:
    from collections.abc import Callable

GROWS_EVERY = 5.0  # seconds without a refusal
_BY = 4  # it grows by a fourth: a server that bears a hundred is back there within two minutes


class AtOnce:
    """Enter it for each file: whoever is above the limit waits, in the order of coming.

    Whoever waits, waits for one that has entered, and each that leaves lets the next ones in:
    nobody waits for a time to come.
    """

    def __init__(self, now: Callable[[], float] = time.monotonic) -> None:
        """There is no limit yet."""
        self.inside = 0
        self._limit = math.inf
        self._waiting: deque[asyncio.Future[None]] = deque()
        self._now = now
        self._changed_at = -math.inf

    async def __aenter__(self) -> Self:
        """Wait for a place, behind those who came before."""
        if self._waiting or self.inside >= self._limit:
            await self._wait()
        else:
            self.inside += 1
        return self

    async def __aexit__(self, kind: type[BaseException] | None, *_: object) -> None:
        """Give the place to the next one. It may be that more are borne by now."""
        self.inside -= 1
        if kind is None and self._now() - self._changed_at >= GROWS_EVERY:
            self._change_to(self._limit + max(1, self._limit // _BY))
        self._let_in()

    def shrink(self, to: int) -> None:
        """Let in no more at once than `to`, and one in any case: more were refused."""
        if to < self._limit:
            self._change_to(max(to, 1))

    def lift(self) -> None:
        """Forget the limit: it was not for their number that they were refused."""
        self._change_to(math.inf)
        self._let_in()

    async def _wait(self) -> None:
        place = asyncio.get_running_loop().create_future()
        self._waiting.append(place)
        try:
            await place
        except asyncio.CancelledError:
            if place.cancelled():
                self._waiting.remove(place)
            else:  # the place was given just before
                self.inside -= 1
            self._let_in()
            raise

    def _let_in(self) -> None:
        free = self._limit - self.inside
        for place in list(self._waiting):
            if free <= 0:
                return
            if place.cancelled():  # it leaves the line when its turn to run comes
                continue
            self._waiting.remove(place)
            place.set_result(None)
            self.inside += 1
            free -= 1

    def _change_to(self, limit: float) -> None:
        self._limit, self._changed_at = limit, self._now()
