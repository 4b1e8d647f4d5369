"""Brings what scans and hints show into the ledger, and what a cleanup left aside."""

from __future__ import annotations

import posixpath
import time
from collections import Counter, defaultdict
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING

import structlog

from backupd.core.names import aside_name, escaped, parse_aside, was_shortened
from backupd.core.records import Seen
from backupd.core.stages import Stage, Status
from backupd.core.threads import in_steps
from backupd.intake.kept import KeptFiles
from backupd.intake.late import LateCompanions
from backupd.intake.moved import MovedFiles
from backupd.intake.observer import Hints
from backupd.intake.oddities import KEPT, Oddities, Tally, unseen
from backupd.intake.scan import Tree, feed_of
from backupd.intake.turns import Turns
from backupd.localfs import removal
from backupd.localfs.removal import KeptAsideError
from backupd.localfs.roots import open_root

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterable, Iterator, Mapping, Sequence

    from backupd.core.records import FileRecord, Known, Sighting
    from backupd.core.threads import DirectoryThreads
    from backupd.core.untaken import Trouble
    from backupd.intake.health import FeedHealth
    from backupd.intake.matching import FeedMap, Root
    from backupd.intake.ports import IntakeLedger
    from backupd.intake.scan import Candidate, Chunk, Entry, Scanner
    from backupd.intake.settling import Settling

log = structlog.get_logger()

_GOES_ON = {Status.WAITING, Status.RUNNING}
_LOOKS = 10  # at a name that changes each time: an event or the next scan finds it


