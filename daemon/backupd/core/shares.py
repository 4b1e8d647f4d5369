"""Places that feeds share: none of them keeps another waiting for as long as it has work."""

from __future__ import annotations

import asyncio
import heapq
import itertools
from collections import Counter
from contextlib import asynccontextmanager, contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

    # In the order in which they get places: those that had one before first, then as they came.
    Waiter = tuple[bool, int, asyncio.Future[None]]


class Shares:
    """So many places. A free one goes to the feed that has fewest, and was served longest ago.

    Of one feed, who had a place before gets one before who never had: so few are begun at once.
    """

    def __init__(self, places: int) -> None:
        self.places = places
        self._free = places
        self._held: Counter[str] = Counter()
        self._waiting: dict[str, list[Waiter]] = {}  # by feed; who was served longest ago is first
        self._numbers = itertools.count()

    @asynccontextmanager
    async def place(self, feed: str) -> AsyncIterator[None]:
        """Hold a place for as long as the block takes."""
        waiter = self._queue(feed, is_new=True)
        self._hand_out()
        await self._wait(feed, waiter)
        try:
            yield
        finally:
            self._give_back(feed)

    async def take_turns(self, feed: str) -> None:
        """Between two steps of long work: let other feeds that wait have the place in turn.

        The caller holds a place of this feed, and does so again when this returns or raises.
        """
        if not self._waiting.keys() - {feed}:
            return
        waiter = self._queue(feed, is_new=False)
        self._waiting[feed] = self._waiting.pop(feed)  # it has just been served
        self._give_back(feed)
        try:
            await self._wait(feed, waiter)
        except BaseException:
            self._free -= 1  # more are held than there are, until the caller has given it back
            self._held[feed] += 1
            raise

    @contextmanager
    def lent(self) -> Iterator[None]:
        """Let others have the caller's place while its work does not come on.

        Its feed counts as having it all the same: no more of its work than there are places hangs.
        """
        self._free += 1
        self._hand_out()
        try:
            yield
        finally:
            self._free -= 1

    def _queue(self, feed: str, *, is_new: bool) -> asyncio.Future[None]:
        waiter = asyncio.get_running_loop().create_future()
        queue = self._waiting.setdefault(feed, [])
        heapq.heappush(queue, (is_new, next(self._numbers), waiter))
        return waiter

    async def _wait(self, feed: str, waiter: asyncio.Future[None]) -> None:
        try:
            await waiter
        except BaseException:
            if not waiter.cancelled():  # it came at the very moment when its waiter was cancelled
                self._give_back(feed)
            raise

    def _give_back(self, feed: str) -> None:
        self._free += 1
        self._held[feed] -= 1
        self._hand_out()

    def _hand_out(self) -> None:
        while self._free > 0 and (feed := self._next()) is not None:
            queue = self._waiting.pop(feed)
            _, _, waiter = heapq.heappop(queue)
            if queue:
                self._waiting[feed] = queue  # the last one now
            if not waiter.cancelled():
                self._free -= 1
                self._held[feed] += 1
                waiter.set_result(None)

    def _next(self) -> str | None:
        can_have = [feed for feed in self._waiting if self._held[feed] < self.places]
        return min(can_have, key=self._held.__getitem__, default=None)
