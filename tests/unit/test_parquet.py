"""Rows into Parquet and back, by the eyes of another reader."""

from __future__ import annotations

import dataclasses
from datetime import UTC, datetime
from io import BytesIO

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pyarrow import parquet as pq

from backupd.core.errors import PermanentError, TransientError
from backupd.warehouse.parquet import (
    all_rows,
    compare_rows,
    encode,
    file_ids,
    schema_of,
    write_rows,
)
from support.rows import COLUMNS, NOON, new_batch, production_row

BATCH = "0123456789abcdef0123"

texts = st.text(st.characters(exclude_categories=["Cs"]))
times = st.floats(min_value=0, max_value=253_402_300_799)
sizes = st.integers(min_value=0, max_value=2**63 - 1)


def read_back(content: memoryview) -> list[dict[str, object]]:
    rows: list[dict[str, object]] = pq.read_table(pa.BufferReader(content)).to_pylist()
    return rows


def utc(at: float) -> datetime:
    """The instant as Parquet holds it: microseconds, and no zone."""
    return datetime.fromtimestamp(round(at * 1_000_000) // 1_000_000, UTC).replace(
        microsecond=round(at * 1_000_000) % 1_000_000, tzinfo=None
    )


@given(name=texts, companion=st.none() | texts, records=sizes, size=sizes, at=times)
def test_any_row_is_read_back_as_it_was(
    name: str, companion: str | None, records: int, size: int, at: float
) -> None:
    row = dataclasses.replace(
        production_row(BATCH),
        file_name=name,
        companion_name=companion,
        record_count=records,
        size_bytes=size,
        file_timestamp=at,
    )
    expected = dataclasses.asdict(row) | {
        "file_timestamp": utc(at),
        "first_seen_at": utc(row.first_seen_at),
    }
    del expected["file_date"]  # the partition stands in the directory's name
    assert read_back(encode([row], COLUMNS)) == [expected]


def test_columns_have_the_names_and_the_order_of_the_table() -> None:
    columns = {"sha256": "digest", "file_id": "id", "record_count": "lines"}
    row = production_row(BATCH)
    (read,) = read_back(encode([row], columns))
    assert list(read.items()) == [("digest", row.sha256), ("id", row.file_id), ("lines", 42)]


def test_timestamps_carry_no_zone_and_only_the_companion_may_be_null() -> None:
    schema = pq.read_schema(pa.BufferReader(encode([production_row(BATCH)], COLUMNS)))
    assert schema.field("file_timestamp").type == pa.timestamp("us")
    assert schema.field("first_seen_at").type == pa.timestamp("us")
    assert [field.name for field in schema if field.nullable] == ["companion_name"]


def test_int96_reads_back_the_same() -> None:
    rows = [production_row(BATCH, at=NOON + n * 0.000_001) for n in range(3)]
    assert read_back(encode(rows, COLUMNS, int96=True)) == read_back(encode(rows, COLUMNS))


@pytest.mark.parametrize(
    "changes",
    [
        {"file_name": "bad \udcff.csv"},
        {"file_timestamp": float("inf")},
        {"file_timestamp": float("nan")},
        {"file_timestamp": 1e300},
        {"record_count": 2**63},
        {"record_count": None},
        {"sha256": None},
    ],
    ids=str,
)
def test_the_one_row_that_cannot_be_written_is_named(changes: dict[str, object]) -> None:
    _, rows = new_batch()
    bad = dataclasses.replace(production_row(BATCH, name="bad.csv"), **changes)  # type: ignore[arg-type]
    with pytest.raises(PermanentError, match=r"'bad.*csv'"):
        encode([*rows, bad], COLUMNS)


def test_ids_come_back_in_the_files_order() -> None:
    _, rows = new_batch(1000)
    found = file_ids(BytesIO(encode(rows, COLUMNS)), "file_id", "rows.parquet")
    assert list(found) == [row.file_id for row in rows]


@pytest.mark.parametrize("damage", ["empty", "text", "cut", "no such column"])
def test_a_file_that_is_not_ours_to_read_is_named(damage: str) -> None:
    whole = bytes(encode([production_row(BATCH, at=NOON)], COLUMNS))
    contents = {"empty": b"", "text": b"id;name\n" * 99, "cut": whole[:-9]}
    column = "file_id" if damage in contents else "id"
    with pytest.raises(TransientError, match=r"/x/rows\.parquet") as caught:
        list(file_ids(BytesIO(contents.get(damage, whole)), column, "/x/rows.parquet"))
    assert caught.value.hint


def parts(*sizes: int, first: int = 0) -> list[pa.RecordBatch]:
    """Rows numbered from `first` on, in parts of these sizes."""
    numbers = pa.array(range(first, first + sum(sizes)))
    starts = [sum(sizes[:place]) for place in range(len(sizes))]
    return [
        pa.RecordBatch.from_arrays([numbers.slice(start, size)], names=["number"])
        for start, size in zip(starts, sizes, strict=True)
    ]


def are_same(ours: list[pa.RecordBatch], theirs: list[pa.RecordBatch]) -> bool:
    comparing = compare_rows(ours, iter(theirs))
    while True:
        try:
            next(comparing)
        except StopIteration as end:
            return bool(end.value)


@given(ours=st.lists(st.integers(1, 5)), theirs=st.lists(st.integers(1, 5)))
def test_rows_are_the_same_however_they_are_parted(ours: list[int], theirs: list[int]) -> None:
    assert are_same(parts(*ours), parts(*theirs)) == (sum(ours) == sum(theirs))


def test_one_row_that_differs_is_noticed() -> None:
    assert not are_same(parts(2, 2), parts(4, first=1))
    assert not are_same(parts(2, 2), [*parts(3), *parts(1, first=4)])


@given(sizes=st.lists(st.integers(1, 5)))
def test_rows_that_go_through_in_parts_are_read_back_in_their_order(sizes: list[int]) -> None:
    file = BytesIO()
    counts = list(write_rows(file, pa.schema({"number": pa.int64()}), parts(*sizes)))
    assert counts == sizes
    assert are_same(parts(*sizes), list(all_rows(BytesIO(file.getvalue()), "it")))
    assert schema_of(BytesIO(file.getvalue()), "it").names == ["number"]
