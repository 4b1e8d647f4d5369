"""Production tables in a real Hive, and what anybody reads in them."""

from __future__ import annotations

from contextlib import closing
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING, Any

from backupd.config.sections import KerberosSection, TlsSection
from backupd.config.urls import host_and_port
from backupd.warehouse.ddl import ddl
from support.hives import hive_options, in_hive, staging_section

if TYPE_CHECKING:
    from backupd.config.sections import WarehouseSection
    from support.hadoop import Hadoop, Transport

_NUMBERS = count(1)
PARQUET = "STORED AS PARQUET"


def new_table(
    hadoop: Hadoop,
    kind: str = PARQUET,
    transport: Transport = "binary",
    *,
    by_zookeeper: bool = False,
    **changes: object,
) -> WarehouseSection:
    """A config for a real server, with tables and a staging folder of its own.

    `kind` is what the production table's statement says in place of the config's own. Of `changes`,
    a `port` stands for another port of the first server.
    """
    name = f"rows_{next(_NUMBERS)}"
    own = {
        "production_table": name,
        "staging_table": f"staged_{name}",
        "history_table": f"history_{name}",
    }
    url = str(changes.pop("staging_url", f"{hadoop.staging_url}/{name}"))
    way = way_in(hadoop, transport, by_zookeeper=by_zookeeper)
    if "port" in changes:
        way["hosts"] = ((hadoop.host, changes.pop("port")),)
    kerberos, tls = way["kerberos"], way["tls"]
    staging = staging_section(url, kerberos=kerberos, **({"tls": tls} if tls else {}))
    section = in_hive(hive_options(**way | own | {"staging": staging} | changes))
    make_tables(hadoop, section, kind)
    return section


def way_in(hadoop: Hadoop, transport: Transport, *, by_zookeeper: bool) -> dict[str, Any]:
    """Return what sections hold of the keys that lead to these servers."""
    keys = hadoop.config_keys(transport, by_zookeeper=by_zookeeper)
    kerberos, way = hadoop.kerberos_keys(), dict(keys)
    for name in ("hosts", "zookeeper"):
        way[name] = tuple(map(host_and_port, keys.get(name, ())))  # type: ignore[call-overload]
    ca_file = way.pop("tls_ca_file", None)
    files = TlsSection(ca_file=Path(str(ca_file)), cert_file=None, key_file=None)
    way["tls"] = files if keys["tls"] else None
    way["kerberos"] = None
    if kerberos:
        keytab = Path(str(kerberos["keytab"]))
        way["kerberos"] = KerberosSection(principal=str(kerberos["principal"]), keytab=keytab)
    way["kerberos_service_name"] = "HTTP" if transport == "http" else "hive"
    return way


def make_tables(hadoop: Hadoop, section: WarehouseSection, kind: str = PARQUET) -> None:
    """Make the tables that a config wants."""
    *before, production, history = ddl(section).split("CREATE EXTERNAL TABLE")
    columns = production.partition("STORED AS")[0]
    made = f"CREATE {'EXTERNAL ' if kind == PARQUET else ''}TABLE{columns}{kind}"
    others = "CREATE EXTERNAL TABLE".join([*before, history])
    run(hadoop, *filter(str.strip, others.split(";\n")), made)


def run(hadoop: Hadoop, *statements: str) -> list[tuple[Any, ...]]:
    """Run statements as anybody would; return the rows of the last one."""
    with closing(hadoop.connection()) as connection, closing(connection.cursor()) as cursor:
        for statement in statements:
            cursor.execute(statement)
        return list(cursor.fetchall()) if cursor.description else []
