"""Partitions of a scripted Hive that are compacted, and what anybody reads in them meanwhile."""

from __future__ import annotations

import re
from collections import Counter
from typing import TYPE_CHECKING

from backupd.core.rows import RowKey
from backupd.warehouse import open_warehouse
from backupd.warehouse.hive.batch_statements import StatementMemory
from backupd.warehouse.hive.sql import TableSql
from support.hives import DATABASE, TABLE, hive_section
from support.merging import until_merged
from support.rows import new_batch

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from backupd.core.ports import Warehouse
    from backupd.core.rows import ProductionRow
    from backupd.warehouse.hive.replaced_dirs import ReplacementMemory
    from backupd.warehouse.hive.warehouse import HiveWarehouse
    from support.hive_server import HiveServer
    from support.hive_tables import HiveTable, Rows

DATE, NEXT = "2026-11-23", "2026-11-24"

STATEMENTS = {
    "files": [
        "CREATE EXTERNAL TABLE .+ LIKE",
        "ADD IF NOT EXISTS",
        "LOAD DATA",
        "DROP TABLE",
        "SET LOCATION",
    ],
    "insert": [
        "CREATE EXTERNAL TABLE .+ LIKE",
        "ADD IF NOT EXISTS",
        "GROUP BY `batch_id`",
        "INSERT INTO",
        "HAVING",
        "DROP TABLE",
        "SET LOCATION",
    ],
}
"""What compaction asks of Hive, beside looks, by the kind of merge."""


async def some_batches(warehouse: Warehouse, count: int = 3, days: int = 2) -> list[ProductionRow]:
    """Have batches merged that come into each of the dates."""
    made: list[ProductionRow] = []
    for _ in range(count):
        batch, rows = new_batch(2 * days, days=days)
        await until_merged(warehouse, batch, rows)
        made += rows
    return made


def production(server: HiveServer) -> HiveTable:
    """Return the production table as the server has it."""
    return server.tables.tables[f"{DATABASE}.{TABLE}"]


def files_of(server: HiveServer, date: str = DATE) -> list[Path]:
    """Return the files that the partition is read from."""
    return sorted(production(server).of(date).iterdir())


def usual_place(server: HiveServer, date: str = DATE) -> Path:
    """Return where the partition lay at first."""
    return production(server).place / f"file_date={date}"


def read_rows(server: HiveServer, dates: Sequence[str] = (DATE, NEXT)) -> Counter[RowKey]:
    """Return what anybody reads there just now."""
    sql = TableSql(DATABASE, TABLE, "file_date")
    queries = {date: sql.select_ids("file_id", date) for date in dates}
    return Counter(
        RowKey(str(row[0]), date) for date in dates for row in server.tables.run(queries[date])
    )


def each_once(rows: Sequence[ProductionRow]) -> Counter[RowKey]:
    """Return what is to be read of these rows."""
    return Counter(RowKey(row.file_id, row.file_date) for row in rows)


def at_statement(
    server: HiveServer, pattern: str, happening: Callable[[], object], *, after: bool = False
) -> None:
    """Have something happen once, just before the statement is carried out, or just after it."""
    carry_out, waiting = server.tables._run, [happening]

    def hooked(statement: str) -> Rows:
        is_it = bool(waiting and re.search(pattern, statement))
        if is_it and not after:
            waiting.pop()()
        rows = carry_out(statement)
        if is_it and after:
            waiting.pop()()
        return rows

    server.tables._run = hooked  # type: ignore[method-assign]


def at_every_statement(server: HiveServer, happening: Callable[[], None]) -> None:
    """Have something happen before and after each statement."""
    carry_out = server.tables._run

    def hooked(statement: str) -> Rows:
        happening()
        rows = carry_out(statement)
        happening()
        return rows

    server.tables._run = hooked  # type: ignore[method-assign]


def open_one(server: HiveServer, merge: str, memory: ReplacementMemory) -> HiveWarehouse:
    """Open a warehouse with a ledger of its own."""
    section = hive_section(server, merge=merge, statement_timeout=3.0)
    opened: HiveWarehouse = open_warehouse(section, StatementMemory(), replacements=memory)  # type: ignore[assignment]
    return opened


def was_cleared(server: HiveServer) -> bool:
    """Return whether only a note is left where the partition was."""
    return [path.name for path in usual_place(server).iterdir()] == ["moved-by-backupd.txt"]


def left_tables(server: HiveServer) -> list[str]:
    """Return the tables that compaction made and has not dropped."""
    return [name for name in server.tables.tables if "backupd_" in name]
