"""Puts files back into the ledger that left for the history, when they are delivered again."""

from __future__ import annotations

import time
from collections import defaultdict
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import structlog

from backupd.core.errors import BackupdError, DependencyDownError, LedgerError, LostStoryError
from backupd.core.history import Past
from backupd.core.host import host_fault
from backupd.core.moves import explained
from backupd.core.request_batcher import RequestBatcher
from backupd.ledger.remembered import recognised_by
from backupd.worker.history import Use

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from backupd.core.history import History, Remembered, Story
    from backupd.worker.context import WorkerContext
    from backupd.worker.history import HistoryHealth

log = structlog.get_logger()

_FIRST_PAUSE, _LONGEST_PAUSE = 30.0, 600.0  # seconds after a failure, doubled each time
_ALL = ""  # dates: the history is down


class NotRecalledError(BackupdError):
    """The history cannot be read. It may be asked again after `pause` seconds."""

    def __init__(self, message: str, pause: float) -> None:
        super().__init__(message)
        self.pause = pause


@dataclass(frozen=True, slots=True)
class _Pause:
    why: str
    seconds: float
    until: float  # time.monotonic


class Recaller:
    """Looks for all files at once that are asked for meanwhile: one look a date."""

    def __init__(
        self, context: WorkerContext, history: History, health: HistoryHealth, host: str
    ) -> None:
        """`host`: whose stories come first, should another one have the same file."""
        self._context = context
        self._ledger = context.ledger
        self._history = history
        self._health = health
        self._host = host
        self._batcher = RequestBatcher(self._recall)
        self._pauses: dict[str, _Pause] = {}  # by date

    async def recall(self, left: Remembered) -> None:
        """Put it back. One that the history does not have is forgotten.

        Raises NotRecalledError; LostStoryError for one that lasts and that the history lacks.
        """
        error = self._paused(left.done_date) or await self._batcher.ask(left)
        if error is not None:
            raise error

    async def aclose(self) -> None:
        """Give up the look that is under way."""
        await self._batcher.aclose()

    async def _recall(self, asked: list[Remembered]) -> Mapping[Remembered, BackupdError | None]:
        by_date: dict[str, list[Remembered]] = defaultdict(list)
        for left in asked:
            by_date[left.done_date].append(left)
        answers: dict[Remembered, BackupdError | None] = {}
        for date, some in by_date.items():
            answers |= await self._recall_of(date, some)
        return answers

    async def _recall_of(
        self, date: str, asked: Sequence[Remembered]
    ) -> dict[Remembered, BackupdError | None]:
        if (error := self._paused(date)) is not None:
            return dict.fromkeys(asked, error)
        try:
            found = await self._found(date, asked)
        except LedgerError:
            raise
        except Exception as fault:  # noqa: BLE001 -- whatever it is, it is told and tried again
            await self._health.failed(Use.READ, fault)
            self._pause(date, host_fault(fault) or fault)
            return dict.fromkeys(asked, self._paused(date))
        self._pauses.pop(date, None)
        self._pauses.pop(_ALL, None)
        await self._health.succeeded(Use.READ)
        stories = {story.file.id: story for story in found.values()}
        await self._ledger.past.recall(list(stories.values()), self._context.now())
        missing = [left for left in asked if left not in found]
        await self._forget([left for left in missing if not left.lasts])
        return {**dict.fromkeys(asked), **{left: _lost(left) for left in missing if left.lasts}}

    def _pause(self, date: str, error: Exception) -> None:
        """Have nobody ask for a while; longer each time. One date alone may be at fault."""
        scope = _ALL if isinstance(error, DependencyDownError) else date
        before = self._pauses.get(scope)
        seconds = min(2 * before.seconds, _LONGEST_PAUSE) if before else _FIRST_PAUSE
        self._pauses[scope] = _Pause(explained(error), seconds, time.monotonic() + seconds)

    def _paused(self, date: str) -> NotRecalledError | None:
        for pause in filter(None, map(self._pauses.get, (_ALL, date))):
            if (rest := pause.until - time.monotonic()) > 0:
                return NotRecalledError(pause.why, rest)
        return None

    async def _found(self, date: str, asked: Sequence[Remembered]) -> dict[Remembered, Story]:
        past = Past(done_dates=[date], row_ids=[left.row_id for left in asked])
        found = await self._originals(past, asked)
        # Those that last may have a row of another id: an older one, or of another name.
        rest = [left for left in asked if left.lasts and left not in found]
        if rest:
            by_content = replace(past, row_ids=None, sha256s=[left.sha256 for left in rest])
            found |= await self._originals(by_content, rest)
        return found

    async def _originals(self, past: Past, asked: Sequence[Remembered]) -> dict[Remembered, Story]:
        by_key = {left.row_id: left for left in asked}
        found: dict[Remembered, Story] = {}
        async for story in self._history.find(past):
            if story.file.duplicate_of is None:
                for key in recognised_by(story.file) & by_key.keys():
                    left = by_key[key]
                    found[left] = min(found.get(left, story), story, key=self._rank)
        return found

    def _rank(self, story: Story) -> tuple[bool, str]:
        return story.host != self._host, story.file.id

    async def _forget(self, missing: Sequence[Remembered]) -> None:
        for left in missing:
            log.warning("the history lacks a file that left for it", row=left.row_id)
        await self._ledger.past.forget([bytes.fromhex(left.row_id) for left in missing])


def _lost(left: Remembered) -> LostStoryError:
    return LostStoryError(
        f"it was delivered before, until {left.done_date}, and the history lacks its story",
        hint="production may have a row of it that would not be recognised: put the history's"
        " partition of that day back, then release this file",
    )
