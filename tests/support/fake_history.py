"""A history in memory, with faults on demand."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from backupd.core.dependencies import Dependency
from backupd.core.errors import DependencyDownError

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence

    from backupd.core.history import Past, Story


@dataclass
class FakeHistory:
    """`core.history.History`. Set a fault and the next calls meet it."""

    down_for: int = 0  # so many calls find it down
    hides: int = 0  # so many stories of a batch are not seen

    batches: dict[tuple[str, str], list[Story]] = field(default_factory=dict)  # by id and date
    writes: int = 0
    finds: int = 0
    asked: int = 0

    async def write(self, batch_id: str, done_date: str, stories: Sequence[Story]) -> None:
        self._answer()
        self.writes += 1
        self.batches.setdefault((batch_id, done_date), list(stories))

    async def seen(self, batch_id: str, done_date: str) -> list[Story]:
        self._answer()
        return list(self.batches.get((batch_id, done_date), []))[self.hides :]

    async def find(self, past: Past) -> AsyncIterator[Story]:
        self._answer()
        self.finds += 1
        for date in sorted({date for _, date in self.batches}):
            if past.may_be_of(date):
                for story in self._of_date(date, replace(past, done_dates=None)):
                    yield story

    async def aclose(self) -> None:
        """Nothing to let go of."""

    def _of_date(self, date: str, past: Past) -> list[Story]:
        """A partition has what was written into it, whatever its stories say."""
        batches = [stories for (_, of), stories in self.batches.items() if of == date]
        found = [story for stories in batches for story in stories if past.wants(story)]
        return sorted(found, key=lambda story: story.file.id)

    def stories(self) -> list[Story]:
        """Return all that is there."""
        return [story for batch in self.batches.values() for story in batch]

    def _answer(self) -> None:
        self.asked += 1
        if self.down_for:
            self.down_for -= 1
            raise DependencyDownError(Dependency.HISTORY, "the history is down")
