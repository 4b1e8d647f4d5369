"""Configs for a warehouse in Hive, and the production table it wants."""

from __future__ import annotations

from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from backupd.config.sections import HiveSection, WarehouseSection
from backupd.warehouse.columns import KINDS, PARTITION, STAGING_PARTITION
from support.hive_server import HiveServer
from support.hive_tables import HiveTables
from support.rows import COLUMNS

if TYPE_CHECKING:
    from collections.abc import Iterator

DATABASE, TABLE = "mnaas", "customers_files_records_count"
STAGING_TABLE = "customers_files_inter_record_count"


@contextmanager
def running_hive(directory: Path) -> Iterator[HiveServer]:
    """Start a scriptable server with empty production and staging tables, stop it in the end."""
    with running_hives(directory, 1) as (server,):
        yield server


@contextmanager
def running_hives(directory: Path, count: int) -> Iterator[list[HiveServer]]:
    """Start several servers that share their tables."""
    directory.mkdir()
    tables = HiveTables(directory / "tables")
    for name, partition in ((TABLE, PARTITION), (STAGING_TABLE, STAGING_PARTITION)):
        held = {column: kind for column, kind in KINDS.items() if column != partition}
        tables.create(f"{DATABASE}.{name}", held, partition)
    with ExitStack() as stack:
        servers = [HiveServer(tables) for _ in range(count)]
        for server in servers:
            server.start()
            stack.callback(server.stop)
        yield servers


def hive_options(**changes: object) -> HiveSection:
    """A `[warehouse.hive]` with some of its values changed."""
    section = HiveSection(
        host="127.0.0.1",
        port=10000,
        auth="NONE",
        username="backupd",
        password=None,
        database=DATABASE,
        merge="files",
        staging_table=STAGING_TABLE,
        production_table=TABLE,
        staging_url="file:///staging",
        statement_timeout=30.0,
        settings={},
    )
    return replace(section, **changes)  # type: ignore[arg-type]  # any field


def in_hive(hive: HiveSection) -> WarehouseSection:
    """A `[warehouse]` of that kind, whose columns have our names."""
    return WarehouseSection(kind="hive", columns=COLUMNS, embedded_root=Path("/unused"), hive=hive)


def hive_section(server: HiveServer, **changes: object) -> WarehouseSection:
    """A config for a scriptable server, with `staging` beside its tables."""
    staging_url = f"file://{server.tables.directory.parent}/staging"
    places = {"host": server.host, "port": server.port, "staging_url": staging_url}
    return in_hive(hive_options(**places | changes))
