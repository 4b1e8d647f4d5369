"""The few statements that backupd runs in Hive, carried out on Parquet files in a directory.

It does what was seen of a real Hive 4.0.1, also where that is odd: LOAD DATA is a rename and never
writes over a file, errors have the real numbers.
"""

from __future__ import annotations

import re
import shutil
import threading
import time
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn
from urllib.parse import urlsplit
from uuid import uuid4

import pyarrow as pa
from pyarrow import parquet as pq

from support.hive_selects import select

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

Rows = list[tuple[Any, ...]]

_NAME = r"(?P<table>`\w+`(?:\.`\w+`)?)"
_DATE = r"PARTITION \(`\w+` = '(?P<date>[\d-]+)'\)"
_PARQUET = "org.apache.hadoop.hive.ql.io.parquet.MapredParquetInputFormat"
_ONLY_DATE = r"`\w+` = '(?P<date>[\d-]+)'"
_BATCH = r"`\w+` = '(?P<batch>[0-9a-f]{20})'"
_DATES = r"`\w+` (?:=|IN) \(?(?P<dates>[\d', -]+)\)?"
_INSERT = (
    rf"INSERT INTO TABLE {_NAME} PARTITION \(`\w+`\) SELECT .+ FROM (?P<source>\S+) staged"
    rf" LEFT JOIN \(SELECT `\w+` FROM \S+ WHERE {_DATES}\) present"
    rf" ON staged\.`(?P<column>\w+)` = .+ WHERE staged\.{_BATCH} AND .+ IS NULL"
)


class SqlError(Exception):
    """A statement is refused; `code` is Hive's."""

    def __init__(self, message: str, code: int = 40000) -> None:
        super().__init__(f"Error while compiling statement: FAILED: {message}")
        self.code = code


@dataclass
class HiveTable:
    """A table: change what it says of itself to have it refused."""

    place: Path
    columns: dict[str, str]
    partition: str | None = "file_date"
    input_format: str = _PARQUET
    parameters: dict[str, str] = field(default_factory=dict)


