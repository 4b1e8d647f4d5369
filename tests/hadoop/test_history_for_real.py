"""The history in a real Hive: stories come back whole, once, and are found by what they are."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING

import pytest

from backupd.core.dependencies import Dependency
from backupd.core.errors import DependencyDownError
from backupd.core.records import Event, Identity, new_id
from backupd.core.stages import Stage, Status
from backupd.warehouse import open_warehouse
from backupd.warehouse.hive.history import HiveHistory
from support import hive_histories
from support.done_files import DONE_DATE, a_story, wild_story
from support.files import NOW
from support.hadoop_tables import new_table, run
from support.hive_histories import found
from support.hives import DATABASE
from support.rows import EVIL

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from backupd.core.history import Story
    from support.hadoop import Hadoop

    Opened = Callable[..., tuple[HiveHistory, str]]

pytestmark = pytest.mark.hadoop

DAY = 86_400.0
LARGE = Identity(dev=2**64 - 1, ino=2**64 - 1, size=2**62, mtime_ns=-1, ctime_ns=2**63)


@pytest.fixture
async def opened(hadoop: Hadoop) -> AsyncIterator[Opened]:
    """Opens histories on tables of a real server, and closes them."""
    histories: list[HiveHistory] = []

    def open_one(**changes: object) -> tuple[HiveHistory, str]:
        hive = new_table(hadoop, **changes).hive  # type: ignore[arg-type]  # any field
        assert hive
        histories.append(HiveHistory(hive))
        return histories[-1], f"{DATABASE}.{hive.history_table}"

    yield open_one
    for each in histories:
        await each.aclose()


until_written = partial(hive_histories.until_written, tries=20, pause=0.2)


def evil_stories() -> list[Story]:
    """Stories with every odd value that there is, in a file's name, reasons and events."""
    stories = [a_story(number, relative_path=name) for number, name in enumerate(EVIL)]
    texts = [*EVIL, "a\tb\nc\rd\x00e\x1f\x7f\x01", '{"a": [1]}', "\\u0041", ""]
    file = stories[0].file
    events = tuple(
        Event(file_id=file.id, at=NOW + 0.1 * number, stage=Stage.SHIP, status=status, detail=text)
        for number, (text, status) in enumerate(zip(texts * 2, [*Status] * 11, strict=False))
    )
    stories[0] = replace(stories[0], events=events, file=replace(file, companion_text=texts[-4]))
    stories[1] = replace(stories[1], receipt=None, events=())
    odd = replace(stories[2].file, first_seen_at=1e-5, next_attempt_at=-1e300, row_seen_at=1 / 3)
    stories[2] = replace(stories[2], file=odd)
    return [*stories, wild_story(len(EVIL), LARGE)]


@pytest.mark.parametrize("merge", ["files", "insert"])
async def test_every_value_of_a_story_comes_back_as_it_is(opened: Opened, merge: str) -> None:
    history, _ = opened(merge=merge)
    batch_id, stories = new_id(NOW), evil_stories()
    await history.write(batch_id, DONE_DATE, stories)
    assert await history.seen(batch_id, DONE_DATE) == stories
    await history.write(batch_id, DONE_DATE, stories)
    assert await history.seen(batch_id, DONE_DATE) == stories
    assert await found(history) == stories
    assert await history.seen(new_id(NOW), DONE_DATE) == []
    assert await history.seen(batch_id, "2026-11-24") == []


async def test_stories_are_found_by_all_that_can_be_asked_for(opened: Opened) -> None:
    history, _ = opened()
    evil = evil_stories()
    other = [
        a_story(100 + number, "edge2", done_at=NOW + DAY, file_type="voice", feed="voice/eLUX")
        for number in range(3)
    ]
    await history.write(new_id(NOW), DONE_DATE, evil)
    await history.write(new_id(NOW), other[0].done_date, other)

    for story in evil:
        for name in (story.file.id, story.file.path, story.file.file_name):
            assert await found(history, names=[name]) == [story]
    row_ids = [str(story.file.row_id) for story in evil[:2]]
    assert await found(history, row_ids=row_ids) == evil[:2]
    assert await found(history, done_dates=[other[0].done_date]) == other
    assert await found(history, feed="voice/eLUX") == other
    assert await found(history, feed="voice") == other
    assert await found(history, feed="voice'") == []
    assert await found(history, customer=other[0].file.customer) == [*evil, *other]
    late = [story for story in [*evil, *other] if story.file.first_seen_at >= NOW - 0.5]
    assert await found(history, since=NOW - 0.5) == late


