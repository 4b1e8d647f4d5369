"""Folds what happened to done files, beside all other work, which it never holds up."""

from __future__ import annotations

from typing import TYPE_CHECKING

from backupd.core.pace import repeat
from backupd.ledger import stories

if TYPE_CHECKING:
    from backupd.worker.context import WorkerContext

_EVERY = 1.0  # seconds
_AT_ONCE = 300  # files: some 50 ms of the ledger's writer
_SHARE = 10  # of the time, it takes one part in so many at most
QUIET_FOR = 60.0  # seconds: what a person looks at just now stays as it is


class FoldingLane:
    """Has the ledger keep the stories of done files in fewer bytes."""

    def __init__(self, context: WorkerContext, quiet_for: float = QUIET_FOR) -> None:
        """Nothing is folded until nothing has happened to it for so many seconds."""
        self._context = context
        self._quiet_for = quiet_for
        self._found = _AT_ONCE

    @property
    def is_at_work(self) -> bool:
        """Whether there may be more than it folds at once."""
        return self._found == _AT_ONCE

    async def run(self) -> None:
        """Work until the stop."""
        await repeat(self._look, _EVERY, self._context.stop, share=_SHARE)

    async def run_through(self) -> None:
        """Work without a pause until nothing is to be folded, or the stop."""
        while self.is_at_work and not self._context.stop.is_set():
            await self._look()

    async def _look(self) -> None:
        before = self._context.now() - self._quiet_for
        ledger = self._context.ledger
        found = await ledger.ask(stories.foldings, before, _AT_ONCE)
        await ledger.past.fold(found)
        self._found = len(found)
