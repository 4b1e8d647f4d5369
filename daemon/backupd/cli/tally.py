"""Counts how often each of millions of ids comes, in eight bytes an id."""

from __future__ import annotations

from array import array
from bisect import bisect_left, bisect_right
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

_PARTS = 256  # so that little is sorted at once: that takes several times its own memory


class Tally:
    """How often each id came.

    Ids are kept as their hashes of 64 bits, which are others in each process: that any two of two
    million ids share one happens once in ten million times.
    """

    def __init__(self) -> None:
        self._parts = [array("q") for _ in range(_PARTS)]

    def add(self, ids: Iterable[str]) -> None:
        """Count these too. `sort` before any is asked for."""
        for hashed in map(hash, ids):
            self._parts[hashed % _PARTS].append(hashed)

    def sort(self) -> None:
        """Make ready to be asked."""
        for place, part in enumerate(self._parts):
            self._parts[place] = array("q", sorted(part))

    def __getitem__(self, id_: str) -> int:
        """Return how often this id came."""
        hashed = hash(id_)
        part = self._parts[hashed % _PARTS]
        return bisect_right(part, hashed) - bisect_left(part, hashed)
