"""Production tables in a real Hive, and what anybody reads in them."""

from __future__ import annotations

from contextlib import closing
from itertools import count
from typing import TYPE_CHECKING, Any

from backupd.warehouse.ddl import ddl
from support.hives import hive_options, in_hive

if TYPE_CHECKING:
    from backupd.config.sections import WarehouseSection
    from support.hadoop import Hadoop

_NUMBERS = count(1)
PARQUET = "STORED AS PARQUET"


def new_table(hadoop: Hadoop, kind: str = PARQUET, **changes: object) -> WarehouseSection:
    """A config for a real server, with tables and a staging folder of its own.

    `kind` is what the production table's statement says in place of the config's own.
    """
    name = f"rows_{next(_NUMBERS)}"
    own = {
        "host": hadoop.host,
        "port": hadoop.ports["hive"],
        "production_table": name,
        "staging_table": f"staged_{name}",
        "staging_url": f"{hadoop.staging_url}/{name}",
    }
    section = in_hive(hive_options(**own | changes))
    make_tables(hadoop, section, kind)
    return section


def make_tables(hadoop: Hadoop, section: WarehouseSection, kind: str = PARQUET) -> None:
    """Make the tables that a config wants."""
    head, _, production = ddl(section).rpartition("CREATE EXTERNAL TABLE")
    columns = production.partition("STORED AS")[0]
    made = f"{head}CREATE {'EXTERNAL ' if kind == PARQUET else ''}TABLE{columns}{kind}"
    run(hadoop, *made.split(";\n"))


def run(hadoop: Hadoop, *statements: str) -> list[tuple[Any, ...]]:
    """Run statements as anybody would; return the rows of the last one."""
    with closing(hadoop.connection()) as connection, closing(connection.cursor()) as cursor:
        for statement in statements:
            cursor.execute(statement)
        return list(cursor.fetchall()) if cursor.description else []
