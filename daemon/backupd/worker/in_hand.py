"""What a lane claims next, so that no feed's backlog keeps another feed's file unclaimed."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Sequence

# Many files are claimed in one transaction, and again when a half of them is through: while these
# are claimed, and what became of others is written, the rest of them keeps all places busy.
_REFILL = 2


class ClaimLimits(NamedTuple):
    """So many due files of these feeds, of one feed no more than `each`."""

    feeds: Sequence[str]
    each: int
    limit: int


class InHand:
    """The files that a lane has claimed and that are not through yet, by feed."""

    def __init__(self, capacity: int) -> None:
        """So many are claimed ahead. Feeds that have a few go beyond, up to twice as many."""
        self._capacity = capacity
        self._by_feed: Counter[str] = Counter()
        self.total = 0

    def add(self, feed: str) -> None:
        """A file of this feed was claimed."""
        self._by_feed[feed] += 1
        self.total += 1

    def remove(self, feed: str) -> None:
        """One of them is through."""
        self._by_feed[feed] -= 1
        self.total -= 1
        if not self._by_feed[feed]:
            del self._by_feed[feed]

    def limits(self, feeds: Sequence[str]) -> ClaimLimits:
        """Return what is to be claimed now; no feeds: nothing, until something is through.

        While there is room, feeds share it, as far as they are known to have work. Once it is full,
        a feed that has less than its share of all that may be claimed gets that share all the same.
        """
        free = self._capacity - self.total
        if free * _REFILL >= self._capacity:
            busy = len(self._by_feed) or len(feeds)
            return ClaimLimits(feeds, max(1, free // max(1, busy)), free)
        share = max(1, self._capacity // max(1, len(feeds)))
        short = [feed for feed in feeds if self._by_feed[feed] * _REFILL < share]
        return ClaimLimits(short, share, self._capacity)
