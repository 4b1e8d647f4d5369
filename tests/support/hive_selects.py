"""Any SELECT of one partitioned table, carried out by SQLite on its Parquet files."""

from __future__ import annotations

import json
import sqlite3
from contextlib import closing
from datetime import datetime
from typing import TYPE_CHECKING, Any

from pyarrow import parquet as pq

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from support.hive_tables import HiveTable

Row = tuple[Any, ...]


def select(statement: str, name: str, table: HiveTable) -> list[Row]:
    """Return the rows. `name` is the table's, as it stands in the statement.

    Nested columns come as JSON, as HiveServer2 sends them.
    """
    columns = [*table.columns, str(table.partition)]
    rows = [[_cell(row.get(column)) for column in columns] for row in _rows(table)]
    with closing(sqlite3.connect(":memory:")) as database:
        database.execute(f"CREATE TABLE found ({', '.join(f'`{column}`' for column in columns)})")
        database.executemany(f"INSERT INTO found VALUES ({', '.join('?' * len(columns))})", rows)
        found = database.execute(statement.replace(name, "found"))
        booleans = [
            number
            for number, (column, *_) in enumerate(found.description)
            if table.columns.get(column) == "boolean"
        ]
        return [_typed(row, booleans) for row in found]


def _rows(table: HiveTable) -> Iterator[Mapping[str, Any]]:
    for date in table.partitions():
        for path in table.files(date):
            for row in pq.read_table(path, partitioning=None).to_pylist():
                yield row | {str(table.partition): date}


def _cell(value: object) -> object:
    match value:
        case dict() | list():
            return json.dumps(value, ensure_ascii=False)
        case datetime():
            return value.isoformat(" ")
    return value


def _typed(row: Row, booleans: list[int]) -> Row:
    """SQLite knows no booleans."""
    return tuple(bool(cell) if number in booleans else cell for number, cell in enumerate(row))
