"""The places that the ledger writes to, and what must be there. On real SQLite."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
import sqlalchemy as sa

from backupd.cli.asking import record_place
from backupd.core.errors import BackupdError
from backupd.core.places import Witness, new_mark
from backupd.core.records import Receipt, VerifiedBy
from backupd.core.rows import RowKey
from backupd.core.stages import Stage, Status
from backupd.ledger import Ledger, LedgerReader, places, schema
from backupd.ledger.rows import receipt_row
from support.files import NOW, a_file
from support.ledgers import numbered, opened, plant
from support.stories import answering_daemon, prepare, write_config

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence
    from pathlib import Path

    from support.stories import Maker

DAY = 86_400.0
SHIPPED = Receipt(
    file_id="1",
    archive_name="traffic/a.csv.gz",
    sha256="aa",
    sent_sha256="bb",
    remote_sha256="bb",
    sent_bytes=40,
    verified_by=VerifiedBy.READBACK,
    flushed=True,
    shipped_at=NOW,
    verified_at=NOW,
)


@pytest.fixture
async def ledger(tmp_path: Path) -> AsyncIterator[Ledger]:
    async with opened(tmp_path / "ledger.db") as ledger:
        yield ledger


def _file_receipts(connection: sa.Connection, receipts: Sequence[Receipt]) -> list[None]:
    connection.execute(sa.insert(schema.receipts), [receipt_row(each) for each in receipts])
    return [None] * len(receipts)


async def test_a_place_is_known_by_the_mark_that_was_recorded_last(tmp_path: Path) -> None:
    path, marks = tmp_path / "ledger.db", [new_mark() for _ in range(3)]
    async with opened(path) as ledger:
        assert await ledger.place("archive") is None
        await ledger.remember_place("archive", marks[0], NOW)
        await ledger.remember_place("warehouse", marks[1], NOW)
        await ledger.remember_place("archive", marks[2], NOW + 1)
    async with opened(path) as ledger:
        assert await ledger.place("archive") == marks[2]
        assert await ledger.place("warehouse") == marks[1]


async def test_the_newest_receipts_bear_witness_of_an_archive(ledger: Ledger) -> None:
    assert await ledger.ask(places.witnesses, 2) == []
    receipts = [
        replace(SHIPPED, file_id=f"{n:020x}", archive_name=f"{n}.gz", sent_bytes=n)
        for n in (3, 1, 2)
    ]
    await ledger._writer.apply(_file_receipts, receipts)
    assert await ledger.ask(places.witnesses, 2) == [Witness("3.gz", 3), Witness("2.gz", 2)]


async def test_the_newest_registered_files_bear_witness_of_a_warehouse(ledger: Ledger) -> None:
    files = numbered(a_file(Stage.CLEANUP, Status.DONE, local=False, row_seen_at=NOW), 5)
    files = [replace(file, file_timestamp=NOW - n * DAY) for n, file in enumerate(files)]
    files[3] = replace(files[3], row_seen_at=None, duplicate_of=files[2].id)
    files[4] = replace(files[4], row_seen_at=None, stage=Stage.SETTLE, file_timestamp=None)
    await plant(ledger, *files)
    assert await ledger.ask(places.row_witnesses, 2) == [
        RowKey(files[2].id, "2026-11-21"),
        RowKey(files[1].id, "2026-11-22"),
    ]


async def test_sums_of_files_are_known_until_they_are_forgotten(ledger: Ledger) -> None:
    sums = {f"file_date=2026-11-23/{n}.parquet": f"{n:064x}" for n in range(1_200)}
    await ledger.remember_files(sums)
    assert await ledger.ask(places.warehouse_sums, [*sums, "another"]) == sums
    kept = next(iter(sums))
    await ledger.forget_files([name for name in sums if name != kept])
    assert await ledger.ask(places.warehouse_sums, sums) == {kept: sums[kept]}


def test_a_place_is_recorded_by_the_daemon_or_where_none_runs_without_it(tmp_path: Path) -> None:
    config = write_config(tmp_path)
    ledger, socket, marks = (
        tmp_path / "ledger.db",
        tmp_path / "control.sock",
        [new_mark() for _ in "12"],
    )
    record_place(ledger, socket, "archive", marks[0])
    assert asked(ledger) == marks[0]
    with answering_daemon(config):
        record_place(ledger, socket, "archive", marks[1])
        assert asked(ledger) == marks[1]


@pytest.mark.parametrize("mark", ["", "abc", "g" * 32, "a" * 32 + "\n", "A" * 32, "\x1b" * 32])
def test_what_is_no_mark_is_recorded_by_nobody(tmp_path: Path, mark: str) -> None:
    config = write_config(tmp_path)
    for_ledger = (tmp_path / "ledger.db", tmp_path / "control.sock", "archive", mark)
    with pytest.raises(BackupdError, match="not a valid mark"):
        record_place(*for_ledger)
    with answering_daemon(config), pytest.raises(BackupdError, match="not a valid mark"):
        record_place(*for_ledger)
    assert asked(tmp_path / "ledger.db") is None


def test_a_ledger_that_is_held_without_an_answer_is_told(tmp_path: Path) -> None:
    config = write_config(tmp_path)

    async def record(_: Maker) -> None:
        places = (tmp_path / "ledger.db", tmp_path / "control.sock", "archive", new_mark())
        with pytest.raises(BackupdError, match="holds the ledger, yet no daemon answers"):
            await asyncio.to_thread(record_place, *places)

    prepare(config, record)


def asked(path: Path) -> str | None:
    reader = LedgerReader(path)
    try:
        return reader.ask(places.place, "archive")
    finally:
        reader.close()
