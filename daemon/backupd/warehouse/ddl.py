"""The statement that shows the embedded warehouse's production table to Hive or Impala. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING

from backupd.warehouse.columns import KINDS, PARTITION, in_file

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

TABLE = "customers_files_records_count"


def ddl(columns: Mapping[str, str], root: Path) -> str:
    """Return the CREATE statement for the production table, with what to run after it.

    `columns` maps our columns to their names in the table, in table order; `root` is the embedded
    warehouse's, which the engine must be able to read under the same path.
    """
    lines = [f"  {_identifier(name)} {KINDS[ours]}" for ours, name in in_file(columns).items()]
    return "\n".join(
        [
            f"CREATE EXTERNAL TABLE {_identifier(TABLE)} (",
            ",\n".join(lines),
            ")",
            f"PARTITIONED BY ({_identifier(columns[PARTITION])} string)",
            "STORED AS PARQUET",
            f"LOCATION {_literal(f'file://{root}/production')};",
            "-- A new day is a new partition. This makes the engine see those that it does not",
            "-- know yet (in Impala: ALTER TABLE ... RECOVER PARTITIONS, then REFRESH):",
            f"MSCK REPAIR TABLE {_identifier(TABLE)};",
            "",
        ]
    )


def _identifier(name: str) -> str:
    return "`" + name.replace("`", "``") + "`"


def _literal(text: str) -> str:
    return "'" + text.replace("\\", "\\\\").replace("'", "\\'") + "'"
