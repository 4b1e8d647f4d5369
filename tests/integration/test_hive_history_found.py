"""Stories in Hive are found by what they are: a page at a time, by statements without names."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import TYPE_CHECKING

import pyarrow as pa
import pytest
from pyarrow import parquet as pq

from backupd.core.records import new_id
from backupd.warehouse.history_parquet import encode_stories
from backupd.warehouse.hive import history as paging
from support.done_files import DONE_DATE, a_story
from support.files import NOW
from support.hive_histories import found, opening_histories, until_written
from support.hives import DATABASE, HISTORY_TABLE, running_hive

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator
    from pathlib import Path

    from backupd.warehouse.hive.history import HiveHistory
    from support.hive_server import HiveServer
    from support.hive_tables import HiveTable

DAY = 86_400.0
STORIES = [a_story(number) for number in range(5)]


@pytest.fixture
def server(tmp_path: Path) -> Iterator[HiveServer]:
    with running_hive(tmp_path / "hive") as started:
        yield started


@pytest.fixture
async def history(server: HiveServer) -> AsyncIterator[HiveHistory]:
    async with opening_histories(server) as opens:
        yield opens()


@pytest.fixture
def table(server: HiveServer) -> HiveTable:
    return server.tables.tables[f"{DATABASE}.{HISTORY_TABLE}"]


@pytest.fixture
def batch_id() -> str:
    return new_id(NOW)


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
    assert await found(history) == [*days[1], *days[0], *days[2]]
    pages = [each for each in server.statements if "`events`" in each]
    ends = [re.findall(r"'0{19}(.)'", each) for each in pages]
    assert ends == [
        ["0", "3"],
        ["6", "9"],
        ["c", "c"],
        ["1", "4"],
        ["7", "a"],
        ["d", "d"],
        ["2", "5"],
        ["8", "b"],
        ["e", "e"],
    ]


async def test_names_are_looked_for_in_several_partitions_at_once_and_compared_whole(
    server: HiveServer, history: HiveHistory
) -> None:
    stories = [a_story(number, done_at=NOW + number * DAY) for number in range(25)]
    for story in stories:
        await until_written(history, new_id(NOW), [story])
    before = len(server.statements)
    assert await found(history, names=["00007.csv"]) == [stories[7]]
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
    assert await found(history, names=["00007.csv"]) == []


async def test_a_feed_that_may_not_stand_in_a_statement_is_compared_here(
    history: HiveHistory, batch_id: str
) -> None:
    odd = replace(STORIES[0].file, customer="o'brien", feed="traffic/o'brien")
    stories = [replace(STORIES[0], file=odd), *STORIES[1:]]
    await history.write(batch_id, DONE_DATE, stories)
    assert await found(history, customer="o'brien") == stories[:1]
    assert await found(history, feed="traffic/o'brien") == stories[:1]


async def test_only_days_that_can_have_them_are_read(
    server: HiveServer, history: HiveHistory
) -> None:
    for day in range(5):
        story = a_story(day, first_seen_at=NOW + day * DAY, done_at=NOW + day * DAY)
        await until_written(history, new_id(NOW), [story])
    before = len(server.statements)
    late = await found(history, since=NOW + 3 * DAY)
    assert [story.file.id[-1] for story in late] == ["3", "4"]
    assert not [each for each in server.statements[before:] if "2026-11-23" in each]
    assert await found(history, done_dates=["2026-12-24", "x'"]) == []
