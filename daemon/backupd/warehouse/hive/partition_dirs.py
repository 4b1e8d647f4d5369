"""Where partitions lie, what lies there, and whether all of that is ours. Blocks.

    <table>/file_date=YYYY-MM-DD                            where Hive puts a partition
    <table>/.compacted/<id>/file_date=YYYY-MM-DD            where compaction puts it

What begins with a dot is passed over by MSCK REPAIR TABLE, and by whoever walks the table's folder.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from backupd.core.names import escaped
from backupd.warehouse.compacted import FILE_FORM, LeftAloneError
from backupd.warehouse.hive.sql import can_be_located
from backupd.warehouse.hive.table import dates_of, describe, path_of, unfit_for_files, unlike

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from backupd.core.compacting import Replacement
    from backupd.core.ports import StatementLog
    from backupd.warehouse.hive.connection import Connection
    from backupd.warehouse.hive.sql import TableSql
    from backupd.warehouse.hive.staging import Entry, Staging
    from backupd.warehouse.hive.table import Description

COMPACTED = ".compacted"
_INSERTED = re.compile(r"\d{6}_\d+(?:_copy_\d+)?(?:\.\w+)*", re.ASCII)
_MOST_BYTES = 256 * 1024**2  # of a date's files, which go through this process's memory


@dataclass(frozen=True, slots=True)
class Partition:
    """A partition: its location as Hive writes it, and its files by name."""

    date: str
    location: str
    files: Mapping[str, Entry]

    @property
    def path(self) -> str:
        """Its directory, without scheme and host."""
        return path_of(self.location)


@dataclass(frozen=True, slots=True)
class PartitionDirs:
    """Those of the table by `sql`, whose columns are called as `columns` says.

    `by_insert`: its files were made by Hive too, which gives them names of its own; whose they are
    show their rows.
    """

    connection: Connection
    sql: TableSql
    staging: Staging
    columns: Mapping[str, str]
    log: StatementLog
    by_insert: bool

    def dates(self) -> list[str]:
        """Return the dates of all partitions."""
        return dates_of(self.connection.run(self.sql.partitions()))

    def counts(self, dates: Iterable[str], replaced: Sequence[Replacement]) -> dict[str, int]:
        """Return how many files each date has, where the partition is to be expected."""
        table = self.table()
        expected = {each.file_date: path_of(each.new) for each in replaced}
        with self.staging.files() as files:
            return {
                date: len(files.names(expected.get(date) or path_of(self.usual(table, date))))
                for date in dates
            }

    def look(self, date: str, known: Sequence[Replacement]) -> Partition:
        """Return a partition that may be compacted: all in it is ours, and understood.

        `known` are the replacements of its table. Raises LeftAloneError.
        """
        table = self.table()
        found = describe(self.connection.run(self.sql.describe_partition(date)))
        _refuse(*unfit_for_files(table), *unfit_for_files(found), *self._unlike(table, found))
        new_ones = {each.new: each.id for each in known}
        places = {self.usual(table, date), *new_ones}
        if found.location not in places:
            _refuse(f"it lies at {found.location}, which is not where backupd or Hive puts it")
        if not can_be_located(found.location):
            _refuse(f"its location {found.location} has characters that no statement of ours has")
        there = self.entries(found.location)
        _refuse(*self._not_ours(there, set(new_ones.values())))
        if (size := sum(each.size for each in there.values())) > _MOST_BYTES:
            _refuse(f"its files have {size:,} bytes, and {_MOST_BYTES:,} are compacted at most")
        return Partition(date, found.location, there)

    def location(self, date: str) -> str:
        """Return where a partition lies just now; "": it was dropped."""
        if date not in self.dates():
            return ""
        return describe(self.connection.run(self.sql.describe_partition(date))).location

    def usual(self, table: Description, date: str) -> str:
        """Return where Hive puts a partition by itself."""
        return f"{table.location}/{self._name(date)}"

    def new(self, replacement_id: str, date: str) -> str:
        """Return where compaction puts it."""
        return f"{self.table().location}/{COMPACTED}/{replacement_id}/{self._name(date)}"

    def entries(self, location: str) -> dict[str, Entry]:
        """Return what lies at a location."""
        with self.staging.files() as files:
            return files.entries(path_of(location))

    def table(self) -> Description:
        """Return what the table says of itself."""
        return describe(self.connection.run(self.sql.describe()))

    def _name(self, date: str) -> str:
        return f"{self.columns['file_date'].lower()}={date}"

    def _unlike(self, table: Description, partition: Description) -> Iterator[str]:
        """Yield in what its columns are not those that the config names, nor the table's."""
        yield from unlike(table, self.columns)
        if partition.columns != table.columns:
            yield "it has other columns than the table"

    def _not_ours(self, there: Mapping[str, Entry], new_ids: set[str]) -> Iterator[str]:
        """Yield what was found that no batch of this ledger, nor a compaction, has made."""
        matches = {name: FILE_FORM.fullmatch(name) for name in there}
        ids = [match["id"] for match in matches.values() if match]
        known = self.log.known_batches(ids)
        for name, match in matches.items():
            is_ours = match and match["id"] in (new_ids if match["compacted"] else known)
            inserted = self.by_insert and _INSERTED.fullmatch(name)
            if not (is_ours or inserted) or not there[name].is_file:
                yield f"{escaped(name)} is not a file that this backupd made"
                return


def _refuse(*reasons: str) -> None:
    if reasons:
        raise LeftAloneError("; ".join(reasons))
