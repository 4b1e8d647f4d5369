"""Brings what scans and hints show into the ledger."""

from __future__ import annotations

import asyncio
import posixpath
import time
from collections import Counter
from dataclasses import replace
from typing import TYPE_CHECKING

from backupd.core.records import Seen
from backupd.intake.scan import CHUNK

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterable, Iterator, Mapping, Sequence

    from backupd.core.records import Known, Sighting
    from backupd.intake.health import FeedHealth
    from backupd.intake.hints import Hints
    from backupd.intake.matching import FeedMap, Root
    from backupd.intake.ports import IntakeLedger
    from backupd.intake.scan import Candidate, Chunk, Scanner
    from backupd.intake.settling import Settling


class Finder:
    """Makes rows for new files. `found` counts these by what found them."""

    def __init__(
        self, ledger: IntakeLedger, health: FeedHealth, scanner: Scanner, settling: Settling
    ) -> None:
        self.found: Counter[str] = Counter()
        self._ledger = ledger
        self._health = health
        self._scanner = scanner
        self._settling = settling

    async def scan(self, roots: Iterable[Root], source: str, *, companions: bool) -> None:
        """Look at all that stands in these feed directories.

        `companions`: wake the files that wait for those that are there. Their events do so as they
        come; a scan has to where events were lost.
        """
        for root in roots:
            async for chunk in _chunks(self._scanner.walk(root, root.directory)):
                if not companions:
                    chunk.companions.clear()
                await self._take(chunk, source)

    async def follow(self, hints: Hints, feeds: FeedMap) -> None:
        """Look where events pointed: at names first, then at all that is in new directories."""
        for directory, names in hints.names.items():
            await self._follow_names(directory, list(names), feeds)
        for tree in hints.trees:
            await self._follow_tree(tree, feeds)

    async def _follow_names(self, directory: str, names: list[str], feeds: FeedMap) -> None:
        matchers = feeds.matchers(directory)
        for start in range(0, len(names), CHUNK):
            some = names[start : start + CHUNK]
            await self._take(
                await asyncio.to_thread(self._scanner.look, directory, some, matchers), "events"
            )

    async def _follow_tree(self, tree: str, feeds: FeedMap) -> None:
        parent, name = posixpath.split(tree)
        roots = [root for root in feeds.roots_of(parent) if root.recursive]
        if not roots:  # a directory where files belong: it can only be an oddity
            await self._follow_names(parent, [name], feeds)
        elif not name.startswith("."):
            for root in roots:
                async for chunk in _chunks(self._scanner.walk(root, tree)):
                    chunk.companions.clear()  # later ones come as events of their own
                    await self._take(chunk, "events")

    async def _take(self, chunk: Chunk, source: str) -> None:
        """Make rows for the files that the ledger does not know as they are."""
        candidates = chunk.candidates
        while candidates:
            candidates = await self._register(candidates, source)
        if chunk.companions:
            await self._settling.companions_came(chunk.companions)

    async def _register(self, candidates: Sequence[Candidate], source: str) -> list[Candidate]:
        """Make rows; return what has to be looked at again.

        A name may have been listed before its file was removed, so that what the ledger does not
        know is looked at once more after the ledger was asked.
        """
        known = await self._ledger.known([each.path for each in candidates])
        unknown = [each for each in candidates if self._is_unknown(each, known)]
        if not unknown:
            return []
        looked = await asyncio.to_thread(self._scanner.look_again, unknown)
        looked = [each for each in looked if self._is_unknown(each, known)]
        now = time.time()
        seen = await self._ledger.see([self._sighting(each, known, now) for each in looked])
        self.found[source] += seen.count(Seen.NEW)
        pairs = zip(looked, seen, strict=True)
        return [each for each, answer in pairs if answer is Seen.LOOK_AGAIN]

    def _is_unknown(self, candidate: Candidate, known: Mapping[str, Known]) -> bool:
        there = known.get(candidate.path)
        if there is not None and there.identity == candidate.identity:
            return False
        return candidate.matcher.feed.name not in self._health.away

    def _sighting(self, found: Candidate, known: Mapping[str, Known], now: float) -> Sighting:
        there = known.get(found.path)
        sighting = found.matcher.sighting(found.path, found.identity, now)
        sighting = replace(sighting, knew=None if there is None else there.last_id)
        return self._settling.first_sight(sighting)


async def _chunks(chunks: Iterator[Chunk]) -> AsyncIterator[Chunk]:
    """Yield what a blocking iterator has, each chunk made in a thread."""
    while (chunk := await asyncio.to_thread(next, chunks, None)) is not None:
        yield chunk
