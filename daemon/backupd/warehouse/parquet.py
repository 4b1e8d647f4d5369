"""Rows into Parquet and file ids out of it. Knows no directories.

Timestamps are int64 microseconds without UTC adjustment: the only integer form that Hive and
Impala read alike whatever the zone of their server. Hive before 4 and Impala before 3.2 read int96
alone, alike too as long as parquet-mr did not write it: what is made for Hive has it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import pyarrow as pa
from pyarrow import parquet as pq

from backupd.core.errors import PermanentError, TransientError
from backupd.warehouse.columns import KINDS, NULLABLE, PARTITION, in_file

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from typing import BinaryIO

    from backupd.core.rows import ProductionRow

_TYPES = {"string": pa.string(), "bigint": pa.int64(), "timestamp": pa.timestamp("us")}
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
    try:
        with pq.ParquetFile(file) as content:
            for part in content.iter_batches(columns=[column], use_threads=False):
                yield from part.column(0).to_pylist()
    except (OSError, ValueError, LookupError) as error:
        if isinstance(error, OSError) and error.errno is not None:
            raise
        raise TransientError(
            f"{path} cannot be read as Parquet with a column {column}: {error}",
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