class HiveTables:
    """Tables by name (`database.table`), and the one way to carry out a statement on them."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.tables: dict[str, HiveTable] = {}
        self.refreshed: list[str] = []
        self.clock_ahead = 0.0  # seconds
        self.hdfs: Path | None = None  # stands for the root of HDFS; None: all is on the local disk
        self._lock = threading.Lock()
        self._known: dict[str, Callable[..., Rows]] = {
            r"USE `(?P<database>\w+)`": self._use,
            r"SELECT 1": self._one,
            r"SELECT unix_timestamp\(current_timestamp\(\)\)": self._now,
            r"SELECT current_user\(\)": lambda: [("hive",)],
            rf"DESCRIBE FORMATTED {_NAME}(?: {_DATE})?": self._describe,
            rf"ALTER TABLE {_NAME} ADD IF NOT EXISTS (?P<specs>PARTITION .+)": self._add,
            rf"LOAD DATA INPATH '(?P<path>[^']+)' INTO TABLE {_NAME}(?: {_DATE})?": self._load,
            rf"CREATE TEMPORARY TABLE {_NAME} \(`(?P<column>\w+)` string\) .+": self._create,
            rf"DROP TABLE IF EXISTS {_NAME}": self._drop,
            rf"LOAD DATA INPATH '(?P<path>[^']+)' OVERWRITE INTO TABLE {_NAME}"
            rf" PARTITION \({_BATCH}\)": self._replace,
            rf"SHOW PARTITIONS {_NAME}": self._show,
            rf"ALTER TABLE {_NAME} DROP IF EXISTS PARTITION \({_BATCH}\) PURGE": self._drop_batch,
            rf"SELECT `(?P<column>\w+)` FROM {_NAME} WHERE {_BATCH}": self._select_batch,
            rf"INSERT INTO TABLE {_NAME} SELECT `(?P<column>\w+)` FROM (?P<source>\S+)"
            rf" WHERE {_BATCH}": self._insert_ids,
            # Impala alone knows it; Hive's is a ParseException.
            rf"REFRESH {_NAME}(?: {_DATE})?": self._refresh,
            rf"SELECT `(?P<column>\w+)` FROM {_NAME}(?: WHERE {_ONLY_DATE})?": self._select,
            rf"(?P<statement>SELECT `.+` FROM {_NAME} WHERE .+)": self._select_any,
        }

    def create(self, name: str, columns: Mapping[str, str], partition: str | None) -> HiveTable:
        """Make a table with these columns (name to type)."""
        place = self.directory / name
        place.mkdir(parents=True)
        self.tables[name] = HiveTable(place, dict(columns), partition)
        return self.tables[name]

    def run(self, statement: str) -> Rows:
        """Carry a statement out; one at a time, as each of Hive's is one rename or one look."""
        return self.begin(statement)()

    def begin(self, statement: str) -> Callable[[], Rows]:
        """Do what a statement does first, return the rest: of an INSERT that it makes rows."""
        if match := re.fullmatch(_INSERT, statement):
            with self._lock:
                return self._looked(**match.groupdict())
        return partial(self._run, statement)

    def _run(self, statement: str) -> Rows:
        for pattern, work in self._known.items():
            if match := re.fullmatch(pattern, statement):
                with self._lock:
                    return work(**match.groupdict())
        raise SqlError(f"ParseException line 1:0 cannot recognize input near {statement[:20]!r}")

    def _use(self, database: str) -> Rows:
        if not any(name.startswith(f"{database}.") for name in self.tables):
            raise SqlError(f"SemanticException [Error 10072]: Database does not exist: {database}")
        return []

    def _one(self) -> Rows:
        return [("1",)]

    def _now(self) -> Rows:
        return [(str(int(time.time() + self.clock_ahead)),)]

    def _describe(self, table: str, date: str | None) -> Rows:
        found = self._table(table)
        place = found.place if date is None else self._partition(found, date)
        rows: Rows = [(name, kind, "") for name, kind in found.columns.items()]
        rows += [("", None, None), ("# Partition Information", None, None)]
        rows += [("# col_name", "data_type", "comment"), (found.partition, "string", "")]
        rows += [("", None, None), ("# Detailed Table Information", None, None)]
        rows += [("Location:           ", self._location(place), None)]
        rows += [("Table Parameters:", None, None)]
        rows += [("", f"{name}  ", f"{value}  ") for name, value in found.parameters.items()]
        rows += [("", None, None), ("# Storage Information", None, None)]
        return [*rows, ("InputFormat:        ", found.input_format, None)]

    def _add(self, table: str, specs: str) -> Rows:
        found = self._table(table)
        for date in re.findall(_DATE, specs):
            (found.place / f"{found.partition}={date}").mkdir(exist_ok=True)
        return []

    def _load(self, path: str, table: str, date: str | None) -> Rows:
        found, source = self._table(table), self._staged(path)
        place = found.place
        if date is not None:
            place = place / f"{found.partition}={date}"
            place.mkdir(exist_ok=True)
        if not source.exists():
            raise SqlError(f"SemanticException Invalid path: No files matching path {path}")
        target, copies = place / source.name, 0
        while target.exists():
            copies += 1
            target = place / f"{source.stem}_copy_{copies}{source.suffix}"
        source.rename(target)
        return []

    def _create(self, table: str, column: str) -> Rows:
        self.create(_plain(table), {column: "string"}, None)
        return []

    def _drop(self, table: str) -> Rows:
        found = self.tables.pop(_plain(table), None)
        if found is not None:
            for path in found.place.iterdir():
                path.unlink()
            found.place.rmdir()
        return []

    def _refresh(self, table: str, date: str | None) -> Rows:
        found = self._table(table)
        if date is not None:
            self._partition(found, date)
        self.refreshed.append(_plain(table) if date is None else f"{_plain(table)} {date}")
        return []

    def _replace(self, path: str, table: str, batch: str) -> Rows:
        place, source = self._place_of(table, batch), self._staged(path)
        if not source.exists():
            raise SqlError(f"SemanticException Invalid path: No files matching path {path}")
        shutil.rmtree(place, ignore_errors=True)
        place.mkdir()
        source.rename(place / source.name)
        return []

    def _show(self, table: str) -> Rows:
        return [(path.name,) for path in sorted(self._table(table).place.iterdir())]

    def _drop_batch(self, table: str, batch: str) -> Rows:
        shutil.rmtree(self._place_of(table, batch), ignore_errors=True)
        return []

    def _select_batch(self, column: str, table: str, batch: str) -> Rows:
        place = self._place_of(table, batch)
        return [(value,) for path in sorted(place.glob("*")) for value in _values(path, column)]

    def _looked(
        self, table: str, source: str, dates: str, column: str, batch: str
    ) -> Callable[[], Rows]:
        """Find what is missing in these dates; return what makes it visible."""
        found, staging = self._table(table), self._table(source)
        assert found.partition
        present = [
            row
            for date in re.findall(r"'([\d-]+)'", dates)
            for row in self._select(table, column, date)
        ]
        assert staging.partition
        missing: dict[str, list[dict[str, object]]] = {}
        for path in self._place_of(source, batch).glob("*"):
            for row in pq.read_table(path, partitioning=None).to_pylist():
                date = str(row[found.partition])
                if (row[column],) not in present:
                    whole = row | {staging.partition: batch}
                    ordered = {name: whole[name] for name in found.columns}
                    missing.setdefault(date, []).append(ordered)

        def commit() -> Rows:
            with self._lock:
                for date, rows in missing.items():
                    place = found.place / f"{found.partition}={date}"
                    place.mkdir(exist_ok=True)
                    pq.write_table(pa.Table.from_pylist(rows), place / f"{uuid4().hex}.parquet")
            return []

        return commit

    def _insert_ids(self, table: str, column: str, source: str, batch: str) -> Rows:
        ids = [cell for (cell,) in self._select_batch(column, source, batch)]
        pq.write_table(pa.table({column: ids}), self._table(table).place / "0.parquet")
        return []

    def _location(self, place: Path) -> str:
        return f"hdfs://backupd/{place.relative_to(self.hdfs)}" if self.hdfs else f"file:{place}"

    def _staged(self, url: str) -> Path:
        path = urlsplit(url).path
        return self.hdfs / path.strip("/") if self.hdfs else Path(path)

    def _place_of(self, table: str, batch: str) -> Path:
        found = self._table(table)
        return found.place / f"{found.partition}={batch}"

    def _select(self, table: str, column: str, date: str | None) -> Rows:
        found = self._table(table)
        place = found.place if date is None else found.place / f"{found.partition}={date}"
        return [
            (value,) for path in sorted(place.glob("*.parquet")) for value in _values(path, column)
        ]

    def _select_any(self, statement: str, table: str) -> Rows:
        return select(statement, table, self._table(table))

    def _table(self, name: str) -> HiveTable:
        found = self.tables.get(_plain(name))
        return found or _missing(f"Table not found {_plain(name)}", 10001)

    def _partition(self, table: HiveTable, date: str) -> Path:
        place = table.place / f"{table.partition}={date}"
        return place if place.exists() else _missing(f"Partition not found {date}", 10006)


def _values(path: Path, column: str) -> list[str]:
    values: list[str] = pq.read_table(path, columns=[column], partitioning=None)[0].to_pylist()
    return values


def _plain(name: str) -> str:
    return name.replace("`", "")


def _missing(what: str, code: int) -> NoReturn:
    raise SqlError(f"SemanticException [Error {code}]: {what}", code)
