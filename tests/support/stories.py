"""Brings files to where a test wants them, by the verbs that the daemon uses."""

from __future__ import annotations

import asyncio
import hashlib
import os
import threading
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from backupd.config import load
from backupd.control import ControlServer
from backupd.core import moves
from backupd.core.incidents import went_down
from backupd.core.records import Identity, Move, Receipt, Result, Seen, Sighting, VerifiedBy
from backupd.core.stages import Stage, Status
from backupd.ledger import Ledger, files, reports
from support import configs
from support.ledgers import looked_at

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterator

    from backupd.config.sections import Config
    from backupd.core.records import FileRecord

T = TypeVar("T")

NOON = 1_795_435_200.0  # 2026-11-23 12:00:00 UTC


def write_config(tmp_path: Path, changes: configs.Changes | None = None) -> Path:
    """A small valid config whose daemon keeps all that it has below tmp_path."""
    own: configs.Changes = {
        "control.socket": '"TMP/control.sock"',
        "warehouse.embedded.root": '"TMP/warehouse"',
    }
    return configs.write(tmp_path, own | (changes or {}))


def prepare(config_path: Path, story: Callable[[Maker], Awaitable[T]]) -> T:
    """Open the config's ledger, let the story happen in it, close it; return what it returns."""
    config = load(config_path, environ={})

    async def tell() -> T:
        ledger = Ledger(config.ledger.path)
        try:
            return await story(Maker(ledger, config))
        finally:
            await ledger.close()

    return asyncio.run(tell())


@contextmanager
def answering_daemon(config_path: Path) -> Iterator[None]:
    """Hold the ledger and answer on the control socket, in another thread, as a daemon does."""
    config = load(config_path, environ={})
    ready, over = threading.Event(), threading.Event()

    async def serve() -> None:
        ledger = Ledger(config.ledger.path)
        try:
            async with ControlServer(config.control.socket, ledger):
                ready.set()
                await asyncio.to_thread(over.wait)
        finally:
            await ledger.close()

    thread = threading.Thread(target=lambda: asyncio.run(serve()))
    thread.start()
    try:
        assert ready.wait(10)
        yield
    finally:
        over.set()
        thread.join()


