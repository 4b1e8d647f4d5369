"""Puts a file back into the ledger that left for the history, when it is delivered again."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import structlog

from backupd.core.errors import LedgerError, LostStoryError
from backupd.core.history import Past
from backupd.ledger.remembered import recognised_by
from backupd.worker.history import Use

if TYPE_CHECKING:
    from backupd.core.history import Remembered, Story
    from backupd.core.ports import History
    from backupd.ledger import Ledger
    from backupd.worker.context import WorkerContext
    from backupd.worker.history import HistoryHealth

log = structlog.get_logger()


class Recaller:
    """Reads one date of the history for each file."""

    def __init__(
        self, context: WorkerContext, history: History, health: HistoryHealth, host: str
    ) -> None:
        """`host`: whose stories come first, should another one have the same file."""
        self._context = context
        self._ledger: Ledger = context.ledger
        self._history = history
        self._health = health
        self._host = host

    async def recall(self, left: Remembered) -> None:
        """Put it back. One that the history does not have is forgotten. Raises BackupdError.

        LostStoryError: one that lasts and that the history does not have.
        """
        try:
            found = await self._first_of(left)
        except LedgerError:
            raise
        except Exception as error:
            await self._health.failed(Use.READ, error)
            raise
        await self._health.succeeded(Use.READ)
        if found is None and left.lasts:
            raise LostStoryError(
                f"it was delivered before, until {left.done_date}, and the history lacks its story",
                hint="production may have a row of it that would not be recognised: put the"
                " history's partition of that day back, then release this file",
            )
        if found is None:
            log.warning("the history lacks a file that left for it", row=left.row_id)
            await self._ledger.past.forget([bytes.fromhex(left.row_id)])
            return
        await self._ledger.past.recall([found], self._context.now())

    async def _first_of(self, left: Remembered) -> Story | None:
        past = Past(done_dates=[left.done_date], row_ids=[left.row_id])
        found = await self._originals(past, left)
        if not found:  # its row is older than such ids, or its name is another one by now
            found = await self._originals(replace(past, row_ids=None), left)
        found.sort(key=lambda story: (story.host != self._host, story.file.id))
        return found[0] if found else None

    async def _originals(self, past: Past, left: Remembered) -> list[Story]:
        return [
            story
            async for story in self._history.find(past)
            if story.file.duplicate_of is None and left.row_id in recognised_by(story.file)
        ]
