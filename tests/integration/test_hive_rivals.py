"""Two daemons, each with a ledger of its own, that register the same files in one Hive."""

from __future__ import annotations

import asyncio
import shutil
from collections import Counter
from contextlib import suppress
from dataclasses import replace
from threading import Event
from typing import TYPE_CHECKING

import pytest

from backupd.core.errors import BackupdError, RewindError
from backupd.core.records import new_id
from backupd.core.rows import RowKey
from backupd.warehouse import open_warehouse
from backupd.warehouse.hive import partition_files, staging
from backupd.warehouse.hive.batch_statements import StatementMemory
from support.hive_tables import SqlError
from support.hives import DATABASE, TABLE, hive_section, running_hive
from support.rows import NOON, batch_of, new_batch

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterator, Sequence
    from pathlib import Path

    from backupd.core.ports import Warehouse
    from backupd.core.records import Batch
    from backupd.core.rows import ProductionRow
    from support.hive_server import HiveServer
    from support.hive_tables import Rows


@pytest.fixture
def server(tmp_path: Path) -> Iterator[HiveServer]:
    with running_hive(tmp_path / "hive") as started:
        yield started


@pytest.fixture(params=["files", "insert"])
async def rivals(
    request: pytest.FixtureRequest, server: HiveServer
) -> AsyncIterator[tuple[Warehouse, Warehouse]]:
    first, second = (
        open_warehouse(hive_section(server, merge=request.param, statement_timeout=1.0))
        for _ in range(2)
    )
    yield first, second
    await first.aclose()
    await second.aclose()


async def merge(warehouse: Warehouse, batch: Batch, rows: Sequence[ProductionRow]) -> Counter[str]:
    """Merge as the worker does: back to load where the warehouse says so."""
    try:
        return await warehouse.merge(batch, rows)
    except RewindError:
        await warehouse.load(replace(batch, staged_at="there"), rows)
        return await warehouse.merge(batch, rows)


async def rows_of(warehouse: Warehouse, rows: Sequence[ProductionRow]) -> Counter[RowKey]:
    return Counter([key async for key in warehouse.rows({row.file_date for row in rows})])


@pytest.mark.parametrize("days", [1, 2, 3])
@pytest.mark.parametrize("shared", [1, 2, 6])
async def test_what_both_have_staged_is_made_by_one_of_them(
    rivals: tuple[Warehouse, Warehouse], days: int, shared: int
) -> None:
    first, second = rivals
    batch, rows = new_batch(6, days=days)
    theirs = [*rows[:shared], *new_batch(6, days=days)[1]]
    other = batch_of(theirs, new_id(NOON))
    await first.load(batch, rows)
    await second.load(other, theirs)
    assert await merge(first, batch, rows) == Counter(row.file_id for row in rows)
    seen = await merge(second, other, theirs)
    assert {seen[row.file_id] for row in theirs[shared:]} == {1}
    everything = {RowKey(row.file_id, row.file_date) for row in (*rows, *theirs)}
    assert await rows_of(first, [*rows, *theirs]) == Counter(everything)


@pytest.mark.parametrize("days", [1, 2])
async def test_dates_of_which_the_other_has_made_all_rows_are_left_out(
    rivals: tuple[Warehouse, Warehouse], days: int
) -> None:
    first, second = rivals
    batch, rows = new_batch(4, days=days)
    theirs = [*rows, *new_batch(2, first_day=days)[1]]
    other = batch_of(theirs, new_id(NOON))
    await first.load(batch, rows)
    await second.load(other, theirs)
    await merge(first, batch, rows)
    await merge(second, other, theirs)
    assert await rows_of(first, theirs) == Counter(RowKey(r.file_id, r.file_date) for r in theirs)


async def test_a_merge_that_is_repeated_finds_its_own_rows_and_makes_none(
    rivals: tuple[Warehouse, Warehouse],
) -> None:
    first, second = rivals
    batch, rows = new_batch(4, days=2)
    await first.load(batch, rows)
    await first.merge(batch, rows)
    assert await merge(second, batch, rows) == Counter(row.file_id for row in rows)
    assert await rows_of(first, rows) == Counter(RowKey(r.file_id, r.file_date) for r in rows)


