"""The queries of docs/fleet.md, as they stand there, on stories of three hosts in a real Hive."""

from __future__ import annotations

import re
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from backupd.core.records import new_id
from backupd.warehouse import open_history, open_warehouse
from support.done_files import DONE_DATE, a_story
from support.files import NOW
from support.hadoop_tables import new_table, run
from support.hives import DATABASE, HISTORY_TABLE, TABLE
from support.rows import batch_of, production_row

if TYPE_CHECKING:
    from collections.abc import Sequence

    from backupd.config.sections import WarehouseSection
    from backupd.core.history import Story
    from support.hadoop import Hadoop

    Rows = list[tuple[Any, ...]]

pytestmark = pytest.mark.hadoop

DOCUMENT = Path(__file__).parents[2] / "docs" / "fleet.md"
NAME = "eLUX_HOL_01_20261123120000.csv"
DAY = 86_400.0
DAY_BEFORE = "2026-11-22"


def queries() -> dict[str, list[str]]:
    """Return by heading the queries that Hive takes too."""
    text = DOCUMENT.read_text()
    _, *parts = re.split(r"^### (.*)$", text, flags=re.MULTILINE)
    blocks = {
        heading: re.findall(r"```sql\n(.*?);?\n```", section, re.DOTALL)
        for heading, section in zip(parts[::2], parts[1::2], strict=True)
    }
    assert sum(map(len, blocks.values())) == text.count("```sql\n")
    return blocks


def story_of(number: int, host: str, **changes: object) -> Story:
    """A story: 10 seconds to the row, from there 1.875 to the copy, and 2.125 to the removal."""
    times = {"first_seen_at": NOW - 12, "row_seen_at": NOW - 2, "done_at": NOW + 2}
    return a_story(number, host, **{**times, **changes})


def slower(story: Story, factor: float) -> Story:
    """Have all that happened to a file take so many times as long."""
    first = story.events[0].at
    events = [replace(each, at=first + factor * (each.at - first)) for each in story.events]
    return replace(story, events=tuple(events))


def all_stories() -> list[Story]:
    """One file by two hosts, another one of its name by a third, and what else they did."""
    other = {"relative_path": NAME, "size_bytes": 20, "record_count": 5}
    return [
        story_of(1, "edge1", relative_path=NAME),
        slower(story_of(1, "edge2", relative_path=NAME, id=f"{2:020x}"), 3),
        story_of(3, "edge3", **other, first_seen_at=NOW - 32),
        story_of(4, "edge3", duplicate_of=f"{3:020x}"),
        story_of(5, "edge1", done_at=NOW - DAY),
    ]


async def write(section: WarehouseSection, stories: Sequence[Story]) -> None:
    """Write the stories as three daemons do, rows of their files, and two rows without a story."""
    history, warehouse = open_history(section), open_warehouse(section)
    for story in stories:
        await history.write(new_id(NOW), story.done_date, [story])
    batch_id = new_id(NOW)
    files = {str(story.file.row_id): story.file.file_name for story in stories}
    rows = [production_row(batch_id, file_id=each, name=name) for each, name in files.items()]
    rows += [production_row(batch_id, at=NOW - DAY, name=name) for name in ("b.csv", "a.csv")]
    batch = batch_of(rows)
    await warehouse.load(batch, rows)
    await warehouse.merge(batch, rows)
    await history.aclose()
    await warehouse.aclose()


def answers(stories: Sequence[Story]) -> dict[str, list[Rows]]:
    """Return by heading what each query is to be answered."""
    shared = str(stories[0].file.row_id)
    as_seen = (stories[2], stories[0], stories[1])
    return {
        "Files by host and day": [
            [
                ("edge1", DAY_BEFORE, 1, 0, 1, 10),
                ("edge1", DONE_DATE, 1, 0, 1, 10),
                ("edge2", DONE_DATE, 1, 0, 1, 10),
                ("edge3", DONE_DATE, 2, 1, 6, 30),
            ]
        ],
        "Where the time goes": [
            [
                ("edge3", "traffic/eLUX", 1, 30.0, 30.0, 1.875, 2.125),
                ("edge1", "traffic/eLUX", 1, 10.0, 10.0, 1.875, 2.125),
                ("edge2", "traffic/eLUX", 1, 10.0, 10.0, 1.875, 2.125),
            ]
        ],
        "Slowest stages": [
            [
                ("edge2", "manifest", 1, 6.0, 6.0),
                ("edge2", "load", 1, 3.0, 3.0),
                ("edge2", "settle", 1, 3.0, 3.0),
                ("edge1", "manifest", 1, 2.0, 2.0),
                ("edge3", "manifest", 2, 2.0, 2.0),
                ("edge1", "load", 1, 1.0, 1.0),
                ("edge1", "settle", 1, 1.0, 1.0),
                ("edge3", "load", 2, 1.0, 1.0),
                ("edge3", "settle", 2, 1.0, 1.0),
            ]
        ],
        "Everything ever known about one name": [
            [known(each) for each in as_seen],
            [happening for each in stories[:3] for happening in happenings(each)],
            rows_of_name(stories),
        ],
        "Files of more than one host": [[(shared, NAME, 2, "edge1", "edge2")]],
        "Rows without a story": [[(DAY_BEFORE, 2, "a.csv")]],
        "Rows that are there twice": [[]],
    }


def known(story: Story) -> tuple[Any, ...]:
    file, receipt = story.file, story.receipt
    assert receipt
    return (
        *(story.host, file.path, "done", file.reason, file.sha256, file.size_bytes),
        *(file.record_count, file.file_date, file.row_id, None),
        *(shown(file.first_seen_at), shown(file.done_at or 0.0)),
        *(receipt.archive_name, "readback"),
    )


def happenings(story: Story) -> Rows:
    return [
        (
            story.host,
            story.file.id,
            place,
            shown(each.at),
            str(each.stage),
            str(each.status),
            each.detail,
        )
        for place, each in enumerate(story.events)
    ]


def rows_of_name(stories: Sequence[Story]) -> Rows:
    row = production_row("")
    found = [
        (DONE_DATE, each.file.row_id, row.sha256, row.record_count, each.host, DONE_DATE)
        for each in stories[:3]
    ]
    return sorted(found)


def shown(at: float) -> str:
    return f"{datetime.fromtimestamp(at, UTC):%Y-%m-%d %H:%M:%S}"


async def test_each_query_of_the_document_has_the_answer_that_it_promises(
    plain_hadoop: Hadoop,
) -> None:
    section, stories = new_table(plain_hadoop), all_stories()
    assert section.hive
    await write(section, stories)
    tables = {TABLE: section.hive.production_table, HISTORY_TABLE: section.hive.history_table}
    wanted, asked = answers(stories), queries()
    assert asked.keys() == wanted.keys()
    for heading, some in asked.items():
        for query, rows in zip(some, wanted[heading], strict=True):
            for name, own in tables.items():
                query = query.replace(f"{DATABASE}.{name}", f"{DATABASE}.{own}")  # noqa: PLW2901
            assert run(plain_hadoop, "SET TIME ZONE UTC", query) == rows, heading
