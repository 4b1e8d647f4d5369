"""The history in Hive: every story once, whatever dies, hangs or comes late."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import TYPE_CHECKING

import pyarrow as pa
import pytest
from pyarrow import parquet as pq

from backupd.core.dependencies import Dependency
from backupd.core.errors import BackupdError, DependencyDownError, TransientError
from backupd.core.records import new_id
from backupd.warehouse.hive.history import HiveHistory
from support.done_files import DONE_DATE, a_story
from support.files import NOW
from support.hive_histories import found, opening_histories, until_written
from support.hives import (
    DATABASE,
    HISTORY_TABLE,
    hive_options,
    hive_section,
    running_hive,
    running_hives,
    staged,
    staging_section,
)
from support.webhdfs_server import running_webhdfs

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator
    from pathlib import Path

    from support.hive_histories import Opened
    from support.hive_server import Fault, HiveServer
    from support.hive_tables import HiveTable

TABLE = f"{DATABASE}.{HISTORY_TABLE}"
DAY = 86_400.0


@pytest.fixture
def server(tmp_path: Path) -> Iterator[HiveServer]:
    with running_hive(tmp_path / "hive") as started:
        yield started


@pytest.fixture
async def opened(server: HiveServer) -> AsyncIterator[Opened]:
    async with opening_histories(server) as opens:
        yield opens


@pytest.fixture
def history(opened: Opened) -> HiveHistory:
    return opened()


@pytest.fixture
def table(server: HiveServer) -> HiveTable:
    return server.tables.tables[TABLE]


@pytest.fixture
def batch_id() -> str:
    return new_id(NOW)


STORIES = [a_story(number) for number in range(5)]


# -- once ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("fault", ["cut before", "cut after", "zombie", "hang", "fail", "forget"])
@pytest.mark.parametrize("at", ["LOAD DATA", "ADD IF NOT EXISTS", "DESCRIBE"])
async def test_a_statement_that_goes_wrong_makes_each_story_once(
    server: HiveServer, opened: Opened, batch_id: str, at: str, fault: Fault
) -> None:
    server.on(at, fault)
    await until_written(opened(statement_timeout=1.0), batch_id, STORIES)
    server.release()
    history = opened()
    assert await history.seen(batch_id, DONE_DATE) == STORIES
    assert await found(history) == STORIES
    assert staged(server) == []


async def test_a_lost_answer_is_no_failure_when_the_stories_are_there(
    server: HiveServer, history: HiveHistory, batch_id: str
) -> None:
    server.on("LOAD DATA", "cut after")
    assert await until_written(history, batch_id, STORIES) == []


@pytest.mark.parametrize("call", ["OpenSession", "ExecuteStatement", "GetOperationStatus"])
async def test_a_connection_that_is_cut_again_and_again_makes_each_story_once(
    server: HiveServer, history: HiveHistory, batch_id: str, call: str
) -> None:
    for _ in range(3):
        server.cut_at = call
        with suppress(BackupdError):
            await history.write(batch_id, DONE_DATE, STORIES)
    await until_written(history, batch_id, STORIES)
    assert await found(history) == STORIES


async def test_a_zombie_that_wakes_before_the_next_try_makes_each_story_once(
    server: HiveServer, history: HiveHistory, batch_id: str
) -> None:
    server.on("LOAD DATA", "zombie")
    with pytest.raises(DependencyDownError):
        await history.write(batch_id, DONE_DATE, STORIES)
    assert server.release() == [""]
    await history.write(batch_id, DONE_DATE, STORIES)
    assert await found(history) == STORIES
    assert staged(server) == []


async def test_a_write_that_is_cancelled_and_repeated_makes_each_story_once(
    server: HiveServer, opened: Opened, batch_id: str
) -> None:
    history = opened()
    server.on("LOAD DATA", "linger")
    writing = asyncio.create_task(history.write(batch_id, DONE_DATE, STORIES))
    await asyncio.to_thread(server.wait_for, "LOAD DATA")
    writing.cancel()
    with suppress(asyncio.CancelledError, DependencyDownError):  # the connection may break first
        await writing
    server.release()
    await until_written(opened(), batch_id, STORIES)
    assert await found(history) == STORIES


async def test_what_is_there_is_not_written_again(
    server: HiveServer, opened: Opened, batch_id: str
) -> None:
    await opened().write(batch_id, DONE_DATE, STORIES)
    before = len(server.statements)
    await opened().write(batch_id, DONE_DATE, STORIES)
    assert not [each for each in server.statements[before:] if each.startswith("LOAD")]
    assert await opened().seen(batch_id, DONE_DATE) == STORIES
    assert staged(server) == []


async def test_two_writers_of_the_same_stories_make_each_once(
    server: HiveServer, opened: Opened
) -> None:
    rivals = [opened(), opened()]
    for _ in range(10):
        batch_id = new_id(NOW)
        stories = [a_story(number, id=new_id(NOW)) for number in range(3)]
        await asyncio.gather(*(until_written(rival, batch_id, stories) for rival in rivals))
        seen = await rivals[0].seen(batch_id, DONE_DATE)
        assert seen == sorted(stories, key=lambda story: story.file.id)
    assert staged(server) == []


async def test_stories_that_were_taken_out_of_staging_are_written_at_the_next_try(
    server: HiveServer, opened: Opened, history: HiveHistory, batch_id: str
) -> None:
    """A daemon that starts sweeps what batches left that it does not know."""
    server.on("LOAD DATA", "fail")
    with pytest.raises(BackupdError):
        await opened().write(batch_id, DONE_DATE, STORIES)
    for path in (server.tables.directory.parent / "staging").rglob("*.parquet"):
        path.unlink()
    await history.write(batch_id, DONE_DATE, STORIES)
    assert await history.seen(batch_id, DONE_DATE) == STORIES


async def test_a_file_that_vanishes_on_its_way_is_no_success(
    server: HiveServer, history: HiveHistory, table: HiveTable, batch_id: str
) -> None:
    """As where somebody drops the partition."""
    loaded = server.tables._load

    def lose(path: str, **others: str) -> list[tuple[str, ...]]:
        loaded(path, **others)
        for each in table.place.rglob("*.parquet"):
            each.unlink()
        return []

    known = server.tables._known
    (pattern,) = [each for each, work in known.items() if work == loaded]
    known[pattern] = lose
    with pytest.raises(TransientError, match="neither staged nor in 2026-11-23"):
        await history.write(batch_id, DONE_DATE, STORIES)
    known[pattern] = loaded
    await history.write(batch_id, DONE_DATE, STORIES)
    assert await found(history) == STORIES


async def test_stories_of_others_in_the_same_partition_stay_and_are_found(
    server: HiveServer, opened: Opened, table: HiveTable
) -> None:
    ours, theirs = opened(), opened(staging_url=f"file://{server.tables.directory}/theirs")
    mine, another = new_id(NOW), new_id(NOW)
    other = [a_story(number, "edge2") for number in range(5, 8)]
    await theirs.write(another, DONE_DATE, other)
    before = {path: path.read_bytes() for path in table.place.rglob("*.parquet")}
    await ours.write(mine, DONE_DATE, STORIES)
    assert await ours.seen(mine, DONE_DATE) == STORIES
    assert await ours.seen(another, DONE_DATE) == other
    assert await found(ours) == [*STORIES, *other]
    assert before == {path: path.read_bytes() for path in before}


async def test_nothing_to_write_touches_nothing(
    server: HiveServer, history: HiveHistory, batch_id: str
) -> None:
    await history.write(batch_id, DONE_DATE, [])
    assert server.statements == []


# -- several servers, HDFS -----------------------------------------------------------------------


@pytest.mark.parametrize("fault", ["cut before", "cut after", "zombie"])
async def test_the_next_server_goes_on_where_one_dies(
    tmp_path: Path, batch_id: str, fault: Fault
) -> None:
    with running_hives(tmp_path / "hive", 2) as (first, second):
        hosts = tuple((each.host, each.port) for each in (first, second))
        hive = hive_options(hosts=hosts, staging_url=f"file://{tmp_path}/staging")
        history = HiveHistory(hive)
        first.on("LOAD DATA", fault)
        await history.write(batch_id, DONE_DATE, STORIES)
        first.release()
        assert await history.seen(batch_id, DONE_DATE) == STORIES
        assert any("LOAD" in each for each in first.statements)
        await history.aclose()


async def test_stories_go_by_webhdfs_where_staging_is_there(tmp_path: Path, batch_id: str) -> None:
    with running_hive(tmp_path / "hdfs") as hive, running_webhdfs(tmp_path / "hdfs") as (hdfs,):
        hive.tables.hdfs = tmp_path / "hdfs"
        url = f"webhdfs://127.0.0.1:{hdfs.port}/user/backupd/staging"
        section = hive_section(hive, staging=staging_section(url)).hive
        assert section
        history = HiveHistory(section)
        await history.write(batch_id, DONE_DATE, STORIES)
        await history.write(batch_id, DONE_DATE, STORIES)
        assert await history.seen(batch_id, DONE_DATE) == STORIES
        await history.aclose()


# -- what is wrong is the history's alone --------------------------------------------------------


async def test_a_missing_table_is_the_historys_fault_and_said_with_its_cure(
    server: HiveServer, history: HiveHistory, batch_id: str
) -> None:
    server.tables.tables.pop(TABLE)
    for doing in (
        history.write(batch_id, DONE_DATE, STORIES),
        history.seen(batch_id, DONE_DATE),
        found(history),
    ):
        with pytest.raises(DependencyDownError, match="Table not found") as caught:
            await doing
        assert caught.value.dependency == Dependency.HISTORY
        assert "--ddl" in caught.value.hint


async def test_a_table_that_does_not_fit_is_refused_column_by_column(
    table: HiveTable, history: HiveHistory, batch_id: str
) -> None:
    table.columns |= {"events": "array<string>"}
    del table.columns["history_batch_id"]
    table.parameters["transactional"] = "true"
    with pytest.raises(DependencyDownError, match="it is transactional") as caught:
        await history.write(batch_id, DONE_DATE, STORIES)
    assert "events array<string>, the config wants events array<struct<at:double" in str(
        caught.value
    )
    assert "is missing, the config wants history_batch_id string" in str(caught.value)
    assert caught.value.dependency == Dependency.HISTORY
    assert "--ddl" in caught.value.hint


async def test_a_server_that_is_gone_is_the_historys_fault_too(
    server: HiveServer, history: HiveHistory, batch_id: str
) -> None:
    server.stop()
    with pytest.raises(DependencyDownError, match="refused") as caught:
        await history.write(batch_id, DONE_DATE, STORIES)
    assert caught.value.dependency == Dependency.HISTORY


async def test_a_row_that_is_no_story_is_named(
    table: HiveTable, history: HiveHistory, batch_id: str
) -> None:
    """Such as one of a later version's."""
    await history.write(batch_id, DONE_DATE, STORIES)
    (path,) = table.place.rglob("*.parquet")
    rows = pq.read_table(path, partitioning=None)
    statuses = pa.array(["melted"] * len(rows))
    pq.write_table(rows.set_column(rows.schema.get_field_index("status"), "status", statuses), path)
    with pytest.raises(TransientError, match=r"the row of '0{20}' in .* is no story: 'melted'"):
        await history.seen(batch_id, DONE_DATE)
