"""What the ledger knows of the files of one day: counts, and how long they took to the archive."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
import sqlalchemy as sa

from backupd.core.history import Story
from backupd.core.records import new_id
from backupd.core.stages import Stage, Status
from backupd.ledger import Ledger, LedgerReader
from backupd.ledger.day_files import DayFiles, Passage, files_of_day
from support.done_files import a_done_file, a_receipt, events_of
from support.files import NOW, a_file
from support.ledgers import opened, plant

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from backupd.core.records import FileRecord

START = NOW - 43_200  # of the day of NOW
DAY = 86_400.0
FEED = a_file(Stage.LOAD).feed


@pytest.fixture
async def ledger(tmp_path: Path) -> AsyncIterator[Ledger]:
    async with opened(tmp_path / "ledger.db") as ledger:
        yield ledger


def seen(at: float, **changes: object) -> FileRecord:
    """A file that was first seen then, on its own date, and is parked."""
    name = str(changes.pop("name", new_id(at)))
    values: dict[str, object] = {
        "id": new_id(at),
        "path": f"/feed/{name}",
        "relative_path": name,
        "first_seen_at": at,
        "file_timestamp": at,
    }
    return replace(a_file(Stage.MANIFEST, Status.PARKED), **values | changes)  # type: ignore[arg-type]


async def shipped(ledger: Ledger, took: float, at: float = NOW) -> None:
    """Have a file that is done, its story folded, in the ledger."""
    name = f"{at}-{took}"
    file = a_done_file(
        id=new_id(at),
        relative_path=name,
        path=f"/feed/{name}",
        first_seen_at=at,
        file_timestamp=at,
    )
    receipt = a_receipt(file, shipped_at=at + took, verified_at=at + took + 0.25)
    story = Story(host="edge1", file=file, receipt=receipt, events=events_of(file))
    await ledger.past.recall([story], at)


async def the_day(ledger: Ledger) -> DayFiles:
    return (await ledger.ask(files_of_day, START)).get(FEED, DayFiles())


async def test_files_are_counted_by_what_became_of_them(ledger: Ledger) -> None:
    await plant(
        ledger,
        seen(NOW),
        seen(NOW, record_count=0),
        seen(NOW, record_count=0, duplicate_of="1" * 20),
        seen(NOW, status=Status.WAITING, duplicate_of="2" * 20),
    )
    assert await the_day(ledger) == DayFiles(duplicates=2, empty=1, parked=3)


async def test_a_file_is_of_the_date_in_its_name_whenever_it_came(ledger: Ledger) -> None:
    day_after, day_before = START + DAY + 3600, START - 3600
    await plant(
        ledger,
        seen(day_after, file_timestamp=START),
        seen(day_before, file_timestamp=START + DAY - 1),
        seen(NOW, file_timestamp=START - 1),
        seen(NOW, file_timestamp=START + DAY),
    )
    assert (await the_day(ledger)).parked == 2


async def test_a_file_whose_date_is_not_known_is_of_the_day_on_which_it_was_seen(
    ledger: Ledger,
) -> None:
    await plant(ledger, seen(NOW, file_timestamp=None), seen(NOW - DAY, file_timestamp=None))
    assert (await the_day(ledger)).parked == 1


async def test_times_to_the_archive_are_known_of_folded_files(ledger: Ledger) -> None:
    for took in range(1, 101):
        await shipped(ledger, float(took))
    await shipped(ledger, 5000.0, NOW - 2 * DAY)
    assert (await the_day(ledger)).passage == Passage(half=50.0, most=95.0, longest=100.0)


async def test_one_file_is_all_of_them(ledger: Ledger) -> None:
    await shipped(ledger, 2.5)
    assert (await the_day(ledger)).passage == Passage(half=2.5, most=2.5, longest=2.5)


async def test_a_clock_that_was_set_back_gives_no_time_below_none(ledger: Ledger) -> None:
    await shipped(ledger, -30.0)
    assert (await the_day(ledger)).passage == Passage(half=0.0, most=0.0, longest=0.0)


async def test_it_takes_three_statements_and_reads_no_more_than_some_days(
    ledger: Ledger, tmp_path: Path
) -> None:
    await plant(ledger, *(seen(NOW - each * DAY) for each in range(100)))
    reader = LedgerReader(tmp_path / "ledger.db")
    statements: list[str] = []
    try:
        reader.ask(_listen, statements)
        reader.ask(files_of_day, START)
        plans = [reader.ask(_plan, text) for text in tuple(statements)]
    finally:
        reader.close()
    assert len(statements) == 3
    for plan in plans:
        assert "(id>? AND id<?)" in plan or "(file_id>? AND file_id<?)" in plan
        assert "SCAN" not in plan


def _listen(connection: sa.Connection, statements: list[str]) -> None:
    def note(*arguments: object) -> None:
        text = str(arguments[2])
        if text.startswith("SELECT"):
            statements.append(text)

    sa.event.listen(connection.engine, "before_cursor_execute", note)


def _plan(connection: sa.Connection, text: str) -> str:
    count = text.count("?")
    rows = connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {text}", ("",) * count)
    return "\n".join(row[3] for row in rows)
