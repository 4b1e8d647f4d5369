"""The statements that are run in Hive, built. Pure.

No file name or other outside value stands in a statement: only names out of the config (checked
there, and quoted here), dates and ids that are checked here by their form. A value of another form
raises ValueError: it can only come from a fault of this program.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from backupd.core.records import ID_FORM
from backupd.core.rows import ROW_ID_FORM
from backupd.core.times import DATE_FORM
from backupd.warehouse.columns import in_file

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

_PATH = re.compile(r"[\w/.:=@%+-]+", re.ASCII)


class TableSql:
    """Statements about the production table, which is partitioned by date."""

    def __init__(self, database: str, table: str, partition: str) -> None:
        """`partition` is what the table calls its only partition column."""
        self.name = f"{identifier(database)}.{identifier(table)}"
        self.partition = identifier(partition)

    def describe(self) -> str:
        """Columns, place and format of the table."""
        return f"DESCRIBE FORMATTED {self.name}"

    def describe_partition(self, date: str) -> str:
        """The same of one partition; an error where there is none."""
        return f"DESCRIBE FORMATTED {self.name} {self.spec(date)}"

    def partitions(self) -> str:
        """Return the partitions, each as `<column>=<date>`."""
        return f"SHOW PARTITIONS {self.name}"

    def set_location(self, date: str, location: str) -> str:
        """Have a partition read from another directory, from the next query on."""
        place = literal(location, _PATH)
        return f"ALTER TABLE {self.name} {self.spec(date)} SET LOCATION {place}"

    def add_partitions(self, dates: Collection[str]) -> str:
        """Make the partitions that are missing."""
        specs = " ".join(self.spec(date) for date in sorted(dates))
        return f"ALTER TABLE {self.name} ADD IF NOT EXISTS {specs}"

    def load(self, path: str, date: str) -> str:
        """Move a file into a partition."""
        return f"LOAD DATA INPATH {literal(path, _PATH)} INTO TABLE {self.name} {self.spec(date)}"

    def select_ids(self, id_column: str, date: str) -> str:
        """Return the ids of a partition, each as often as it is there."""
        return f"SELECT {identifier(id_column)} FROM {self.name} WHERE {self.among([date])}"

    def select_keys(self, id_column: str, dates: Collection[str], ids: Collection[str]) -> str:
        """Return id and date of the rows with these ids in these partitions."""
        literals = ", ".join(literal(file_id, ROW_ID_FORM) for file_id in sorted(ids))
        column = identifier(id_column)
        return (
            f"SELECT {column}, {self.partition} FROM {self.name}"
            f" WHERE {self.among(dates)} AND {column} IN ({literals})"
        )

    def among(self, dates: Collection[str]) -> str:
        """Return the condition for rows to be in these partitions."""
        literals = [literal(date, DATE_FORM) for date in sorted(dates)]
        if len(literals) == 1:
            return f"{self.partition} = {literals[0]}"
        return f"{self.partition} IN ({', '.join(literals)})"

    def spec(self, date: str) -> str:
        """Return the words that name one partition."""
        return f"PARTITION ({self.partition} = {literal(date, DATE_FORM)})"


class StagingSql:
    """Statements about the staging table, which is partitioned by batch."""

    def __init__(self, database: str, table: str, partition: str) -> None:
        """`partition` is what the table calls its only partition column."""
        self.name = f"{identifier(database)}.{identifier(table)}"
        self._partition = identifier(partition)

    def describe(self) -> str:
        """Columns, place and format of the table."""
        return f"DESCRIBE FORMATTED {self.name}"

    def add_partition(self, batch_id: str) -> str:
        """Make the batch's partition, if it is missing: LOAD DATA can lose a file that makes it."""
        return f"ALTER TABLE {self.name} ADD IF NOT EXISTS {self._spec(batch_id)}"

    def load(self, path: str, batch_id: str) -> str:
        """Move a file into the batch's partition, in place of what is there."""
        into = f"INTO TABLE {self.name} {self._spec(batch_id)}"
        return f"LOAD DATA INPATH {literal(path, _PATH)} OVERWRITE {into}"

    def select_ids(self, id_column: str, batch_id: str) -> str:
        """Return the ids that are staged for a batch."""
        return f"SELECT {identifier(id_column)} FROM {self.name} WHERE {self.of(batch_id)}"

    def batches(self) -> str:
        """Return the partitions, each as `<column>=<batch id>`."""
        return f"SHOW PARTITIONS {self.name}"

    def drop(self, batch_id: str) -> str:
        """Remove what is staged for a batch, if anything is."""
        return f"ALTER TABLE {self.name} DROP IF EXISTS {self._spec(batch_id)} PURGE"

    def of(self, batch_id: str) -> str:
        """Return the condition for rows to be a batch's."""
        return f"{self._partition} = {literal(batch_id, ID_FORM)}"

    def _spec(self, batch_id: str) -> str:
        return f"PARTITION ({self._partition} = {literal(batch_id, ID_FORM)})"


def insert_missing(
    production: TableSql,
    staging: StagingSql,
    columns: Mapping[str, str],
    batch_id: str,
    dates: Collection[str],
) -> str:
    """Bring a batch's staged rows into production, those whose file ids are not there.

    `dates` are those of the batch: no other partition is looked at. Values go by position.
    """
    names = [identifier(name) for name in in_file(columns).values()]
    file_id = identifier(columns["file_id"])
    values = ", ".join(f"staged.{name}" for name in [*names, production.partition])
    return (
        f"INSERT INTO TABLE {production.name} PARTITION ({production.partition})"
        f" SELECT {values} FROM {staging.name} staged"
        f" LEFT JOIN (SELECT {file_id} FROM {production.name}"
        f" WHERE {production.among(dates)}) present"
        f" ON staged.{file_id} = present.{file_id}"
        f" WHERE staged.{staging.of(batch_id)} AND present.{file_id} IS NULL"
    )


