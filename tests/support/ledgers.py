"""A real ledger, files put into it at any stage, and lanes at work on it."""

from __future__ import annotations

import asyncio
import hashlib
import time
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa

from backupd.core.moves import RetryPolicy
from backupd.core.records import FeedRoot, Result
from backupd.core.stages import Stage
from backupd.ledger import Ledger, batches, files, reports, schema, stories
from backupd.ledger.folding import fold
from backupd.ledger.rows import new_file_row
from backupd.worker import Breakers, WorkerContext
from support.done_files import a_receipt, events_of
from support.files import a_sighting
from support.intake import PATIENCE, a_feed, eventually

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Coroutine, Sequence
    from pathlib import Path

    from backupd.core.records import Batch, Event, Feed, FileRecord, Seen, Sighting

FEED = a_feed("/feed")
OTHER = a_feed("/other", customer="SKYROAM")
FEEDS = [FEED.name, OTHER.name]
WELL = Result(changes={}, detail="well")
QUICK = RetryPolicy(first=0.02, cap=0.1, attempts=3, jitter=lambda: 1.0)


@asynccontextmanager
async def opened(path: Path) -> AsyncIterator[Ledger]:
    """Open a ledger, close it in the end."""
    ledger = Ledger(path)
    try:
        yield ledger
    finally:
        await ledger.close()


async def plant(ledger: Ledger, *files: FileRecord) -> list[FileRecord]:
    """Put files into the ledger as they are, wherever they stand."""
    await ledger._writer.apply(_plant, files)
    ledger.wake(*Stage)
    return list(files)


async def finished(ledger: Ledger, *done: FileRecord, receipts: bool = True) -> list[FileRecord]:
    """Have these done files in the ledger, with their receipts and events, folded."""
    await plant(ledger, *done)
    foldings = [_folding(file, receipts=receipts) for file in done]
    await ledger._writer.apply(_plant_stories, foldings)
    return list(done)


def _folding(file: FileRecord, *, receipts: bool) -> stories.Folding:
    receipt = a_receipt(file) if receipts and file.duplicate_of is None else None
    return stories.Folding(
        file_id=file.id,
        last_seq=0,
        has_receipt=receipt is not None,
        body=fold(events_of(file), receipt),
    )


def _plant_stories(connection: sa.Connection, foldings: Sequence[stories.Folding]) -> list[None]:
    stories._WRITE.run_all(connection, [stories._keys(item) for item in foldings])
    return [None] * len(foldings)


def numbered(file: FileRecord, count: int) -> list[FileRecord]:
    """Return so many files like this one, each with a path and an id of its own."""
    return [
        replace(
            file,
            id=f"{number:020x}",
            row_id=f"{number:020x}",
            path=f"{file.path}{number:05d}",
            relative_path=f"{file.relative_path}{number:05d}",
        )
        for number in range(count)
    ]


async def looked_at(ledger: Ledger, *sightings: Sighting) -> list[Seen]:
    """Hand over what was seen as intake does: the ledger was asked before."""
    known = await ledger.known([each.path for each in sightings])
    knew = {path: found.last_id for path, found in known.items()}
    return await ledger.see([replace(each, knew=knew.get(each.path)) for each in sightings])


async def files_of(ledger: Ledger) -> list[FileRecord]:
    """Return every file."""
    return await ledger.ask(reports.select, reports.Wanted())


async def one(ledger: Ledger, file_id: str) -> FileRecord:
    """Return the file of this id."""
    (file,) = await ledger.ask(files.by_ids, [file_id])
    return file


async def open_batches(ledger: Ledger) -> list[Batch]:
    """Return every batch that is not done."""
    ids = await ledger.ask(batches.open_batches)
    found = [await ledger.ask(batches.batch, batch_id) for batch_id in ids]
    return [batch for batch in found if batch is not None]


async def story(ledger: Ledger, file_id: str) -> list[tuple[str, str, str]]:
    """Return a file's history: stage, status and detail of each line."""
    events: list[Event] = await ledger.ask(reports.history, file_id)
    return [(event.stage, event.status, event.detail) for event in events]


def digests(directory: Path) -> dict[str, str]:
    """What the ledger and its log hold; a log that holds nothing does not count."""
    return {
        path.name: hashlib.sha256(path.read_bytes()).hexdigest()
        for path in directory.iterdir()
        if not path.name.endswith((".lock", "-shm")) and path.stat().st_size
    }


async def filled(path: Path, files: int = 200) -> None:
    """Make a ledger of so many files that settle, and close it."""
    async with opened(path) as ledger:
        await ledger.see([a_sighting(f"/feed/{n}") for n in range(files)])


def _plant(connection: sa.Connection, files: Sequence[FileRecord]) -> list[None]:
    connection.execute(sa.insert(schema.files), [new_file_row(file) for file in files])
    return [None] * len(files)


@dataclass(kw_only=True)
class Bench:
    """A context on a real ledger, whose lanes run for as long as `at_work` is entered."""

    ledger: Ledger
    feeds: Sequence[Feed]
    policy: RetryPolicy = QUICK
    away: dict[str, str] = field(default_factory=dict)
    ahead: float = 0.0  # seconds that its clock is ahead of the real one

    def __post_init__(self) -> None:
        self.context = WorkerContext(
            ledger=self.ledger,
            feeds={feed.name: feed for feed in self.feeds},
            policy=self.policy,
            breakers=Breakers(self.ledger, self.policy, self.now),
            roots=self.roots,
            now=self.now,
            since=time.time(),
            stop=asyncio.Event(),
        )

    def roots(self) -> dict[str, FeedRoot]:
        """Return the directories of the feeds that are not away: such as need not be there."""
        names = [feed.name for feed in self.feeds if feed.name not in self.away]
        return {name: FeedRoot(path="/feed", dev=0, ino=0) for name in names}

    def now(self) -> float:
        return time.time() + self.ahead

    async def take_turns(self) -> int:
        """Let everything else have many turns; return how often the ledger was written then."""
        before = self.ledger.commits
        for _ in range(50):
            await self.ledger.ask(files.not_done)
        return self.ledger.commits - before

    @asynccontextmanager
    async def at_work(self, *lanes: Coroutine[Any, Any, None]) -> AsyncIterator[None]:
        """Run these lanes, then stop them as the daemon does and wait until they ended."""
        tasks = [asyncio.create_task(lane) for lane in lanes]
        try:
            yield
        finally:
            self.context.stop.set()
            self.ledger.wake(*Stage)
            async with asyncio.timeout(PATIENCE):
                await asyncio.gather(*tasks)

    async def until(self, true: Callable[[list[FileRecord]], object]) -> list[FileRecord]:
        """Wait until this is true of the ledger's files, then return them."""
        files: list[FileRecord] = []

        async def look() -> object:
            files[:] = await files_of(self.ledger)
            return true(files)

        await eventually(look, lambda: str([(f.stage, f.status, f.reason) for f in files[:20]]))
        return files
