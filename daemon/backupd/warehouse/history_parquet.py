"""Stories into Parquet and out of it. Knows no directories."""

from __future__ import annotations

from functools import partial, reduce
from typing import TYPE_CHECKING

import pyarrow as pa
import pyarrow.compute as pc
from pyarrow import parquet as pq

from backupd.core.names import is_text
from backupd.warehouse.history_rows import (
    EVENT_FIELDS,
    EVENTS,
    FILE_COLUMNS,
    RECEIPT,
    RECEIPT_FIELDS,
    name_key,
    row_of,
    story_of,
)
from backupd.warehouse.parquet import reading

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
    from typing import BinaryIO

    from backupd.core.history import Past, Story
    from backupd.warehouse.history_rows import Kind

    _Test = Callable[[pa.ChunkedArray], pa.ChunkedArray]

_ROWS_AT_ONCE = 100  # in memory: a story takes some 10 KB there

_TYPES = {
    "string": pa.string(),
    "bigint": pa.int64(),
    "double": pa.float64(),
    "boolean": pa.bool_(),
}


def _fields(kinds: Mapping[str, Kind]) -> list[pa.Field]:
    return [pa.field(name, _TYPES[kind]) for name, kind in kinds.items()]


SCHEMA = pa.schema(
    [
        *_fields(FILE_COLUMNS),
        pa.field(RECEIPT, pa.struct(_fields(RECEIPT_FIELDS))),
        pa.field(EVENTS, pa.list_(pa.struct(_fields(EVENT_FIELDS)))),
    ]
)


def encode_stories(stories: Sequence[Story], **more: str) -> memoryview:
    """Return a whole Parquet file with these stories, in this order.

    `more` are columns after theirs, with one value for all. The same stories give the same bytes.
    """
    table = pa.Table.from_batches(_batches(stories), SCHEMA)
    for name, value in more.items():
        table = table.append_column(name, pa.repeat(value, len(table)))
    sink = pa.BufferOutputStream()
    # Of what old readers know, gzip makes the smallest files.
    pq.write_table(table, sink, compression="gzip")
    return memoryview(sink.getvalue())


def _batches(stories: Sequence[Story]) -> list[pa.RecordBatch]:
    """Return rows, of which few are in memory as Python has them."""
    parts = (stories[at : at + _ROWS_AT_ONCE] for at in range(0, len(stories), _ROWS_AT_ONCE))
    return [pa.RecordBatch.from_pylist([row_of(each) for each in part], SCHEMA) for part in parts]


def wanted_stories(
    file: BinaryIO, path: str, past: Past | None = None
) -> Generator[Story, None, None]:
    """Yield the stories of a file that are asked for (None: all), a small part in memory at a time.

    Of the others only what tells them apart is read. `path` is what messages call it. Raises
    TransientError where it is no file of the history.
    """
    with reading(path, " of the history"), pq.ParquetFile(file) as content:
        for number in range(content.num_row_groups):
            parts = _parts(content, number) if past is None else _likely(content, number, past)
            for part in parts:
                yield from (each for each in stories_in(part) if past is None or past.wants(each))


def stories_in(part: pa.RecordBatch | pa.Table) -> list[Story]:
    """Return the stories of some rows that `encode_stories` wrote."""
    return [story_of(row) for row in part.to_pylist()]


def _parts(content: pq.ParquetFile, group: int) -> Iterator[pa.RecordBatch]:
    yield from content.iter_batches(_ROWS_AT_ONCE, row_groups=[group], use_threads=False)


def _likely(content: pq.ParquetFile, group: int, past: Past) -> Iterator[pa.RecordBatch]:
    """Yield the rows that may meet the conditions, by the columns that tell."""
    tests = _tests(past)
    if not tests:
        yield from _parts(content, group)
        return
    columns = sorted({column for each in tests for column, _ in each})
    keys = content.read_row_group(group, columns=columns, use_threads=False)
    met = (reduce(pc.or_, [test(keys[column]) for column, test in each]) for each in tests)
    places = pc.indices_nonzero(reduce(pc.and_, met))
    if len(places):
        rows = content.read_row_group(group, use_threads=False).take(places)
        yield from rows.to_batches(_ROWS_AT_ONCE)


def _tests(past: Past) -> list[list[tuple[str, _Test]]]:
    """Return the conditions that columns decide: all must be met, each by one of its columns."""
    tests: list[list[tuple[str, _Test]]] = []
    if past.names is not None:
        keys = _among(map(name_key, past.names))
        tests.append([("id", _among(past.names)), ("file_name_key", keys), ("path_key", keys)])
    if past.row_ids is not None:
        tests.append([("file_id", _among(past.row_ids))])
    if past.sha256s is not None:
        tests.append([("sha256", _among(past.sha256s))])
    if past.feed is not None:
        tests.append([("feed", _among([past.feed])), ("file_type", _among([past.feed]))])
    if past.customer is not None:
        tests.append([("customer", _among([past.customer]))])
    if past.since is not None:
        tests.append([("first_seen_at", partial(_from, past.since))])
    return tests


def _among(values: Iterable[str]) -> _Test:
    """Return whether a column has one of these values; what is no text is in no column."""
    known = pa.array([each for each in values if is_text(each)], pa.string())
    return partial(pc.is_in, value_set=known)


def _from(since: float, column: pa.ChunkedArray) -> pa.ChunkedArray:
    return pc.greater_equal(column, since)
