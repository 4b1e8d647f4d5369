"""Configs for a warehouse in Hive, and the production table it wants."""

from __future__ import annotations

from contextlib import ExitStack, contextmanager
from dataclasses import fields, replace
from pathlib import Path
from typing import TYPE_CHECKING

from backupd.config import urls
from backupd.config.sections import (
    HiveSection,
    LoginSection,
    StagingSection,
    TlsSection,
    WarehouseSection,
)
from backupd.warehouse.columns import KINDS, PARTITION, STAGING_PARTITION
from backupd.warehouse.history_rows import PARTITION as DONE_DATE
from backupd.warehouse.hive import history_sql
from backupd.warehouse.hive.batch_statements import StatementMemory
from support.hive_server import HiveServer
from support.hive_tables import HiveTables
from support.rows import COLUMNS

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

DATABASE, TABLE = "mnaas", "customers_files_records_count"
STAGING = "file:///staging"
STAGING_TABLE = "customers_files_inter_record_count"
HISTORY_TABLE = "customers_files_history"


@contextmanager
def running_hive(directory: Path) -> Iterator[HiveServer]:
    """Start a scriptable server with the tables that a config wants, stop it in the end."""
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
    tables.create(f"{DATABASE}.{HISTORY_TABLE}", history_sql.COLUMNS, DONE_DATE)
    with ExitStack() as stack:
        servers = [HiveServer(tables) for _ in range(count)]
        for server in servers:
            server.start()
            stack.callback(server.stop)
        yield servers


def staged(server: HiveServer) -> list[str]:
    """Return the folders in staging that hold anything: those of batches that were moved do not."""
    folder = server.tables.directory.parent / "staging"
    return sorted(path.name for path in folder.glob("*") if any(path.iterdir()))


NO_TLS = TlsSection(ca_file=None, cert_file=None, key_file=None)


class ServerMemory(StatementMemory):
    """The log of statements, and which servers were in use."""

    def __init__(self) -> None:
        super().__init__()
        self.in_use: list[Mapping[str, str]] = []

    def note_servers(self, in_use: Mapping[str, str]) -> None:
        """Keep them all, in order."""
        self.in_use.append(in_use)


def hive_options(**changes: object) -> HiveSection:
    """A `[warehouse.hive]` with some of its values changed, those of its login too.

    `host`, `port` and `staging_url` are as in the file.
    """
    given = {"host": "127.0.0.1", "port": 10000, "staging_url": STAGING} | changes
    host, port, url = (given.pop(name) for name in ("host", "port", "staging_url"))
    login, rest = _apart(LoginSection, given)
    section = HiveSection(
        hosts=((str(host), int(str(port))),),
        load_balanced=False,
        zookeeper=(),
        zookeeper_namespace="hiveserver2",
        login=login_section(**login),
        database=DATABASE,
        merge="files",
        staging_table=STAGING_TABLE,
        production_table=TABLE,
        history_table=HISTORY_TABLE,
        staging=staging_section(str(url)),
        statement_timeout=30.0,
        compact_after=172_800.0,
        compact_files=20,
        settings={},
    )
    return replace(section, **rest)  # type: ignore[arg-type]  # any field


def _apart(kind: type, changes: dict[str, object]) -> tuple[dict[str, object], dict[str, object]]:
    """Split what belongs to the fields of `kind` from the rest."""
    names = {each.name for each in fields(kind)}
    mine = {name: value for name, value in changes.items() if name in names}
    return mine, {name: value for name, value in changes.items() if name not in names}


def login_section(**changes: object) -> LoginSection:
    """How a server is spoken to, with some of it changed."""
    section = LoginSection(
        auth="NONE",
        username="backupd",
        password=None,
        kerberos=None,
        kerberos_service_name="hive",
        kerberos_host="",
        transport="binary",
        http_path="cliservice",
        tls=None,
    )
    return replace(section, **changes)  # type: ignore[arg-type]  # any field


def staging_section(url: str, **changes: object) -> StagingSection:
    """A staging folder, with some of it changed."""
    read = urls.staging_url(url)
    section = StagingSection(
        url=read, username=read.username or "backupd", password=None, kerberos=None, tls=NO_TLS
    )
    return replace(section, **changes)  # type: ignore[arg-type]  # any field


def in_hive(hive: HiveSection) -> WarehouseSection:
    """A `[warehouse]` of that kind, whose columns have our names."""
    return WarehouseSection(kind="hive", columns=COLUMNS, embedded_root=Path("/unused"), hive=hive)


def hive_section(server: HiveServer, **changes: object) -> WarehouseSection:
    """A config for a scriptable server, with `staging` beside its tables."""
    staging = f"file://{server.tables.directory.parent}/staging"
    places = {"host": server.host, "port": server.port, "staging_url": staging}
    return in_hive(hive_options(**places | changes))
