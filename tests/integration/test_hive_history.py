"""The history in Hive: every story once, whatever dies, hangs or comes late; and found again."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from dataclasses import replace
from typing import TYPE_CHECKING

import pyarrow as pa
import pytest
from pyarrow import parquet as pq

from backupd.core.dependencies import Dependency
from backupd.core.errors import BackupdError, DependencyDownError, TransientError
from backupd.core.history import Past
from backupd.core.records import new_id
from backupd.warehouse.history_parquet import encode_stories
from backupd.warehouse.hive import history as paging
from backupd.warehouse.hive.history import HiveHistory
from support.done_files import DONE_DATE, a_story
from support.files import NOW
from support.hives import (
    DATABASE,
    HISTORY_TABLE,
    hive_options,
    hive_section,
    running_hive,
    running_hives,
    staging_section,
)
from support.webhdfs_server import running_webhdfs

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterator, Sequence
    from pathlib import Path

    from backupd.core.history import Story
    from support.hive_server import Fault, HiveServer
    from support.hive_tables import HiveTable

    Opened = Callable[..., HiveHistory]

TABLE = f"{DATABASE}.{HISTORY_TABLE}"
DAY = 86_400.0


@pytest.fixture
def server(tmp_path: Path) -> Iterator[HiveServer]:
    with running_hive(tmp_path / "hive") as started:
        yield started


@pytest.fixture
async def opened(server: HiveServer) -> AsyncIterator[Opened]:
    """Opens histories at a server, and closes them."""
    histories: list[HiveHistory] = []

    def open_one(**changes: object) -> HiveHistory:
        hive = hive_section(server, **{"statement_timeout": 1.0} | changes).hive
        assert hive
        histories.append(HiveHistory(hive))
        return histories[-1]

    yield open_one
    for each in histories:
        await each.aclose()


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


async def until_written(
    history: HiveHistory, batch_id: str, stories: Sequence[Story] = STORIES
) -> list[BackupdError]:
    """Write as the daemon would, again after each failure; return the failures."""
    failures: list[BackupdError] = []
    while len(failures) < 10:
        try:
            await history.write(batch_id, stories[0].done_date, stories)
        except BackupdError as error:
            failures.append(error)
        else:
            return failures
    raise AssertionError(failures)


async def everything(history: HiveHistory) -> list[Story]:
    return [story async for story in history.find(Past())]


def staged(server: HiveServer) -> list[str]:
    folder = server.tables.directory.parent / "staging"
    return sorted(path.name for path in folder.iterdir()) if folder.exists() else []


# -- once ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("fault", ["cut before", "cut after", "zombie", "hang", "fail", "forget"])
@pytest.mark.parametrize("at", ["LOAD DATA", "ADD IF NOT EXISTS", "DESCRIBE"])
async def test_a_statement_that_goes_wrong_makes_each_story_once(
    server: HiveServer, history: HiveHistory, batch_id: str, at: str, fault: Fault
) -> None:
    server.on(at, fault)
    await until_written(history, batch_id)
    server.release()
    assert await history.seen(batch_id, DONE_DATE) == STORIES
    assert await everything(history) == STORIES
    assert staged(server) == []


async def test_a_lost_answer_is_no_failure_when_the_stories_are_there(
    server: HiveServer, history: HiveHistory, batch_id: str
) -> None:
    server.on("LOAD DATA", "cut after")
    assert await until_written(history, batch_id) == []


@pytest.mark.parametrize("call", ["OpenSession", "ExecuteStatement", "GetOperationStatus"])
async def test_a_connection_that_is_cut_again_and_again_makes_each_story_once(
    server: HiveServer, history: HiveHistory, batch_id: str, call: str
) -> None:
    for _ in range(3):
        server.cut_at = call
        with suppress(BackupdError):
            await history.write(batch_id, DONE_DATE, STORIES)
    await until_written(history, batch_id)
    assert await everything(history) == STORIES


async def test_a_zombie_that_wakes_before_the_next_try_makes_each_story_once(
    server: HiveServer, history: HiveHistory, batch_id: str
) -> None:
    server.on("LOAD DATA", "zombie")
    with pytest.raises(DependencyDownError):
        await history.write(batch_id, DONE_DATE, STORIES)
    assert server.release() == [""]
    await history.write(batch_id, DONE_DATE, STORIES)
    assert await everything(history) == STORIES
    assert staged(server) == []


async def test_a_write_that_is_cancelled_and_repeated_makes_each_story_once(
    server: HiveServer, opened: Opened, batch_id: str
) -> None:
    history = opened(statement_timeout=30.0)
    server.on("LOAD DATA", "linger")
    writing = asyncio.create_task(history.write(batch_id, DONE_DATE, STORIES))
    await asyncio.to_thread(server.wait_for, "LOAD DATA")
    writing.cancel()
    with suppress(asyncio.CancelledError):
        await writing
    server.release()
    await until_written(opened(), batch_id)
    assert await everything(history) == STORIES


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
    server: HiveServer, history: HiveHistory, batch_id: str
) -> None:
    """A daemon that starts sweeps what batches left that it does not know."""
    server.on("LOAD DATA", "hang")
    with pytest.raises(BackupdError):
        await history.write(batch_id, DONE_DATE, STORIES)
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
    assert await everything(history) == STORIES


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
    assert await everything(ours) == [*STORIES, *other]
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
        everything(history),
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


# -- found ---------------------------------------------------------------------------------------


async def test_stories_are_found_a_page_at_a_time_by_date_and_file_id(
    server: HiveServer, history: HiveHistory, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(paging, "_STORIES", 2)
    days = [
        [a_story(3 * number + day, done_at=NOW + day * DAY) for number in range(5)]
        for day in (1, 0, 2)
    ]
    for stories in days:
        await until_written(history, new_id(NOW), list(reversed(stories)))
    assert await everything(history) == [*days[1], *days[0], *days[2]]
    pages = [each for each in server.statements if "`events`" in each]
    assert max(each.split(" IN ")[-1].count("'") // 2 for each in pages) == 2


async def test_names_are_looked_for_in_several_partitions_at_once_and_compared_whole(
    server: HiveServer, history: HiveHistory
) -> None:
    stories = [a_story(number, done_at=NOW + number * DAY) for number in range(25)]
    for story in stories:
        await until_written(history, new_id(NOW), [story])
    before = len(server.statements)
    assert [each async for each in history.find(Past(names=["00007.csv"]))] == [stories[7]]
    asked = server.statements[before:]
    assert [each.count("-") // 2 for each in asked if "_key" in each and "`id` IN" not in each] == [
        10,
        10,
        5,
    ]
    assert not [each for each in asked if "csv" in each]


async def test_another_name_with_the_same_key_is_not_found(
    table: HiveTable, history: HiveHistory, batch_id: str
) -> None:
    await history.write(batch_id, DONE_DATE, STORIES)
    (path,) = table.place.rglob("*.parquet")
    other = pq.read_table(pa.BufferReader(encode_stories([a_story(7)])))
    rows = pq.read_table(path, partitioning=None)
    keys = pa.repeat(other["file_name_key"][0], len(rows))
    at = rows.schema.get_field_index("file_name_key")
    pq.write_table(rows.set_column(at, "file_name_key", keys), path)
    assert [each async for each in history.find(Past(names=["00007.csv"]))] == []


async def test_a_feed_that_may_not_stand_in_a_statement_is_compared_here(
    history: HiveHistory, batch_id: str
) -> None:
    odd = replace(STORIES[0].file, customer="o'brien", feed="traffic/o'brien")
    stories = [replace(STORIES[0], file=odd), *STORIES[1:]]
    await history.write(batch_id, DONE_DATE, stories)
    assert [each async for each in history.find(Past(customer="o'brien"))] == stories[:1]
    assert [each async for each in history.find(Past(feed="traffic/o'brien"))] == stories[:1]


async def test_only_days_that_can_have_them_are_read(
    server: HiveServer, history: HiveHistory
) -> None:
    for day in range(5):
        story = a_story(day, first_seen_at=NOW + day * DAY, done_at=NOW + day * DAY)
        await until_written(history, new_id(NOW), [story])
    before = len(server.statements)
    found = [each async for each in history.find(Past(since=NOW + 3 * DAY))]
    assert [story.file.id[-1] for story in found] == ["3", "4"]
    assert not [each for each in server.statements[before:] if "2026-11-23" in each]
    assert [each async for each in history.find(Past(done_dates=["2026-12-24", "x'"]))] == []
