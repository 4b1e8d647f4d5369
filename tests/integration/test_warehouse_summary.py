"""The daily question to the production table, and the Parquet files' answer."""

from __future__ import annotations

from typing import TYPE_CHECKING

from backupd.config.sections import WarehouseSection
from backupd.warehouse import open_warehouse
from backupd.warehouse.embedded.summary import DayTotal, daily, daily_sql
from support.rows import COLUMNS, new_batch

if TYPE_CHECKING:
    from pathlib import Path

THEIRS = {**COLUMNS, "file_date": "partition_date", "record_count": "lines"}


def section(root: Path) -> WarehouseSection:
    return WarehouseSection(kind="embedded", columns=THEIRS, embedded_root=root)


async def test_counts_files_and_records_by_type_and_day(tmp_path: Path) -> None:
    warehouse = open_warehouse(section(tmp_path / "warehouse"))
    for size in (5, 2):
        batch, rows = new_batch(size, days=2)
        await warehouse.load(batch, rows)
        await warehouse.merge(batch, rows)
    await warehouse.aclose()

    totals = daily(section(tmp_path / "warehouse"))

    assert totals == [
        DayTotal(file_type="traffic", file_date="2026-11-23", files=4, records=4 * 42),
        DayTotal(file_type="traffic", file_date="2026-11-24", files=3, records=3 * 42),
    ]


def test_asks_by_the_names_that_the_table_has(tmp_path: Path) -> None:
    assert daily_sql(section(tmp_path)) == (
        "SELECT file_type, partition_date, count(*) AS files, sum(lines) AS records\n"
        "  FROM customers_files_records_count\n"
        " GROUP BY file_type, partition_date\n"
        " ORDER BY file_type, partition_date"
    )
