"""Rows into Parquet and file ids out of it. Knows no directories.

Timestamps are int64 microseconds without UTC adjustment: the only integer form that Hive and
Impala read alike whatever the zone of their server. Hive before 4 and Impala before 3.2 read int96
alone, alike too as long as parquet-mr did not write it: what is made for Hive has it.
"""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

import pyarrow as pa
from pyarrow import parquet as pq

from backupd.core.errors import PermanentError, TransientError
from backupd.warehouse.columns import KINDS, NULLABLE, PARTITION, in_file

if TYPE_CHECKING:
    from collections.abc import Generator, Iterable, Iterator, Mapping, Sequence
    from typing import BinaryIO

    from backupd.core.rows import ProductionRow

_TYPES = {"string": pa.string(), "bigint": pa.int64(), "timestamp": pa.timestamp("us")}
_ROWS_AT_ONCE = 20_000  # in memory, and in a row group of a file that is made of others
_UNREPRESENTABLE = (ValueError, TypeError, OverflowError)  # pyarrow's own derive from these


def encode(
    rows: Sequence[ProductionRow],
    columns: Mapping[str, str],
    *,
    partition: str = PARTITION,
    int96: bool = False,
) -> memoryview:
    """Return a whole Parquet file with these rows. `columns` maps ours to the table's names.

    The column `partition` is left out: it stands in the directory's name. The same rows give the
    same bytes.
    Raises PermanentError naming the file whose row cannot be written.
    """
    columns = in_file(columns, partition)
    try:
        return _encode(rows, columns, int96=int96)
    except _UNREPRESENTABLE:
        for row in rows:
            _encode_alone(row, columns)
        raise


def file_ids(file: BinaryIO, column: str, path: str) -> Iterator[str]:
    """Yield the values of the id column, in the file's order, a small part in memory at a time.

    `path` is what messages call it.

    Raises TransientError when it is not a Parquet file with this column: others may write here too.
    """
    with reading(path, f" with a column {column}"), pq.ParquetFile(file) as content:
        for part in content.iter_batches(columns=[column], use_threads=False):
            yield from part.column(0).to_pylist()


def schema_of(file: BinaryIO, path: str) -> pa.Schema:
    """Return the columns of a Parquet file. Raises as `file_ids` does."""
    with reading(path):
        return pq.read_schema(file)


def all_rows(file: BinaryIO, path: str) -> Iterator[pa.RecordBatch]:
    """Yield the rows, in the file's order, a small part in memory at a time.

    Raises as `file_ids` does.
    """
    with reading(path), pq.ParquetFile(file) as content:
        parts = content.iter_batches(batch_size=_ROWS_AT_ONCE, use_threads=False)
        yield from (part for part in parts if part.num_rows)


def write_rows(
    file: BinaryIO, schema: pa.Schema, parts: Iterable[pa.RecordBatch], *, int96: bool = False
) -> Generator[int, None, None]:
    """Write a Parquet file, a small part in memory at a time.

    Yields the number of rows of each part that was taken.
    """
    with pq.ParquetWriter(file, schema, use_deprecated_int96_timestamps=int96) as writer:
        taken: list[pa.RecordBatch] = []
        for part in parts:
            taken.append(part)
            if sum(each.num_rows for each in taken) >= _ROWS_AT_ONCE:
                writer.write_table(pa.Table.from_batches(taken, schema))
                taken = []
            yield part.num_rows
        if taken:
            writer.write_table(pa.Table.from_batches(taken, schema))


def compare_rows(
    parts: Iterable[pa.RecordBatch], others: Iterator[pa.RecordBatch]
) -> Generator[int, None, bool]:
    """Compare row by row; return whether all are the same, in the same order.

    Yields the number of rows that were compared. No part may be without rows.
    """
    rest = None
    for each in parts:
        part = each
        while part.num_rows:
            rest = rest if rest is not None and rest.num_rows else next(others, None)
            count = min(part.num_rows, rest.num_rows) if rest is not None else 0
            if rest is None or not part.slice(0, count).equals(rest.slice(0, count)):
                return False
            part, rest = part.slice(count), rest.slice(count)
        yield each.num_rows
    return next(others, None) is None and not (rest is not None and rest.num_rows)


@contextmanager
def reading(path: str, wanted: str = "") -> Iterator[None]:
    """Translate what pyarrow raises of a file that it cannot read."""
    try:
        yield
    except (OSError, ValueError, LookupError) as error:
        if isinstance(error, OSError) and error.errno is not None:
            raise
        raise TransientError(
            f"{path} cannot be read as Parquet{wanted}: {error}",
            hint="move it out of the warehouse if backupd did not write it",
        ) from error


def _encode(
    rows: Sequence[ProductionRow], columns: Mapping[str, str], *, int96: bool = False
) -> memoryview:
    schema = pa.schema(
        pa.field(name, _TYPES[KINDS[ours]], nullable=ours in NULLABLE)
        for ours, name in columns.items()
    )
    values = [
        pa.array([_value(row, ours) for row in rows], type=field.type)
        for ours, field in zip(columns, schema, strict=True)
    ]
    sink = pa.BufferOutputStream()
    pq.write_table(
        pa.Table.from_arrays(values, schema=schema), sink, use_deprecated_int96_timestamps=int96
    )
    return memoryview(sink.getvalue())


def _encode_alone(row: ProductionRow, columns: Mapping[str, str]) -> None:
    try:
        _encode([row], columns)
    except _UNREPRESENTABLE as error:
        raise PermanentError(
            f"no row can be made for {row.file_name!r}: {error}",
            hint="backupd-admin show tells what is known of the file",
        ) from error


def _value(row: ProductionRow, column: str) -> object:
    value = getattr(row, column)
    return round(value * 1_000_000) if KINDS[column] == "timestamp" else value
