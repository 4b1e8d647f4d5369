"""What every history promises, over the fake and each real one."""

from __future__ import annotations

import asyncio
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any

import pytest

from backupd.core.history import Past, Story
from backupd.core.records import Identity
from backupd.warehouse import open_history
from backupd.warehouse.embedded.history import EmbeddedHistory
from backupd.warehouse.embedded.roots import marked
from support.done_files import DONE_DATE, WILD, a_story, wild_story
from support.fake_history import FakeHistory
from support.files import NOW
from support.hadoop_tables import new_table
from support.hives import hive_section, running_hive
from support.warehouse_memory import Memory

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from backupd.core.history import History

FIRST, SECOND = "1a22ee7c51380ee370c5", "1a22ee7c51380ee370c6"
DAY = 86_400.0
NEXT_DATE = "2026-11-24"
LARGE = Identity(dev=2**64 - 1, ino=2**64 - 1, size=2**62, mtime_ns=-1, ctime_ns=2**63)


HADOOP = [
    pytest.param(name, marks=pytest.mark.hadoop)
    for name in ("plain_hadoop", "secure_hadoop", "secure_hadoop insert")
]


@pytest.fixture(params=["fake", "embedded", "hive", "hive insert", *HADOOP])
async def history(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[History]:
    """Each of them in its turn."""
    with ExitStack() as stack:
        opened = open_one(request, tmp_path, stack)
        yield opened
        await opened.aclose()


def open_one(request: pytest.FixtureRequest, directory: Path, stack: ExitStack) -> History:
    name, *merge = request.param.split()
    match name:
        case "fake":
            return FakeHistory()
        case "embedded":
            root = directory / "warehouse"
            root.mkdir()
            return EmbeddedHistory(root, Memory(marked(root)))
        case "hive":
            server = stack.enter_context(running_hive(directory / "hive"))
            section = hive_section(server, merge="insert" if merge else "files")
        case _:
            hadoop = request.getfixturevalue(name)
            section = new_table(hadoop, merge="insert" if merge else "files")
    return open_history(section)


async def found(history: History, past: Past | None = None) -> list[Story]:
    return [story async for story in history.find(past or Past())]


def tomorrow(number: int, **changes: Any) -> Story:  # noqa: ANN401 - any field
    return a_story(number, done_at=NOW + DAY, **changes)


async def test_what_is_written_is_seen_as_it_was(history: History) -> None:
    stories = [a_story(2), wild_story(1, LARGE), a_story(3, host="edge2")]
    await history.write(FIRST, DONE_DATE, stories)
    seen = await history.seen(FIRST, DONE_DATE)
    assert sorted(seen, key=by_id) == sorted(stories, key=by_id)
    assert await found(history) == sorted(stories, key=by_id)


def by_id(story: Story) -> str:
    return story.file.id


async def test_of_what_was_never_written_nothing_is_seen(history: History) -> None:
    assert await history.seen(FIRST, DONE_DATE) == []
    assert await found(history) == []
    await history.write(FIRST, DONE_DATE, [a_story(1)])
    assert await history.seen(FIRST, NEXT_DATE) == []
    assert await history.seen(SECOND, DONE_DATE) == []


async def test_what_is_written_again_is_there_once(history: History) -> None:
    stories = [a_story(number) for number in range(3)]
    for _ in range(3):
        await history.write(FIRST, DONE_DATE, stories)
    assert await history.seen(FIRST, DONE_DATE) == stories
    assert await found(history) == stories


async def test_batches_of_one_date_leave_each_other_alone(history: History) -> None:
    await history.write(FIRST, DONE_DATE, [a_story(1), a_story(4)])
    await history.write(SECOND, DONE_DATE, [a_story(2), a_story(3)])
    assert [by_id(story) for story in await history.seen(FIRST, DONE_DATE)] == [
        by_id(a_story(1)),
        by_id(a_story(4)),
    ]
    in_order = [a_story(number) for number in (1, 2, 3, 4)]
    assert await found(history, Past(in_order=True)) == in_order
    assert sorted(await found(history), key=by_id) == in_order


async def test_a_write_that_is_given_up_may_be_repeated(history: History) -> None:
    stories = [a_story(number) for number in range(50)]
    writing = asyncio.create_task(history.write(FIRST, DONE_DATE, stories))
    await asyncio.sleep(0)
    writing.cancel()
    await asyncio.gather(writing, return_exceptions=True)
    await history.write(FIRST, DONE_DATE, stories)
    assert await found(history) == stories


async def test_stories_come_by_date_and_then_by_id(history: History) -> None:
    await history.write(FIRST, NEXT_DATE, [tomorrow(1), tomorrow(3)])
    await history.write(SECOND, DONE_DATE, [a_story(2), a_story(4)])
    assert await found(history) == [a_story(2), a_story(4), tomorrow(1), tomorrow(3)]


async def filled(history: History) -> None:
    await history.write(FIRST, DONE_DATE, [a_story(1), wild_story(2, LARGE)])
    other = {"feed": "tolling/SKYROAM", "file_type": "tolling", "customer": "SKYROAM"}
    await history.write(SECOND, NEXT_DATE, [tomorrow(1 + 10), tomorrow(12, **other)])


@pytest.mark.parametrize(
    ("past", "numbers"),
    [
        (Past(names=[a_story(1).file.id]), [1]),
        (Past(names=["00001.csv"]), [1]),
        (Past(names=["/feed/00011.csv", "00001.csv"]), [1, 11]),
        (Past(names=[WILD]), [2]),
        (Past(names=["nobody", "\udcff"]), []),
        (Past(names=[]), []),
        (Past(row_ids=[str(a_story(1).file.row_id), "0" * 32]), [1]),
        (Past(sha256s=[str(a_story(11).file.sha256), "0" * 64]), [11]),
        (Past(sha256s=[]), []),
        (Past(done_dates=[NEXT_DATE]), [11, 12]),
        (Past(done_dates=[NEXT_DATE, "2020-01-01"], names=["00001.csv"]), []),
        (Past(feed="tolling/SKYROAM"), [12]),
        (Past(feed="tolling"), [12]),
        (Past(customer="SKYROAM"), [12]),
        (Past(since=a_story(1).file.first_seen_at), [1, 2, 11, 12]),
        (Past(since=NOW + 10 * DAY), []),
    ],
    ids=repr,
)
async def test_what_is_asked_for_is_found(history: History, past: Past, numbers: list[int]) -> None:
    await filled(history)
    assert [int(by_id(story), 16) for story in await found(history, past)] == numbers


async def test_many_stories_are_found_bit_by_bit(history: History) -> None:
    stories = [a_story(number) for number in range(1200)]
    await history.write(FIRST, DONE_DATE, stories)
    assert await found(history) == stories
    async for story in history.find(Past()):
        assert story == stories[0]
        break
    assert len(await history.seen(FIRST, DONE_DATE)) == len(stories)