class Maker:
    """Makes local files and brings them on, one at a time: `seen`, then `to` a stage or `done`.

    Time goes on by a second with every step, from `now`.
    """

    def __init__(self, ledger: Ledger, config: Config, now: float = NOON) -> None:
        self.ledger = ledger
        self.config = config
        self.now = now
        self._feeds = {feed.name: feed for feed in config.feeds}

    async def seen(
        self, name: str, *, feed: str = "traffic/a", content: bytes = b"h\n1;2\n"
    ) -> FileRecord:
        """Write a file into the feed's directory and have the ledger see it."""
        path = f"{self._feeds[feed].directory}/{name}"
        Path(path).write_bytes(content)
        sighting = Sighting(
            feed=self._feeds[feed],
            path=path,
            relative_path=name,
            identity=Identity.of(os.lstat(path)),
            companion_path=None,
            seen_at=self._tick(),
        )
        assert await looked_at(self.ledger, sighting) == [Seen.NEW]
        found = await self.ledger.ask(reports.matching, path)
        return found[-1]

    async def to(self, file: FileRecord, stage: Stage) -> FileRecord:
        """Bring a file on, until it waits at this stage. Others may come along in its batches."""
        while file.stage is not stage:
            file = await self._step(file)
        return file

    async def done(self, file: FileRecord) -> FileRecord:
        """Bring a file through every stage; its local copy is deleted."""
        file = await self.to(file, Stage.CLEANUP)
        Path(file.path).unlink()
        result = Result(changes={"local": False}, detail="local copy deleted")
        return await self._finish(file, result)

    async def parked(self, file: FileRecord, reason: str) -> FileRecord:
        """Park it where it is."""
        return await self.moved(moves.parked(file, reason, self._tick()))

    async def waiting(self, file: FileRecord, **changes: object) -> FileRecord:
        """Change what is known of a waiting file."""
        return await self.moved(
            Move(
                file=file,
                stage=file.stage,
                status=Status.WAITING,
                changes=changes,
                at=self._tick(),
                detail=str(changes.get("reason", "")),
            )
        )

    async def moved(self, move: Move) -> FileRecord:
        """Apply a move that must not fail."""
        assert await self.ledger.move([move]) == [True]
        return await self.again(move.file)

    async def claimed(self, file: FileRecord) -> FileRecord:
        """Make it run. Others that are due are given back as they were."""
        claimed = await self.ledger.claim(file.stage, 1000, self._tick(), [file.feed])
        others = [each for each in claimed if each.id != file.id]
        await self.ledger.move([moves.given_back(o, o.reason, self.now, self.now) for o in others])
        (mine,) = (each for each in claimed if each.id == file.id)
        return mine

    async def outage(self, name: str, reason: str) -> None:
        """Note that a dependency is down, to be tried again in a minute."""
        down = went_down(name, self.now)
        outage = replace(down, reason=reason, trials=2, next_try_at=self.now + 60)
        await self.ledger.note_incidents([outage])

    async def _step(self, file: FileRecord) -> FileRecord:
        match file.stage:
            case Stage.SETTLE:
                return await self._finish(file, Result(changes={}, detail="complete"))
            case Stage.MANIFEST:
                return await self._counted(file)
            case Stage.LOAD | Stage.MERGE:
                return await self._merged(file)
            case _:
                return await self._shipped(file)

    async def _counted(self, file: FileRecord) -> FileRecord:
        content = Path(file.path).read_bytes()
        changes = {
            "size_bytes": len(content),
            "record_count": max(content.count(b"\n") - 1, 0),
            "sha256": hashlib.sha256(content).hexdigest(),
            "row_id": file.id,
            "file_timestamp": NOON,
            "archive_name": f"{file.feed}/{file.relative_path}.gz",
        }
        running = await self.claimed(file)
        result = Result(changes=changes, detail="counted and hashed")
        await self.ledger.manifest_done([moves.advance(running, result, self._tick())])
        return await self.again(file)

    async def _merged(self, file: FileRecord) -> FileRecord:
        if file.batch_id is None:
            await self.ledger.form_batch(500, self._tick())
        batch = await self.ledger.claim_batch(file.stage, self._tick())
        assert batch is not None
        now, staging = self._tick(), f"/staging/{batch.id}"
        is_load = file.stage is Stage.LOAD
        move = (
            moves.batch_advanced(batch, staging, now) if is_load else moves.batch_merged(batch, now)
        )
        assert await self.ledger.move_batch(move)
        return await self.again(file)

    async def _shipped(self, file: FileRecord) -> FileRecord:
        assert file.archive_name is not None
        assert file.sha256 is not None
        receipt = Receipt(
            file_id=file.id,
            archive_name=file.archive_name,
            sha256=file.sha256,
            sent_sha256="5e" * 32,
            remote_sha256="5e" * 32,
            sent_bytes=40,
            verified_by=VerifiedBy.READBACK,
            named_by="link",
            flushed=True,
            shipped_at=self.now,
            verified_at=self.now,
        )
        return await self._finish(
            file, Result(changes={}, detail="in the archive", receipt=receipt)
        )

    async def _finish(self, file: FileRecord, result: Result) -> FileRecord:
        running = file if file.stage is Stage.SETTLE else await self.claimed(file)
        return await self.moved(moves.advance(running, result, self._tick()))

    async def again(self, file: FileRecord) -> FileRecord:
        """What the ledger holds of it now."""
        (found,) = await self.ledger.ask(files.by_ids, [file.id])
        return found

    def _tick(self) -> float:
        self.now += 1
        return self.now
