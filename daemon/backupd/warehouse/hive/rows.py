"""Looks for rows in the production table, as Hive reads it. Starts no job."""

from __future__ import annotations

from collections import Counter, defaultdict
from dataclasses import dataclass
from typing import TYPE_CHECKING

from backupd.core.rows import RowKey

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable

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
        wanted: dict[str, set[str]] = defaultdict(set)
        for key in keys:
            wanted[key.file_date].add(key.file_id)
        found: Counter[str] = Counter()
        for date, ids in wanted.items():
            named = sorted(ids)
            for at in range(0, len(named), _NAMED):
                found.update(self.ids(date, named[at : at + _NAMED]))
        return found

    def ids(self, date: str, among: Collection[str] = ()) -> list[str]:
        """Return the ids of a partition, each as often as it is there; with `among` only those."""
        rows = self.connection.run(self.sql.select_ids(self.id_column, date, among))
        return [str(row[0]) for row in rows]


def keys_of(rows: Iterable[ProductionRow]) -> set[RowKey]:
    """Return where these rows belong."""
    return {RowKey(row.file_id, row.file_date) for row in rows}
