"""A question that people ask the production table, in SQL, and the embedded table's answer."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from pyarrow import dataset

from backupd.warehouse.ddl import TABLE

if TYPE_CHECKING:
    from backupd.config.sections import WarehouseSection


@dataclass(frozen=True, slots=True, kw_only=True)
class DayTotal:
    """What the production table holds of one file type and day."""

    file_type: str
    file_date: str
    files: int
    records: int


def daily_sql(section: WarehouseSection) -> str:
    """Return the statement that gives what `daily` does, for Hive, Impala and the like."""
    name = section.columns
    group = f"{name['file_type']}, {name['file_date']}"
    columns = f"{group}, count(*) AS files, sum({name['record_count']}) AS records"
    # Nothing in it comes from a file: the config takes letters, digits and _ alone as names.
    return f"SELECT {columns}\n  FROM {TABLE}\n GROUP BY {group}\n ORDER BY {group}"  # noqa: S608


def daily(section: WarehouseSection) -> list[DayTotal]:
    """Count the files and records of each file type and day, by type, then day.

    Reads the Parquet files as any engine does. Raises OSError where there is no table yet.
    """
    name = section.columns
    group = [name["file_type"], name["file_date"]]
    table = dataset.dataset(
        section.embedded_root / "production", format="parquet", partitioning="hive"
    )
    counts = table.to_table([*group, name["record_count"]]).group_by(group)
    answer = counts.aggregate([([], "count_all"), (name["record_count"], "sum")])
    rows = answer.select([*group, "count_all", f"{name['record_count']}_sum"]).to_pydict()
    return [
        DayTotal(file_type=file_type, file_date=str(day), files=files, records=records)
        for file_type, day, files, records in sorted(zip(*rows.values(), strict=True))
    ]
