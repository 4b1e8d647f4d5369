"""Looks for rows in the production table, as Hive reads it. Starts no job."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from itertools import islice
from typing import TYPE_CHECKING

from backupd.core.rows import RowKey

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator

    from backupd.core.rows import ProductionRow
    from backupd.warehouse.hive.connection import Connection
    from backupd.warehouse.hive.sql import TableSql

_NAMED = 500  # ids in one statement, which is all that is asked for: a partition may be immense


@dataclass(frozen=True, slots=True)
class HiveRows:
    """The rows of the table by `sql`, whose column of ids is called `id_column`. Blocks."""

    connection: Connection
    sql: TableSql
    id_column: str

    def count(self, keys: Collection[RowKey]) -> Counter[str]:
        """Return how many rows each id has in the partition where it belongs."""
        rest = iter(sorted(keys, key=lambda key: key.file_date))
        found: Counter[str] = Counter()
        while wanted := set(islice(rest, _NAMED)):
            found.update(key.file_id for key in self._those(wanted) if key in wanted)
        return found

    def _those(self, wanted: Collection[RowKey]) -> Iterator[RowKey]:
        dates, ids = {key.file_date for key in wanted}, {key.file_id for key in wanted}
        query = self.sql.select_keys(self.id_column, dates, ids)
        return (RowKey(str(row[0]), str(row[1])) for row in self.connection.run(query))

    def ids(self, date: str) -> list[str]:
        """Return the ids of a partition, each as often as it is there."""
        rows = self.connection.run(self.sql.select_ids(self.id_column, date))
        return [str(row[0]) for row in rows]


def keys_of(rows: Iterable[ProductionRow]) -> set[RowKey]:
    """Return where these rows belong."""
    return {RowKey(row.file_id, row.file_date) for row in rows}
