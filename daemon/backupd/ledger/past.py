"""What is written of files that are over: folded, moved to the history, put back, forgotten.

And of what came of feeds, and will never come.
"""

from __future__ import annotations

import asyncio
from contextlib import closing
from itertools import compress
from typing import TYPE_CHECKING

from backupd.ledger import history, recounting, remembered, stories, watching
from backupd.ledger.engine import LedgerReader
from backupd.ledger.rows import in_chunks

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from backupd.completeness.judging import Excuse
    from backupd.core.history import Story
    from backupd.ledger.history import HistoryBatch
    from backupd.ledger.recounting import Counted
    from backupd.ledger.stories import Folding
    from backupd.ledger.watching import Watch
    from backupd.ledger.writer import Writer

_FEEDS = 20  # in one transaction: others write in between


class PastWriter:
    """The part of a ledger's verbs that no file on its way has to do with."""

    def __init__(self, writer: Writer, path: Path) -> None:
        self._writer = writer
        self._path = path

    async def fold(self, foldings: Sequence[Folding]) -> None:
        """Write stories in place of what they tell, unless their files went on."""
        if foldings:
            await self._writer.apply(stories.write, foldings)

    async def writes_as(self, host: str) -> None:
        """Write down the host name under which stories are written from now on."""
        await self._writer.apply(history.writes_as, [host])

    async def begin(self, batch: HistoryBatch) -> None:
        """Write down which stories go into the history next."""
        await self._writer.apply(history.begin, [batch])

    async def end(self, batch: HistoryBatch) -> None:
        """Forget a batch of stories: what became of each is written."""
        await self._writer.apply(history.end, [batch.id])

    async def remove(self, seen: Sequence[Story]) -> int:
        """Remove files whose stories were seen in the history, unless they went on.

        Returns how many were removed.
        """
        return sum(await self._writer.apply(history.remove, seen)) if seen else 0

    async def keep_for_good(self, file_ids: Sequence[str]) -> int:
        """Have files stay: the history has stories of them that are not theirs any more.

        Returns how many of them are in the ledger.
        """
        return sum(await self._writer.apply(history.differ, file_ids)) if file_ids else 0

    async def recall(self, found: Sequence[Story], now: float) -> None:
        """Put files back that came out of the history, as they were."""
        items = [history.Recall(story=story, at=now) for story in found]
        await self._writer.apply(history.recall, items)

    async def forget(self, keys: Sequence[bytes]) -> None:
        """Recognise these no more."""
        if keys:
            await self._writer.apply(remembered.forget, keys)

    async def watch(self, feeds: Sequence[Watch]) -> None:
        """Count what came of feeds from now on, and what is there of them."""
        for some in in_chunks(feeds, _FEEDS):
            is_new = await self._writer.apply(watching.begin, some)
            for each in compress(some, is_new):
                for piece in await asyncio.to_thread(self._counted, each):
                    await self._writer.apply(recounting.add, [piece])

    def _counted(self, feed: Watch) -> list[Counted]:
        """Read what is there of a feed, beside whoever writes and reads meanwhile."""
        with closing(LedgerReader(self._path)) as reader:
            return reader.ask(recounting.counted, feed)

    async def watch_no_more(self, feeds: Sequence[str]) -> None:
        """Nothing is expected of these feeds any more."""
        if feeds:
            await self._writer.apply(watching.watch_no_more, feeds)

    async def forget_arrivals(self, before: int) -> None:
        """Forget what came of dates before this one (days since the epoch)."""
        await self._writer.apply(watching.forget, [before])

    async def excuse(self, excuse: Excuse) -> None:
        """Write down what will never come."""
        await self._writer.apply(watching.excuse, [excuse])
