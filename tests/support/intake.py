"""What the tests of intake share: feeds, records, and intake running on a real ledger."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import pytest

from backupd.config.sections import IntakeSection
from backupd.core.records import CompanionRule, Feed, FileRecord, Identity
from backupd.core.stages import Stage, Status
from backupd.intake.service import Intake
from backupd.ledger import reports
from backupd.ledger.ledger import Ledger

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
    from pathlib import Path

PATIENCE = 60.0  # seconds until a condition that does not come true fails its test


def a_feed(directory: Path | str, **changes: object) -> Feed:
    values: dict[str, Any] = {
        "file_type": "traffic",
        "customer": "eLUX",
        "directory": str(directory),
        "pattern": "eLUX_*.csv",
        "timestamp_regex": None,
        "timestamp_format": "",
        "header_lines": 1,
        "recursive": False,
        "archive_directory": "eLUX/traffic",
        "companion": None,
        **changes,
    }
    return Feed(**values)


def a_rule(**changes: object) -> CompanionRule:
    values: dict[str, Any] = {"suffix": ".cksum", "algorithm": "cksum", "required": True, **changes}
    return CompanionRule(**values)


def an_identity(**changes: int) -> Identity:
    values: dict[str, Any] = {
        "dev": 1,
        "ino": 2,
        "size": 10,
        "mtime_ns": 0,
        "ctime_ns": 0,
        **changes,
    }
    return Identity(**values)


def a_settling_file(**changes: object) -> FileRecord:
    values: dict[str, Any] = {
        "id": "f1",
        "feed": "traffic/eLUX",
        "file_type": "traffic",
        "customer": "eLUX",
        "path": "/feed/eLUX_1.csv",
        "relative_path": "eLUX_1.csv",
        "stage": Stage.SETTLE,
        "status": Status.WAITING,
        "reason": "seen just now",
        "attempts": 0,
        "interruptions": 0,
        "claims": 0,
        "next_attempt_at": 0.0,
        "awaits": "",
        "stage_since": 0.0,
        "first_seen_at": 0.0,
        "done_at": None,
        "identity": an_identity(),
        "unchanged_since": 0.0,
        "local": True,
        "companion_path": "/feed/eLUX_1.cksum",
        "companion_text": None,
        "disagreement": None,
        "size_bytes": None,
        "record_count": None,
        "sha256": None,
        "file_timestamp": None,
        "batch_id": None,
        "row_seen_at": None,
        "duplicate_of": None,
        "archive_name": None,
        **changes,
    }
    return FileRecord(**values)


def a_section(**changes: object) -> IntakeSection:
    values: dict[str, Any] = {
        "mode": "auto",
        "rescan_every": 3600.0,
        "settle_for": 0.1,
        "open_files": "auto",
        **changes,
    }
    return IntakeSection(**values)


async def eventually(
    true: Callable[[], Awaitable[object]], told: Callable[[], str], patience: float = PATIENCE
) -> None:
    """Wait until a condition is true; fail the test with what is `told` when it never is."""
    try:
        async with asyncio.timeout(patience):
            while not await true():  # noqa: ASYNC110 - what is looked at sets no event
                await asyncio.sleep(0.01)
    except TimeoutError:
        pytest.fail(f"never came true: {told()}")


class Watched:
    """Intake at work, and what the ledger says of it."""

    def __init__(self, intake: Intake, ledger: Ledger) -> None:
        self.intake = intake
        self.ledger = ledger

    async def files(self) -> list[FileRecord]:
        return await self.ledger.ask(lambda c: list(reports.select(c, reports.Wanted())))

    async def until(self, true: Callable[[list[FileRecord]], object]) -> list[FileRecord]:
        """Wait until this is true of the ledger's files, then return them."""
        files: list[FileRecord] = []

        async def look() -> object:
            files[:] = await self.files()
            return true(files)

        await eventually(look, lambda: str([_told(file) for file in files[:20]]))
        return files

    async def found(self, count: int, patience: float = PATIENCE) -> None:
        """Wait until so many files were found."""

        async def look() -> bool:
            return sum(self.intake.found.values()) == count

        await eventually(look, lambda: str(self.intake.found), patience)

    async def away(self, *feeds: str) -> None:
        """Wait until these feeds are away, and no others."""

        async def look() -> bool:
            return self.intake.health.away.keys() == set(feeds)

        await eventually(look, lambda: str(self.intake.health.away))

    async def reaches(self, name: str, stage: Stage, status: Status) -> FileRecord:
        """Wait until the newest file of this name stands there."""
        return await self.until_one(name, lambda file: (file.stage, file.status) == (stage, status))

    async def until_one(self, name: str, true: Callable[[FileRecord], object]) -> FileRecord:
        """Wait until this is true of the newest file of this name."""
        files = await self.until(lambda files: any(map(true, _newest(files, name))))
        return _newest(files, name)[0]


def _told(file: FileRecord) -> tuple[str, ...]:
    return file.file_name, file.stage, file.status, file.reason


def _newest(files: list[FileRecord], name: str) -> list[FileRecord]:
    return [file for file in files if file.relative_path == name][-1:]


@asynccontextmanager
async def watching(
    directory: Path, feeds: Iterable[Feed], **section: object
) -> AsyncIterator[Watched]:
    """Run intake on a ledger in `directory`, until the block ends."""
    ledger = Ledger(directory / "ledger.db")
    intake = Intake(a_section(**section), feeds, ledger)
    stop = asyncio.Event()
    running = asyncio.create_task(intake.run(stop))
    try:
        async with asyncio.timeout(PATIENCE):
            await intake.ready.wait()
        yield Watched(intake, ledger)
    finally:
        stop.set()
        await running
        await ledger.close()