async def test_anybody_reads_a_story_by_the_names_and_by_the_positions_of_columns(
    hadoop: Hadoop, opened: Opened
) -> None:
    history, table = opened()
    story = a_story(1)
    await history.write(new_id(NOW), DONE_DATE, [story])
    query = (
        "SELECT host, file_name, first_seen_at, `local`, receipt.sent_bytes, receipt.verified_by,"
        f" size(events), events[1].detail, events[0].at, done_date FROM {table}"
    )
    assert story.receipt
    wanted = (
        "edge1",
        story.file.file_name,
        story.file.first_seen_at,
        story.file.local,
        story.receipt.sent_bytes,
        str(story.receipt.verified_by),
        len(story.events),
        story.events[1].detail,
        story.events[0].at,
        DONE_DATE,
    )
    assert run(hadoop, query) == [wanted]
    by_position = f"ALTER TABLE {table} SET TBLPROPERTIES ('parquet.column.index.access'='true')"
    assert run(hadoop, by_position, query) == [wanted]
    counted = f"SELECT count(*), sum(size(e)) FROM (SELECT events AS e FROM {table}) t"
    assert run(hadoop, counted) == [(1, len(story.events))]  # by a job


async def test_two_writers_at_once_make_each_story_once(hadoop: Hadoop) -> None:
    hive = new_table(hadoop).hive
    assert hive
    rivals = [HiveHistory(hive) for _ in range(2)]
    for turn in range(4):
        batch_id, own = new_id(NOW), [new_id(NOW), new_id(NOW)]
        stories = [a_story(10 * turn + number) for number in range(3)]
        theirs = [[a_story(1000 + 10 * turn + number, f"edge{number}")] for number in range(2)]
        await asyncio.gather(
            *(until_written(rival, batch_id, stories) for rival in rivals),
            *(
                until_written(rival, own_id, each)
                for rival, own_id, each in zip(rivals, own, theirs, strict=True)
            ),
        )
        assert await rivals[0].seen(batch_id, DONE_DATE) == stories
        assert [await rivals[1].seen(each, DONE_DATE) for each in own] == theirs
    assert hadoop.staged(f"/user/backupd/staging/{hive.production_table}") == []
    for rival in rivals:
        await rival.aclose()


@pytest.mark.sample(1)
@pytest.mark.parametrize("after", [0.05, 0.15, 0.3, 0.6])
async def test_a_server_that_is_killed_during_a_write_makes_each_story_once(
    hadoop: Hadoop, opened: Opened, after: float
) -> None:
    history, _ = opened()
    batch_id, stories = new_id(NOW), evil_stories()
    await history.seen(batch_id, DONE_DATE)
    writing = asyncio.create_task(history.write(batch_id, DONE_DATE, stories))
    await asyncio.wait([writing], timeout=after)
    await asyncio.to_thread(hadoop.kill, "hive")
    await asyncio.wait([writing])
    writing.exception()  # whether it came through is a matter of the moment
    await asyncio.to_thread(hadoop.start, "hive")
    await until_written(history, batch_id, stories)
    assert await found(history) == stories


async def test_a_missing_table_fails_the_probe_and_holds_up_nothing_else(
    hadoop: Hadoop,
) -> None:
    section = new_table(hadoop)
    assert section.hive
    run(hadoop, f"DROP TABLE {DATABASE}.{section.hive.history_table}")
    warehouse, history = open_warehouse(section), HiveHistory(section.hive)
    (failed,) = [each for each in await warehouse.probe() if not each.ok]
    assert failed.subject == f"history `{DATABASE}`.`{section.hive.history_table}`"
    assert "Table not found" in failed.detail
    assert "`backupd check --ddl` prints the statement" in failed.hint
    with pytest.raises(DependencyDownError) as caught:
        await history.write(new_id(NOW), DONE_DATE, [a_story(1)])
    assert caught.value.dependency == Dependency.HISTORY
    await warehouse.aclose()
    await history.aclose()


async def test_folders_that_may_not_be_looked_into_are_named(
    hadoop: Hadoop, opened: Opened
) -> None:
    history, table = opened()
    rows = run(hadoop, f"DESCRIBE FORMATTED {table}")
    (location,) = [str(cells[1]) for cells in rows if str(cells[0]).startswith("Location")]
    path = "/" + location.split("/", 3)[3].strip()
    hadoop.hdfs("SETPERMISSION", path, permission="700")
    with pytest.raises(DependencyDownError, match="user=backupd, access=") as caught:
        await history.write(new_id(NOW), DONE_DATE, [a_story(1)])
    assert caught.value.dependency == Dependency.HISTORY
    assert "read the folders of the table" in caught.value.hint
