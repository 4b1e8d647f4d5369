"""What the observer's thread reports to the event loop: where something may have changed."""

from __future__ import annotations

import threading
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

MOST_PENDING = 50_000  # names held at once, a few MiB; beyond, one rescan stands for them all


@dataclass(slots=True)
class Hints:
    """Names that may have changed, by directory; `rescan`: more changed than was noted."""

    names: dict[str, set[str]] = field(default_factory=dict)
    trees: set[str] = field(default_factory=set)  # new directories, with all that is below them
    count: int = 0
    rescan: bool = False


class PendingHints:
    """Gathers hints until they are taken. Any thread may add; memory is bounded.

    `wake` is called, in the adding thread, when the first hint after a `take` arrives.
    """

    def __init__(self, wake: Callable[[], None]) -> None:
        self._wake = wake
        self._lock = threading.Lock()
        self._hints = Hints()
        self._empty = True

    def add(self, directory: str, name: str) -> None:
        """Something happened to this name."""
        with self._lock:
            self._put(self._hints.names.setdefault(directory, set()), name)

    def add_tree(self, directory: str) -> None:
        """A directory appeared."""
        with self._lock:
            self._put(self._hints.trees, directory)

    def request_rescan(self) -> None:
        """Events were lost: only looking everywhere finds what they were about."""
        with self._lock:
            self._hints.rescan = True
            self._wake_once()

    def take(self) -> Hints:
        """Return what was gathered, and start anew."""
        with self._lock:
            taken, self._hints = self._hints, Hints()
            self._empty = True
            return taken

    def _put(self, names: set[str], what: str) -> None:
        if self._hints.count >= MOST_PENDING:
            self._hints.rescan = True
        elif what not in names:
            names.add(what)
            self._hints.count += 1
        self._wake_once()

    def _wake_once(self) -> None:
        if self._empty:
            self._empty = False
            self._wake()
