"""The statements that are run in Hive, built. Pure.

No file name or other outside value stands in a statement: only names out of the config (checked
there, and quoted here), dates and ids that are checked here by their form. A value of another form
raises ValueError: it can only come from a fault of this program.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Collection

_ID = re.compile(r"[0-9a-f]{20}")  # core.records.new_id
_DATE = re.compile(r"\d{4}-\d{2}-\d{2}")
_PATH = re.compile(r"[\w/.:=@%+-]+", re.ASCII)


class TableSql:
    """Statements about one partitioned table."""

    def __init__(self, database: str, table: str, partition: str) -> None:
        """`partition` is what the table calls its only partition column."""
        self.name = f"{identifier(database)}.{identifier(table)}"
        self._partition = identifier(partition)

    def describe(self) -> str:
        """Columns, place and format of the table."""
        return f"DESCRIBE FORMATTED {self.name}"

    def describe_partition(self, date: str) -> str:
        """The same of one partition; an error where there is none."""
        return f"DESCRIBE FORMATTED {self.name} {self.spec(date)}"

    def add_partitions(self, dates: Collection[str]) -> str:
        """Make the partitions that are missing."""
        specs = " ".join(self.spec(date) for date in sorted(dates))
        return f"ALTER TABLE {self.name} ADD IF NOT EXISTS {specs}"

    def load(self, path: str, date: str) -> str:
        """Move a file into a partition."""
        return f"LOAD DATA INPATH {_literal(path, _PATH)} INTO TABLE {self.name} {self.spec(date)}"

    def select_ids(self, id_column: str, date: str, among: Collection[str] = ()) -> str:
        """Return the ids of a partition, each as often as it is there; with `among` only those."""
        statement = (
            f"SELECT {identifier(id_column)} FROM {self.name}"
            f" WHERE {self._partition} = {_literal(date, _DATE)}"
        )
        if not among:
            return statement
        ids = ", ".join(_literal(file_id, _ID) for file_id in sorted(among))
        return f"{statement} AND {identifier(id_column)} IN ({ids})"

    def spec(self, date: str) -> str:
        """Return the words that name one partition."""
        return f"PARTITION ({self._partition} = {_literal(date, _DATE)})"


def refresh(table: str, partition: str = "") -> str:
    """Have Impala look for the files of a table or a partition again. Both are quoted already."""
    return f"REFRESH {table} {partition}".rstrip()


def make_probe(table: str, column: str) -> str:
    """Make a table that ends with the session."""
    columns = f"({identifier(column)} string)"
    return f"CREATE TEMPORARY TABLE {identifier(table)} {columns} STORED AS PARQUET"


def load_probe(table: str, path: str) -> str:
    """Move a file into it."""
    return f"LOAD DATA INPATH {_literal(path, _PATH)} INTO TABLE {identifier(table)}"


def select_probe(table: str, column: str) -> str:
    """Read it."""
    return f"SELECT {identifier(column)} FROM {identifier(table)}"


def drop_probe(table: str) -> str:
    """Remove it."""
    return f"DROP TABLE IF EXISTS {identifier(table)}"


def identifier(name: str) -> str:
    """Quote a name."""
    return "`" + name.replace("`", "``") + "`"


def is_id(text: str) -> bool:
    """Tell whether this is an id that backupd gave to a file or a batch."""
    return _ID.fullmatch(text) is not None


def _literal(text: str, form: re.Pattern[str]) -> str:
    if not form.fullmatch(text):
        raise ValueError(f"{text!r} may not stand in a statement")
    return f"'{text}'"
