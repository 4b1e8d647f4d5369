"""Brings what scans and hints show into the ledger."""

from __future__ import annotations

import asyncio
import posixpath
import time
from collections import Counter
from dataclasses import replace
from typing import TYPE_CHECKING

from backupd.core.records import Seen
from backupd.core.stages import Stage, Status
from backupd.intake.asides import id_of_aside, put_back
from backupd.intake.kept import KeptFiles
from backupd.intake.late import LateCompanions
from backupd.intake.moved import MovedFiles
from backupd.intake.oddities import Oddities, Tally
from backupd.intake.scan import CHUNK, Tree, feed_of

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterable, Iterator, Mapping, Sequence

    from backupd.core.records import Known, Sighting
    from backupd.intake.health import FeedHealth
    from backupd.intake.hints import Hints
    from backupd.intake.matching import FeedMap, Root
    from backupd.intake.ports import IntakeLedger
    from backupd.intake.scan import Candidate, Chunk, Entry, Scanner
    from backupd.intake.settling import Settling

_GOES_ON = {Status.WAITING, Status.RUNNING}
_LOOKS = 10  # at a name that changes each time: an event or the next scan finds it


class Finder:
    """Makes rows for new files. `found` counts these by what found them."""

    def __init__(
        self, ledger: IntakeLedger, health: FeedHealth, scanner: Scanner, settling: Settling
    ) -> None:
        self.found: Counter[str] = Counter()
        self.oddities = Oddities()
        self.kept = KeptFiles(ledger, self._take_changed)
        self._late = LateCompanions(ledger, settling.settings)
        self._ledger = ledger
        self._health = health
        self._scanner = scanner
        self._settling = settling
        self._moved = MovedFiles(ledger)

    async def scan(self, roots: Iterable[Root], source: str, *, companions: bool) -> None:
        """Look at all that stands in these feed directories.

        `companions`: wake the files that wait for those that are there. Their events do so as they
        come; a scan has to where events were lost.
        """
        for tree in self.trees(roots):
            odd = self.oddities.begin(tree.root.directory)
            async for chunk in _chunks(self._scanner.walk(tree, odd)):
                await self._late.count(tree, chunk)
                if not companions:
                    chunk.companions.clear()
                await self._take(tree, chunk, source)
            self.oddities.end(tree.root.directory, odd)

    async def follow(self, hints: Hints, feeds: FeedMap) -> None:
        """Look where events pointed: at names first, then at all that is in new directories."""
        for directory, names in hints.names.items():
            await self._follow_names(directory, list(names), feeds)
        for tree in hints.trees:
            await self._follow_tree(tree, feeds)

    def trees(self, roots: Iterable[Root]) -> Iterator[Tree]:
        """Yield those of the feed directories that are there."""
        all_roots = {(each.dev, each.ino): each.path for each in self._health.roots.values()}
        for root in roots:
            feed_root = self._health.roots.get(root.matchers[0].feed.name)
            if feed_root is not None:
                yield Tree(root, feed_root, all_roots)

    async def _follow_names(self, directory: str, names: list[str], feeds: FeedMap) -> None:
        for tree in self.trees(feeds.roots_of(directory)):
            below = tree.below(directory)
            for start in range(0, len(names), CHUNK):
                some = names[start : start + CHUNK]
                chunk = await asyncio.to_thread(self._scanner.look, tree, below, some)
                await self._take(tree, chunk, "events")
                self.oddities.add(tree.root.directory, chunk.odd)

    async def _follow_tree(self, directory: str, feeds: FeedMap) -> None:
        parent, name = posixpath.split(directory)
        if name.startswith("."):
            return
        for tree in self.trees([root for root in feeds.roots_of(parent) if root.recursive]):
            odd, below = Tally(), tree.below(directory)
            async for chunk in _chunks(self._scanner.walk(tree, odd, below)):
                chunk.companions.clear()  # later ones come as events of their own
                await self._take(tree, chunk, "events")
            self.oddities.add(tree.root.directory, odd)

    async def _take(self, tree: Tree, chunk: Chunk, source: str) -> None:
        """Make rows for the files that the ledger does not know as they are."""
        candidates = [
            each for each in chunk.candidates if each.matcher.feed.name not in self._health.away
        ]
        for _ in range(_LOOKS):
            if not candidates:
                break
            candidates = await self._see(tree, candidates, source)
        if chunk.companions:
            await self._settling.companions_came(chunk.companions)
        for aside in chunk.asides:
            await self._see_to(tree, aside, chunk.odd)

    async def _see(
        self, tree: Tree, candidates: Sequence[Candidate], source: str
    ) -> list[Candidate]:
        """Make rows for what is new; return what has to be looked at again.

        Files are looked at once more after the ledger was: what cleanup has removed meanwhile would
        be taken for new otherwise. Of kept files, those with other content are taken later.
        """
        known = await self._ledger.known([each.path for each in candidates])
        unknown = [
            each
            for each in candidates
            if each.path not in known or known[each.path].identity != each.identity
        ]
        new = [each for each in unknown if not self.kept.put_off(tree, each, known.get(each.path))]
        new = await self._moved.take(tree, new)
        return await self._make_rows(tree, new, known, source) if new else []

    async def _take_changed(self, tree: Tree, candidate: Candidate) -> None:
        """Make a row for a kept file whose content is another one by now."""
        known = await self._ledger.known([candidate.path])
        await self._make_rows(tree, [candidate], known, "rescan")

    async def _make_rows(
        self, tree: Tree, unknown: Sequence[Candidate], known: Mapping[str, Known], source: str
    ) -> list[Candidate]:
        """Make rows for what is still there; return what has to be looked at again."""
        there = await asyncio.to_thread(self._scanner.look_again, tree, unknown)
        now = time.time()
        seen = await self._ledger.see(
            [
                self._settling.first_sight(_sighting(each, known.get(each.path), now))
                for each in there
            ]
        )
        self.found[source] += seen.count(Seen.NEW)
        return [each for each, answer in zip(there, seen, strict=True) if answer is Seen.LOOK_AGAIN]

    async def _see_to(self, tree: Tree, entry: Entry, odd: Tally) -> None:
        """Put back what a cleanup has moved aside and left, unless it will go on with it itself."""
        file = await self._ledger.file(id_of_aside(entry.name))
        if file is None or file.stage is not Stage.CLEANUP or file.status not in _GOES_ON:
            trouble = await asyncio.to_thread(put_back, tree, entry, file)
            if trouble:
                feed = feed_of(tree.root.at(entry.below), entry.name)
                odd.add(feed, trouble, tree.path(entry.below, entry.name))


def _sighting(candidate: Candidate, known: Known | None, now: float) -> Sighting:
    sighting = candidate.matcher.sighting(candidate.path, candidate.identity, now)
    return replace(sighting, knew=known.last_id if known else None)


async def _chunks(chunks: Iterator[Chunk]) -> AsyncIterator[Chunk]:
    """Yield what a blocking iterator has, each chunk made in a thread."""
    while (chunk := await asyncio.to_thread(next, chunks, None)) is not None:
        yield chunk
