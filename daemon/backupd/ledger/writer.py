"""The one thread that writes: whatever waits at the same moment is committed together.

A commit costs an fsync. While one is under way, the next requests gather; then all of them go into
one transaction, the items of one verb into one call.
"""

from __future__ import annotations

import asyncio
import queue
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa

from backupd.core.errors import LedgerError
from backupd.ledger.engine import unusable

if TYPE_CHECKING:
    from pathlib import Path

Verb = Callable[[sa.Connection, Sequence[Any]], Sequence[Any]]

_MOST_AT_ONCE = 2_000  # items a transaction: bounds memory, and how long the next one waits

# Seconds that a request waits for others to come along: fewer, larger commits. Where many came
# together the last time, many more are on their way, and none of them is in a hurry.
_COMPANY = 0.002
_COMPANY_OF_MANY = 0.04
_MANY = 8  # requests


@dataclass(frozen=True, slots=True)
class _Request:
    verb: Verb
    items: Sequence[Any]
    answer: asyncio.Future[list[Any]]


class Writer:
    """Applies verbs in group commits. A verb takes a list of items and returns a result for each.

    When a transaction fails, nothing of it is written, everyone who waits is told, and the writer
    takes no more: after a failed fsync nothing that SQLite says can be trusted.
    """

    def __init__(self, engine: sa.Engine, path: Path) -> None:
        self._engine = engine
        self._path = path
        self._queue: queue.SimpleQueue[_Request | None] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._run, name="ledger-writer", daemon=True)
        self.error: LedgerError | None = None
        self.commits = 0  # goes up while the writer makes progress
        self._came_together = 0
        self._thread.start()

    async def apply(self, verb: Verb, items: Sequence[Any]) -> list[Any]:
        """Apply a verb to each item durably; return their results. Raises LedgerError.

        Cancelling the caller does not take the request back: it is under way.
        """
        answer: asyncio.Future[list[Any]] = asyncio.get_running_loop().create_future()
        self._put(_Request(verb, items, answer))
        return await answer

    def close(self) -> None:
        """Write what was handed over, then end the thread."""
        self._queue.put(None)
        self._thread.join()
        self.refuse(LedgerError("the ledger is closed"))

    def refuse(self, error: Exception) -> None:
        """Take no more: the ledger was found to be damaged, or cannot be written."""
        if self.error is None:
            self.error = error if isinstance(error, LedgerError) else unusable(self._path, error)
            self.error.__cause__ = None if self.error is error else error

    def _put(self, request: _Request) -> None:
        if self.error is not None:
            raise self.error
        self._queue.put(request)

    def _run(self) -> None:
        ended = False
        while not ended:
            group, ended = self._gather()
            self._came_together = len(group)
            self._commit(group)

    def _gather(self) -> tuple[list[_Request], bool]:
        """Wait for a request, then take all that wait with it; True at the end of them all."""
        group: list[_Request] = []
        items = 0
        request = self._queue.get()
        time.sleep(_COMPANY if self._came_together < _MANY else _COMPANY_OF_MANY)
        while request is not None:
            group.append(request)
            items += len(request.items)
            if items >= _MOST_AT_ONCE or self._queue.empty():
                return group, False
            request = self._queue.get()
        return group, True

    def _commit(self, group: list[_Request]) -> None:
        try:
            answers: list[Any] = self._transact(group)
        except Exception as error:  # noqa: BLE001 - whatever it is, those who wait must hear of it
            self.refuse(error)
            answers = [self.error] * len(group)
        self.commits += 1
        _reply(list(zip(group, answers, strict=True)))

    def _transact(self, group: list[_Request]) -> list[list[Any]]:
        if self.error is not None:
            raise self.error
        by_verb: defaultdict[Verb, list[Any]] = defaultdict(list)
        for request in group:
            by_verb[request.verb].extend(request.items)
        with self._engine.begin() as connection:
            results = {verb: iter(verb(connection, items)) for verb, items in by_verb.items()}
        return [[next(results[request.verb]) for _ in request.items] for request in group]


def _reply(answered: list[tuple[_Request, Any]]) -> None:
    """Tell those who wait; an event loop is woken once for all of its own."""
    by_loop: defaultdict[asyncio.AbstractEventLoop, list[tuple[Any, Any]]] = defaultdict(list)
    for request, answer in answered:
        by_loop[request.answer.get_loop()].append((request.answer, answer))
    for loop, settled in by_loop.items():
        loop.call_soon_threadsafe(_settle, settled)


def _settle(answered: list[tuple[Any, Any]]) -> None:
    for future, answer in answered:
        if future.cancelled():
            continue
        if isinstance(answer, Exception):
            future.set_exception(answer)
        else:
            future.set_result(answer)
