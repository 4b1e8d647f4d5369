"""The statements that make the tables that a config wants. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING

from backupd.warehouse.columns import KINDS, PARTITION, STAGING_PARTITION, in_file
from backupd.warehouse.history_rows import PARTITION as DONE_DATE
from backupd.warehouse.hive.history_sql import COLUMNS as HISTORY

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from backupd.config.sections import HiveSection, WarehouseSection

TABLE = "customers_files_records_count"
_STAYS = "TBLPROPERTIES ('external.table.purge' = 'false');"  # dropped, it leaves its files


def ddl(section: WarehouseSection) -> str:
    """Return the CREATE statements for the tables that this config wants."""
    if section.hive is not None:
        return _in_hive(section.columns, section.hive)
    return _embedded(section.columns, section.embedded_root)


def _in_hive(columns: Mapping[str, str], hive: HiveSection) -> str:
    database = _identifier(hive.database)
    return "\n".join(
        [
            f"CREATE DATABASE IF NOT EXISTS {database};",
            *(_staging(hive, columns) if hive.merge == "insert" else []),
            *_by_columns(f"{database}.{_identifier(hive.production_table)}", columns),
            _STAYS,
            *_table(f"{database}.{_identifier(hive.history_table)}", HISTORY, DONE_DATE),
            _STAYS,
            "",
        ]
    )


def _staging(hive: HiveSection, columns: Mapping[str, str]) -> list[str]:
    """Its files live for one merge: a dropped partition takes them along."""
    name = f"{_identifier(hive.database)}.{_identifier(hive.staging_table)}"
    return [
        *_by_columns(name, columns, STAGING_PARTITION),
        "TBLPROPERTIES ('external.table.purge' = 'true');",
    ]


def _embedded(columns: Mapping[str, str], root: Path) -> str:
    """`root` is the warehouse's, which the engine must be able to read under the same path."""
    return "\n".join(
        [
            *_by_columns(_identifier(TABLE), columns),
            f"LOCATION {_literal(f'file://{root}/production')};",
            "-- A new day is a new partition. This makes the engine see those that it does not",
            "-- know yet (in Impala: ALTER TABLE ... RECOVER PARTITIONS, then REFRESH):",
            f"MSCK REPAIR TABLE {_identifier(TABLE)};",
            "",
        ]
    )


def _by_columns(name: str, columns: Mapping[str, str], partition: str = PARTITION) -> list[str]:
    held = in_file(columns, partition)
    return _table(name, {theirs: KINDS[ours] for ours, theirs in held.items()}, columns[partition])


def _table(name: str, types: Mapping[str, str], partition: str) -> list[str]:
    lines = [f"  {_identifier(column)} {kind}" for column, kind in types.items()]
    return [
        f"CREATE EXTERNAL TABLE {name} (",
        ",\n".join(lines),
        ")",
        f"PARTITIONED BY ({_identifier(partition)} string)",
        "STORED AS PARQUET",
    ]


def _identifier(name: str) -> str:
    return "`" + name.replace("`", "``") + "`"


def _literal(text: str) -> str:
    return "'" + text.replace("\\", "\\\\").replace("'", "\\'") + "'"