def leave_one_each(production: TableSql, columns: Mapping[str, str], date: str) -> str:
    """Write a partition anew with one row for each file id, the earliest batch's."""
    names = ", ".join(identifier(name) for name in in_file(columns).values())
    file_id, batch_id = identifier(columns["file_id"]), identifier(columns["batch_id"])
    return (
        f"INSERT OVERWRITE TABLE {production.name} {production.spec(date)} SELECT {names} FROM"
        f" (SELECT {names}, row_number() OVER (PARTITION BY {file_id} ORDER BY {batch_id})"
        f" AS copy_number FROM {production.name} WHERE {production.among([date])}) numbered"
        f" WHERE copy_number = 1"
    )


def make_beside(table: str, like: TableSql, location: str) -> str:
    """Make a table with the columns and the format of another one, in a directory of its own.

    Dropped, it leaves its files, whatever the server's default is.
    """
    return (
        f"CREATE EXTERNAL TABLE {table} LIKE {like.name} LOCATION {literal(location, _PATH)}"
        " TBLPROPERTIES ('external.table.purge' = 'false', 'discover.partitions' = 'false')"
    )


def make_over(table: str, location: str, *, purge: bool) -> str:
    """Make a table of a directory; with `purge` the directory goes with it when it is dropped."""
    return (
        f"CREATE EXTERNAL TABLE IF NOT EXISTS {table} (`line` string) STORED AS TEXTFILE"
        f" LOCATION {literal(location, _PATH)}"
        f" TBLPROPERTIES ('external.table.purge' = '{str(purge).lower()}')"
    )


def put_in_place(path: str, table: str) -> str:
    """Put a file in the place of all in a table's directory, which stays."""
    return f"LOAD DATA INPATH {literal(path, _PATH)} OVERWRITE INTO TABLE {table}"


def drop(table: str) -> str:
    """Drop a table, if it is there. Its name is quoted already."""
    return f"DROP TABLE IF EXISTS {table}"


def can_be_located(location: str) -> bool:
    """Return whether a location may stand in a statement."""
    return _PATH.fullmatch(location) is not None


def copy_rows(source: TableSql, target: TableSql, columns: Mapping[str, str], date: str) -> str:
    """Write a partition's rows into another table's partition, as one file: it is sorted whole."""
    names = ", ".join(identifier(name) for name in in_file(columns).values())
    return (
        f"INSERT INTO TABLE {target.name} {target.spec(date)} SELECT {names} FROM {source.name}"
        f" WHERE {source.among([date])} ORDER BY {identifier(columns['file_id'])}"
    )


def count_differences(one: TableSql, other: TableSql, columns: Mapping[str, str], date: str) -> str:
    """Return how many different rows a partition has more or less often than another table's."""
    names = ", ".join(identifier(name) for name in in_file(columns).values())
    sides = " UNION ALL ".join(
        f"SELECT {names}, {side} AS side FROM {table.name} WHERE {table.among([date])}"
        for table, side in ((one, "1"), (other, "-1"))
    )
    return (
        f"SELECT count(*) FROM (SELECT {names}, sum(side) AS surplus FROM ({sides}) sides"
        f" GROUP BY {names} HAVING sum(side) <> 0) differing"
    )


def count_by_batch(table: TableSql, batch_column: str, date: str) -> str:
    """Return which batches made the rows of a partition, and how many each."""
    column = identifier(batch_column)
    where = table.among([date])
    return f"SELECT {column}, count(*) FROM {table.name} WHERE {where} GROUP BY {column}"


def refresh(table: str, partition: str = "") -> str:
    """Have Impala look for the files of a table or a partition again. Both are quoted already."""
    return f"REFRESH {table} {partition}".rstrip()


def make_probe(table: str, column: str) -> str:
    """Make a table that ends with the session."""
    columns = f"({identifier(column)} string)"
    return f"CREATE TEMPORARY TABLE {identifier(table)} {columns} STORED AS PARQUET"


def load_probe(table: str, path: str) -> str:
    """Move a file into it."""
    return f"LOAD DATA INPATH {literal(path, _PATH)} INTO TABLE {identifier(table)}"


def insert_probe(table: str, staging: StagingSql, column: str, batch_id: str) -> str:
    """Have a job bring the ids that are staged for a batch into it."""
    return f"INSERT INTO TABLE {identifier(table)} {staging.select_ids(column, batch_id)}"


def now_probe() -> str:
    """Return the statement for the server's time, in seconds since the epoch; it needs no job."""
    return "SELECT unix_timestamp(current_timestamp())"


def who_probe() -> str:
    """Return the statement for whom the server takes us for; it needs no job."""
    return "SELECT current_user()"


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
    """Return whether this is an id that backupd gave to a file or a batch."""
    return ID_FORM.fullmatch(text) is not None


def literal(text: str, form: re.Pattern[str]) -> str:
    """Quote a value of this form. Raises ValueError for any other."""
    if not form.fullmatch(text):
        raise ValueError(f"{text!r} may not stand in a statement")
    return f"'{text}'"