async def test_a_late_statement_finds_nothing_staged_once_the_batch_was_moved(
    server: HiveServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One of two has seen that nothing was moved yet; before it stages, the other has moved all."""
    first, second = (open_warehouse(hive_section(server)) for _ in range(2))
    batch, rows = new_batch(2)
    loop, rename, is_over = asyncio.get_running_loop(), staging._OtherFiles.rename, Event()

    async def all_by_first() -> None:
        await first.load(batch, rows)
        await first.merge(batch, rows)

    def rename_late(files: staging._OtherFiles, source: str, target: str) -> None:
        if not is_over.is_set():
            is_over.set()
            asyncio.run_coroutine_threadsafe(all_by_first(), loop).result()
        rename(files, source, target)

    monkeypatch.setattr(staging._OtherFiles, "rename", rename_late)
    await second.load(batch, rows)
    late = first.statements(batch, rows)[-1]
    assert late.startswith("LOAD DATA")
    with suppress(BackupdError):
        second._hive.connection.run(late)  # type: ignore[attr-defined]
    assert await merge(second, batch, rows) == Counter(row.file_id for row in rows)
    assert await rows_of(second, rows) == Counter(RowKey(r.file_id, r.file_date) for r in rows)
    await first.aclose()
    await second.aclose()


async def test_what_comes_in_while_it_is_looked_for_is_counted(
    server: HiveServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A statement of either backupd comes to its end between the look at the file and the query."""
    warehouse = open_warehouse(hive_section(server))
    batch, rows = new_batch(2)
    await warehouse.load(batch, rows)
    tables, late = server.tables, list[str]()
    carry_out = tables.begin

    def begin(statement: str) -> Callable[[], Rows]:
        if statement.startswith("LOAD DATA"):
            late.append(statement)
            raise SqlError("given up")
        if statement.startswith("SELECT") and late:
            carry_out(late.pop())()
        return carry_out(statement)

    monkeypatch.setattr(tables, "begin", begin)
    assert await warehouse.merge(batch, rows) == Counter(row.file_id for row in rows)
    assert await rows_of(warehouse, rows) == Counter(RowKey(r.file_id, r.file_date) for r in rows)
    await warehouse.aclose()


async def test_what_the_other_stages_at_the_same_moment_stays_staged(
    server: HiveServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One of two has seen that nothing is staged; before it goes on, the other has staged all."""
    first, second = (open_warehouse(hive_section(server)) for _ in range(2))
    batch, rows = new_batch(2)
    folder = server.tables.directory.parent / "staging" / batch.id
    mark = folder / "of the first"
    loop, exists, is_over = asyncio.get_running_loop(), staging._OtherFiles.exists, Event()

    def exists_before(files: staging._OtherFiles, path: str) -> bool:
        found = exists(files, path)
        if path == str(folder) and not is_over.is_set():
            is_over.set()
            asyncio.run_coroutine_threadsafe(first.load(batch, rows), loop).result()
            mark.touch()
        return found

    monkeypatch.setattr(staging._OtherFiles, "exists", exists_before)
    await second.load(batch, rows)
    mark.unlink()
    assert await first.merge(batch, rows) == Counter(row.file_id for row in rows)
    assert await rows_of(first, rows) == Counter(RowKey(r.file_id, r.file_date) for r in rows)
    await first.aclose()
    await second.aclose()


async def test_what_another_is_about_to_stage_spoils_nothing(
    rivals: tuple[Warehouse, Warehouse], server: HiveServer
) -> None:
    """Its part went into the folder that was there before it, and is about to be removed."""
    first, _ = rivals
    batch, rows = new_batch(2)
    await first.load(batch, rows)
    for folder in (server.tables.directory.parent / "staging").glob(batch.id):
        (folder / f"{batch.id}.0a1b2c3d.part").mkdir()
    before = sorted(server.tables.directory.parent.rglob("staging/**"))
    await first.load(batch, rows)
    assert sorted(server.tables.directory.parent.rglob("staging/**")) == before


async def test_folders_whose_files_were_moved_are_removed_after_a_while(
    server: HiveServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    warehouse = open_warehouse(hive_section(server))
    folder = server.tables.directory.parent / "staging"
    made = [new_batch(2, days=2) for _ in range(3)]
    for batch, rows in made:
        await warehouse.load(batch, rows)
        await warehouse.merge(batch, rows)
    assert not list(folder.rglob("*.parquet"))
    assert {each.name for each in folder.iterdir()} == {batch.id for batch, _ in made}
    monkeypatch.setattr(partition_files, "_EMPTY_FOR", 0.0)
    batch, rows = new_batch(2)
    await warehouse.load(batch, rows)
    await warehouse.merge(batch, rows)
    assert [each.name for each in folder.iterdir()] == [batch.id]
    await warehouse.aclose()


async def test_a_row_is_looked_for_in_batches_whose_files_may_have_been_forgotten(
    server: HiveServer,
) -> None:
    log = StatementMemory()
    warehouse = open_warehouse(hive_section(server), log)
    batch, rows = new_batch(2)
    again = batch_of(rows, new_id(NOON + 86_400))
    log.since = again.id
    for each in (batch, again):
        await warehouse.load(each, rows)
        await merge(warehouse, each, rows)
    assert await rows_of(warehouse, rows) == Counter(RowKey(r.file_id, r.file_date) for r in rows)
    await warehouse.aclose()


async def test_what_another_makes_at_the_same_moment_is_counted(
    server: HiveServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its file comes in after ours was found to be missing, and before it is moved."""
    warehouse = open_warehouse(hive_section(server))
    batch, rows = new_batch(2)
    await warehouse.load(batch, rows)
    tables = server.tables
    (staged,) = (tables.directory.parent / "staging").rglob("*.parquet")
    partition = tables.tables[f"{DATABASE}.{TABLE}"].place / f"file_date={rows[0].file_date}"
    carry_out = tables.begin

    def begin(statement: str) -> Callable[[], Rows]:
        if statement.startswith("LOAD DATA"):
            shutil.copy(staged, partition / f"{new_id(NOON)}.parquet")
        return carry_out(statement)

    monkeypatch.setattr(tables, "begin", begin)
    assert await warehouse.merge(batch, rows) == Counter({row.file_id: 2 for row in rows})
    await warehouse.aclose()