class Finder:
    """Makes rows for new files. `found` counts these by what found them."""

    def __init__(
        self,
        ledger: IntakeLedger,
        health: FeedHealth,
        threads: DirectoryThreads,
        scanner: Scanner,
        settling: Settling,
    ) -> None:
        self.found: Counter[str] = Counter()
        self.oddities = Oddities()
        self.kept = KeptFiles(ledger, threads, self._take_changed)
        self._late = LateCompanions(ledger, settling.settings)
        self._ledger = ledger
        self._health = health
        self._threads = threads
        self._scanner = scanner
        self._settling = settling
        self._moved = MovedFiles(ledger)

    async def scan(self, roots: Iterable[Root], source: str, *, companions: bool) -> None:
        """Look at all that stands in these feed directories.

        `companions`: wake the files that wait for those that are there. Their events do so as they
        come; a scan has to where events were lost.
        """
        turns = Turns(self._threads)
        await turns.take(
            (tree.root.directory, partial(self._scan, turns, tree, source, companions=companions))
            for tree in self.trees(roots)
        )

    async def follow(self, hints: Hints, feeds: FeedMap) -> None:
        """Look where events pointed: at names first, then at all that is in new directories."""
        turns, by_root = Turns(self._threads), _by_root(hints, feeds)
        await turns.take(
            (tree.root.directory, partial(self._follow, turns, tree, by_root[tree.root]))
            for tree in self.trees(by_root)
        )

    def trees(self, roots: Iterable[Root]) -> Iterator[Tree]:
        """Yield those of the feed directories that are there."""
        all_roots = {(each.dev, each.ino): each.path for each in self._health.roots.values()}
        for root in roots:
            feed_root = self._health.roots.get(root.matchers[0].feed.name)
            if feed_root is not None:
                yield Tree(root, feed_root, all_roots, self._health.claimed)

    async def _scan(self, turns: Turns, tree: Tree, source: str, *, companions: bool) -> None:
        odd = self.oddities.begin(tree.root.directory)
        async for chunk in _chunks(turns, tree, self._scanner.walk(tree, odd)):
            await self._late.count(turns, tree, chunk)
            if not companions:
                chunk.companions.clear()
            await self._take(turns, tree, chunk, source)
        self.oddities.end(tree.root.directory, odd)

    async def _follow(self, turns: Turns, tree: Tree, hints: Hints) -> None:
        for directory, names in hints.names.items():
            odd, below = Tally(), tree.below(directory)
            async for chunk in _chunks(turns, tree, self._scanner.look(tree, odd, below, names)):
                await self._take(turns, tree, chunk, "events")
            self.oddities.add(tree.root.directory, odd)
        for directory in hints.trees:
            odd, below = Tally(), tree.below(directory)
            async for chunk in _chunks(turns, tree, self._scanner.walk(tree, odd, below)):
                chunk.companions.clear()  # later ones come as events of their own
                await self._take(turns, tree, chunk, "events")
            self.oddities.add(tree.root.directory, odd)

    async def _take(self, turns: Turns, tree: Tree, chunk: Chunk, source: str) -> None:
        """Make rows for the files that the ledger does not know as they are."""
        candidates = [
            each for each in chunk.candidates if each.matcher.feed.name not in self._health.away
        ]
        for _ in range(_LOOKS):
            if not candidates:
                break
            candidates = await self._see(turns, tree, candidates, source, chunk.odd)
        if chunk.companions:
            await self._settling.companions_came(tree.root.directory, chunk.companions)
        for aside in chunk.asides:
            await self._see_to(turns, tree, aside, chunk.odd)

    async def _see(
        self, turns: Turns, tree: Tree, candidates: Sequence[Candidate], source: str, odd: Tally
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
        new = await self._moved.take(turns, tree, new)
        if not new:
            return []
        run = partial(turns.run, tree.root.directory)
        there = await in_steps(run, self._scanner.look_again(tree, new, odd))
        return await self._make_rows(there, known, source)

    async def _take_changed(self, tree: Tree, candidate: Candidate) -> None:
        """Make a row for a kept file whose content is another one by now."""
        known = await self._ledger.known([candidate.path])
        run = partial(self._threads.run, tree.root.directory)
        there = await in_steps(run, self._scanner.look_again(tree, [candidate], Tally()))
        await self._make_rows(there, known, "rescan")

    async def _make_rows(
        self, there: Sequence[Candidate], known: Mapping[str, Known], source: str
    ) -> list[Candidate]:
        """Make rows; return what has to be looked at again."""
        now = time.time()
        seen = await self._ledger.see(
            [
                self._settling.first_sight(_sighting(each, known.get(each.path), now))
                for each in there
            ]
        )
        self.found[source] += seen.count(Seen.NEW)
        return [each for each, answer in zip(there, seen, strict=True) if answer is Seen.LOOK_AGAIN]

    async def _see_to(self, turns: Turns, tree: Tree, entry: Entry, odd: Tally) -> None:
        """Put back what a cleanup has moved aside and left, unless it will go on with it itself."""
        file = await self._ledger.file(id_of_aside(entry.name))
        if file is None or file.stage is not Stage.CLEANUP or file.status not in _GOES_ON:
            trouble = await turns.run(tree.root.directory, partial(put_back, tree, entry, file))
            if trouble:
                feed = feed_of(tree.root.at(entry.below), entry.name)
                odd.add(feed, trouble, tree.path(entry.below, entry.name))


def _by_root(hints: Hints, feeds: FeedMap) -> dict[Root, Hints]:
    """Sort hints by the feed directories that have a say in them."""
    sorted_: defaultdict[Root, Hints] = defaultdict(Hints)
    for directory, names in hints.names.items():
        for root in feeds.roots_of(directory):
            sorted_[root].names[directory] = names
    for directory in hints.trees:
        parent, name = posixpath.split(directory)
        for root in feeds.roots_of(parent):
            if root.recursive and not name.startswith("."):
                sorted_[root].trees.add(directory)
    return sorted_


async def _chunks(turns: Turns, tree: Tree, chunks: Iterator[Chunk]) -> AsyncIterator[Chunk]:
    """Yield what a blocking iterator has, each chunk made in a thread."""
    next_chunk = partial(next, chunks, None)
    while (chunk := await turns.run(tree.root.directory, next_chunk)) is not None:
        yield chunk


def _sighting(candidate: Candidate, known: Known | None, now: float) -> Sighting:
    sighting = candidate.matcher.sighting(candidate.path, candidate.identity, now)
    return replace(sighting, knew=known.last_id if known else None)


def id_of_aside(aside: str) -> str:
    """Return the id of the file that was moved aside, "" for a name that is none of ours."""
    parsed = parse_aside(aside)
    return parsed[1] if parsed else ""


def put_back(tree: Tree, entry: Entry, file: FileRecord | None) -> Trouble | None:
    """Give it its name back: it is then seen like any other file. Blocking.

    `file` is what the ledger knows of it. Where its name is taken, it gets one that says so, which
    the next scan finds. Returns why it stays as it is; None: it does not.
    """
    name = next(_names(entry.name, file), None)
    if name is None:
        return KEPT
    try:
        with open_root(tree.feed_root) as top, top.directory(entry.below) as directory:
            if removal.put_back(directory, entry.name, name):
                path = escaped(tree.path(entry.below, entry.name))
                log.warning("put back what a removal left aside", file=path, name=escaped(name))
    except KeptAsideError as kept:
        path = escaped(tree.path(entry.below, kept.name))
        log.warning("kept what a removal left aside", file=path, why="its name is taken")
    except OSError as error:
        return unseen("cannot be put back to its name", error)
    return None


def _names(aside: str, file: FileRecord | None) -> Iterator[str]:
    """Yield the names that the file may have had."""
    known = [file.file_name, (file.companion_path or "").rpartition("/")[2]] if file else []
    yield from (name for name in known if aside_name(name, id_of_aside(aside)) == aside)
    parsed = parse_aside(aside)
    if parsed and not was_shortened(parsed[0]):
        yield parsed[0]
