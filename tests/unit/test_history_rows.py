"""Stories into Parquet and back."""

from __future__ import annotations

import os
from dataclasses import fields, replace

import pyarrow as pa
from hypothesis import given
from hypothesis import strategies as st
from pyarrow import parquet as pq

from backupd.core.records import Event, FileRecord, Identity, Receipt
from backupd.warehouse.history_parquet import SCHEMA, encode_stories, stories_in
from backupd.warehouse.history_rows import (
    EVENT_FIELDS,
    FILE_COLUMNS,
    RECEIPT_FIELDS,
    hive_types,
    name_key,
    row_of,
    story_of,
)
from support.done_files import WILD, a_story, wild_story

LARGE = Identity(dev=2**64 - 1, ino=2**64 - 1, size=2**62, mtime_ns=-1, ctime_ns=2**63)

times = st.floats(allow_nan=False, allow_infinity=False)


def test_stories_come_back_from_parquet_as_they_were() -> None:
    stories = [a_story(1), wild_story(2, LARGE), replace(a_story(3), receipt=None)]
    content = pq.read_table(pa.BufferReader(encode_stories(stories)))
    assert stories_in(content) == stories


@given(name=st.binary(min_size=1, max_size=40).map(os.fsdecode))
def test_any_name_comes_back_exactly(name: str) -> None:
    story = a_story(relative_path=name, companion_path=f"/feed/{name}.cksum")
    row = row_of(story)
    assert story_of(row) == story
    row["path"].encode()


@given(at=times)
def test_any_time_comes_back_exactly(at: float) -> None:
    story = a_story(first_seen_at=at)
    content = pq.read_table(pa.BufferReader(encode_stories([story])))
    assert stories_in(content) == [story]


def test_every_field_of_a_file_its_receipt_and_its_events_has_a_column() -> None:
    assert {field.name for field in fields(FileRecord)} - {"row_id"} <= set(FILE_COLUMNS)
    assert {field.name for field in fields(Receipt)} - {"file_id"} == set(RECEIPT_FIELDS)
    assert {field.name for field in fields(Event)} - {"file_id"} == set(EVENT_FIELDS)


def test_hive_has_the_columns_of_the_files_in_their_order() -> None:
    assert list(hive_types()) == SCHEMA.names
    assert hive_types()["events"] == (
        "array<struct<at:double,stage:string,status:string,detail:string>>"
    )


def test_a_name_is_looked_up_by_16_digits_of_its_bytes() -> None:
    assert name_key("x") == "2d711642b726b044"  # printf x | sha256sum
    assert name_key(WILD) != name_key(WILD.replace("\udcff", "?"))
