"""Stories into Parquet and out of it. Knows no directories."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pyarrow as pa
from pyarrow import parquet as pq

from backupd.warehouse.history_rows import (
    EVENT_FIELDS,
    EVENTS,
    FILE_COLUMNS,
    RECEIPT,
    RECEIPT_FIELDS,
    row_of,
    story_of,
)

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from backupd.core.history import Story
    from backupd.warehouse.history_rows import Kind

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


def encode_stories(stories: Sequence[Story]) -> memoryview:
    """Return a whole Parquet file with these stories, in this order."""
    sink = pa.BufferOutputStream()
    pq.write_table(pa.Table.from_pylist([row_of(story) for story in stories], SCHEMA), sink)
    return memoryview(sink.getvalue())


def stories_in(part: pa.RecordBatch | pa.Table) -> list[Story]:
    """Return the stories of some rows that `encode_stories` wrote."""
    return [story_of(row) for row in part.to_pylist()]
