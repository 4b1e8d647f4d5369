"""The history in Hive: the port over a thread and a session of its own."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar

from backupd.core.dependencies import Dependency
from backupd.core.errors import DependencyDownError
from backupd.warehouse.hive.history_sql import NAMED, askable, is_by_name
from backupd.warehouse.hive.history_table import HistoryTable
from backupd.warehouse.hive.thread import HiveThread

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterator, Sequence

    from backupd.config.sections import HiveSection
    from backupd.core.history import Past, Story

T = TypeVar("T")

_STORIES = 1000  # in memory at a time
_DATES = 10  # looked through by one statement for single files: its answer is waited for a minute


class HiveHistory:
    """`core.history.History` in the table that the config names.

    Whatever is wrong is the history's fault alone: nothing but old stories waits for it.
    """

    def __init__(self, section: HiveSection) -> None:
        self._hive = HiveThread(section, "hive-history")
        self._table = HistoryTable(section, self._hive.connection, self._hive.staging)

    async def write(self, batch_id: str, done_date: str, stories: Sequence[Story]) -> None:
        """Have a file with these stories moved into the partition."""
        if stories:
            await self._run(self._table.write, batch_id, done_date, stories)

    async def seen(self, batch_id: str, done_date: str) -> list[Story]:
        """Ask Hive for them."""
        return await self._run(self._table.written, batch_id, done_date)

    async def find(self, past: Past) -> AsyncIterator[Story]:
        """Ask Hive, first for the ids alone."""
        asked = list(askable(past))
        if not asked:
            return
        dates_at_once, ids_at_once = (_DATES, NAMED) if is_by_name(past) else (1, _STORIES)
        for dates in _some(await self._run(self._table.dates, past), dates_at_once):
            found = await self._run(self._table.found, dates, asked)
            for date, ids in found.items():
                for some in _some(ids, ids_at_once):
                    for story in await self._run(self._table.stories, date, some, past):
                        if past.wants(story):
                            yield story

    async def aclose(self) -> None:
        """Cancel the statement at work, log out."""
        await self._hive.aclose()

    async def _run(self, work: Callable[..., T], *args: object) -> T:
        try:
            return await self._hive.run(work, *args)
        except DependencyDownError as error:
            raise DependencyDownError(Dependency.HISTORY, str(error), hint=error.hint) from error


def _some(values: Sequence[str], count: int) -> Iterator[Sequence[str]]:
    return (values[start : start + count] for start in range(0, len(values), count))
