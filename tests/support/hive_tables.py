"""The few statements that backupd runs in Hive, carried out on Parquet files in a directory.

It does what was seen of a real Hive 4.0.1, also where that is odd: LOAD DATA is a rename and never
writes over a file, errors have the real numbers.
"""

from __future__ import annotations

import re
import shutil
import threading
import time
from collections import Counter
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn
from urllib.parse import urlsplit

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
_PLACE = r"'(?P<place>[^']+)'"
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
    locations: dict[str, Path] = field(default_factory=dict)  # of partitions that lie elsewhere

    def of(self, value: str) -> Path:
        """Return where a partition lies, or would."""
        return self.locations.get(value, self.place / f"{self.partition}={value}")

    def partitions(self) -> list[str]:
        """Return the values of all partitions."""
        names = [path.name for path in self.place.glob(f"{self.partition}=*")]
        return sorted({name.partition("=")[2] for name in names} | self.locations.keys())

    def files(self, value: str) -> list[Path]:
        """Return the files that a partition is read from: hidden ones are not."""
        return seen(self.of(value))


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
            rf"CREATE EXTERNAL TABLE {_NAME} LIKE (?P<like>\S+) LOCATION {_PLACE}"
            r" TBLPROPERTIES \('external.table.purge' = 'false', .+\)": self._make_like,
            rf"CREATE EXTERNAL TABLE IF NOT EXISTS {_NAME} \(`line` string\) STORED AS TEXTFILE"
            rf" LOCATION {_PLACE} TBLPROPERTIES \(.+ = '(?P<purge>\w+)'\)": self._make_over,
            rf"LOAD DATA INPATH '(?P<path>[^']+)' OVERWRITE INTO TABLE {_NAME}": self._put_in_place,
            rf"ALTER TABLE {_NAME} {_DATE} SET LOCATION {_PLACE}": self._set_location,
            rf"INSERT INTO TABLE {_NAME} {_DATE} SELECT .+ FROM (?P<source>\S+)"
            r" WHERE .+ ORDER BY `\w+`": self._copy_rows,
            rf"SELECT count\(\*\) FROM \(SELECT .+ FROM {_NAME} WHERE {_ONLY_DATE}"
            r" UNION ALL SELECT .+ FROM (?P<other>\S+) WHERE .+ HAVING .+": self._count_differences,
            rf"SELECT `\w+`, count\(\*\) FROM {_NAME} WHERE {_ONLY_DATE} GROUP BY .+": (
                self._count_by_batch
            ),
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
            found.of(date).mkdir(parents=True, exist_ok=True)
        return []

    def _load(self, path: str, table: str, date: str | None) -> Rows:
        found, source = self._table(table), self._staged(path)
        place = found.place
        if date is not None:
            place = found.of(date)
            place.mkdir(exist_ok=True)
        if not source.exists():
            raise SqlError(f"SemanticException Invalid path: No files matching path {path}")
        source.rename(_free(place, source.name))
        return []

    def _create(self, table: str, column: str) -> Rows:
        self.create(_plain(table), {column: "string"}, None)
        return []

    def _drop(self, table: str) -> Rows:
        found = self.tables.pop(_plain(table), None)
        if found is not None and found.parameters.get("external.table.purge") != "false":
            shutil.rmtree(found.place)
        return []

    def _make_like(self, table: str, like: str, place: str) -> Rows:
        made = self._make_at(table, place)
        made.columns, made.partition = self._table(like).columns, self._table(like).partition
        made.parameters["external.table.purge"] = "false"
        return []

    def _make_over(self, table: str, place: str, purge: str) -> Rows:
        if _plain(table) not in self.tables:
            self._make_at(table, place).parameters["external.table.purge"] = purge
        return []

    def _put_in_place(self, path: str, table: str) -> Rows:
        place, source = self._table(table).place, self._staged(path)
        if not source.exists():
            raise SqlError(f"SemanticException Invalid path: No files matching path {path}")
        for old in place.iterdir():
            old.unlink()
        source.rename(place / source.name)
        return []

    def _make_at(self, table: str, place: str) -> HiveTable:
        if _plain(table) in self.tables:
            raise SqlError(f"AlreadyExistsException(message:Table {_plain(table)} already exists)")
        made = HiveTable(self._staged(place), {}, None)
        made.place.mkdir(parents=True, exist_ok=True)
        self.tables[_plain(table)] = made
        return made

    def _set_location(self, table: str, date: str, place: str) -> Rows:
        found = self._table(table)
        self._partition(found, date)
        found.locations[date] = self._staged(place)
        return []

    def _copy_rows(self, table: str, date: str, source: str) -> Rows:
        rows = [row for path in self._files(source, date) for row in _all(path)]
        place = self._table(table).of(date) / "000000_0"
        pq.write_table(pa.Table.from_pylist(rows, _schema(self._files(source, date))), place)
        return []

    def _count_differences(self, table: str, date: str, other: str) -> Rows:
        one, two = (
            Counter(str(row) for path in self._files(each, date) for row in _all(path))
            for each in (table, other)
        )
        return [(str(len((one - two) | (two - one))),)]

    def _count_by_batch(self, table: str, date: str) -> Rows:
        counted = Counter(str(row["batch_id"]) for f in self._files(table, date) for row in _all(f))
        return [(batch, str(count)) for batch, count in counted.items()]

    def _files(self, table: str, date: str) -> list[Path]:
        return seen(self._partition(self._table(table), date))

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
        found = self._table(table)
        return [(f"{found.partition}={value}",) for value in found.partitions()]

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
                    place = found.of(date)
                    place.mkdir(exist_ok=True)
                    pq.write_table(pa.Table.from_pylist(rows), _free(place, "000000_0"))
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
        place = found.place if date is None else found.of(date)
        return [(value,) for path in seen(place) for value in _values(path, column)]

    def _select_any(self, statement: str, table: str) -> Rows:
        return select(statement, table, self._table(table))

    def _table(self, name: str) -> HiveTable:
        found = self.tables.get(_plain(name))
        return found or _missing(f"Table not found {_plain(name)}", 10001)

    def _partition(self, table: HiveTable, date: str) -> Path:
        place = table.of(date)
        return (
            place if date in table.partitions() else _missing(f"Partition not found {date}", 10006)
        )


def _free(place: Path, name: str) -> Path:
    """Return where a file of this name comes: never over another one."""
    target, copies = place / name, 0
    while target.exists():
        copies += 1
        stem, dot, suffix = name.partition(".")
        target = place / f"{stem}_copy_{copies}{dot}{suffix}"
    return target


def seen(place: Path) -> list[Path]:
    """Return the files that are read there: hidden ones are not."""
    return sorted(path for path in place.glob("*") if path.name[0] not in "._")


def _all(path: Path) -> list[dict[str, object]]:
    rows: list[dict[str, object]] = pq.read_table(path, partitioning=None).to_pylist()
    return rows


def _schema(files: list[Path]) -> pa.Schema:
    return pq.read_schema(files[0])


def _values(path: Path, column: str) -> list[str]:
    values: list[str] = pq.read_table(path, columns=[column], partitioning=None)[0].to_pylist()
    return values


def _plain(name: str) -> str:
    return name.replace("`", "")


def _missing(what: str, code: int) -> NoReturn:
    raise SqlError(f"SemanticException [Error {code}]: {what}", code)
