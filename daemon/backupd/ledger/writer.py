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
import structlog

from backupd.core.errors import LedgerError
from backupd.ledger import reclaiming
from backupd.ledger.engine import is_full, unusable

if TYPE_CHECKING:
    from pathlib import Path

log = structlog.get_logger()

Verb = Callable[[sa.Connection, Sequence[Any]], Sequence[Any]]

_MOST_AT_ONCE = 2_000  # items a transaction: bounds memory, and how long the next one waits

# Seconds that a request waits for others to come along: fewer, larger commits. Where many came
# together the last time, many more are on their way, and none of them is in a hurry.
_COMPANY = 0.002
_COMPANY_OF_MANY = 0.04
_MANY = 8  # requests

_LOOK_FOR_ROOM = 1.0  # seconds
_QUIET = 0.01  # seconds without a request: a moment to give space back


@dataclass(frozen=True, slots=True)
class _Request:
    verb: Verb
    items: Sequence[Any]
    answer: asyncio.Future[list[Any]]


class Writer:
    """Applies verbs in group commits. A verb takes a list of items and returns a result for each.

    When a transaction fails, nothing of it is written, everyone who waits gets the error, and the
    writer takes no more: after a failed fsync nothing that SQLite says can be trusted. A full disk
    is different: SQLite could not even write what it would have flushed, and rolled all of it back.
    With `waits_for_room` the transaction is tried again until there is room, and all others wait
    behind it.
    """

    def __init__(self, engine: sa.Engine, path: Path) -> None:
        self._engine = engine
        self._path = path
        self._queue: queue.SimpleQueue[_Request | None] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._run, name="ledger-writer", daemon=True)
        self.error: LedgerError | None = None
        self.commits = 0  # goes up while the writer makes progress
        self.lacks_room = False  # on its disk, when last tried
        self.waits_for_room = False
        self._tries_in_vain = 0
        self._sign: asyncio.Future[list[Any]] | None = None  # one at a time, however long it takes
        self._came_together = 0
        self._can_shrink = reclaiming.is_possible(engine)
        self._may_shrink = self._can_shrink  # pages may be free that can be given back
        self._thread.start()

    async def apply(self, verb: Verb, items: Sequence[Any]) -> list[Any]:
        """Apply a verb to each item durably; return their results. Raises LedgerError.

        Cancelling the caller does not take the request back: it is under way.
        """
        answer: asyncio.Future[list[Any]] = asyncio.get_running_loop().create_future()
        self._put(_Request(verb, items, answer))
        return await answer

    async def sign_of_life(self, verb: Verb) -> None:
        """Return once the thread has done a transaction of nothing, or found no room once more."""
        if self._sign is None or self._sign.done():
            self._sign = asyncio.ensure_future(self.apply(verb, [None]))
        before = self._tries_in_vain
        while not self._sign.done() and self._tries_in_vain == before:
            await asyncio.wait([self._sign], timeout=_LOOK_FOR_ROOM)
        if self._sign.done():
            self._sign.result()

    def close(self) -> None:
        """Write what was handed over, if there is room, then end the thread."""
        self.waits_for_room = False
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
        request = self._first()
        time.sleep(_COMPANY if self._came_together < _MANY else _COMPANY_OF_MANY)
        while request is not None:
            group.append(request)
            items += len(request.items)
            if items >= _MOST_AT_ONCE or self._queue.empty():
                return group, False
            request = self._queue.get()
        return group, True

    def _first(self) -> _Request | None:
        """Wait for a request. While there is none, give space back."""
        while self._may_shrink:
            try:
                return self._queue.get(timeout=_QUIET)
            except queue.Empty:
                self._may_shrink = self._give_back()
        return self._queue.get()

    def _give_back(self) -> bool:
        """Return whether more can be given back."""
        if self.error is not None:
            return False
        try:
            return reclaiming.give_back(self._engine)
        except Exception as error:  # noqa: BLE001 - as in `_commit`
            if not (isinstance(error, sa.exc.DBAPIError) and is_full(error)):
                self.refuse(error)
            return False

    def _commit(self, group: list[_Request]) -> None:
        try:
            answers: list[Any] = self._transact_in_time(group)
        except Exception as error:  # noqa: BLE001 - whatever it is, those who wait must hear of it
            self.refuse(error)
            answers = [self.error] * len(group)
        self.commits += 1
        self._may_shrink = self._can_shrink
        _reply(list(zip(group, answers, strict=True)))

    def _transact_in_time(self, group: list[_Request]) -> list[list[Any]]:
        """Transact, when there is room for it."""
        while True:
            try:
                answers = self._transact(group)
            except sa.exc.OperationalError as error:
                if not (is_full(error) and self.waits_for_room):
                    raise
                self._no_room(error)
            else:
                if self.lacks_room:
                    log.info("there is room for the ledger again", path=str(self._path))
                self.lacks_room = False
                return answers

    def _no_room(self, error: Exception) -> None:
        if not self.lacks_room:
            why = unusable(self._path, error)
            log.error("no room for the ledger: all waits", path=str(self._path), reason=str(why))
        self.lacks_room = True
        self._tries_in_vain += 1
        time.sleep(_LOOK_FOR_ROOM)

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
    """Answer those who wait; each event loop is woken once for all of its own."""
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
