"""Hosts whose daemon works on a real, secured cluster."""

from __future__ import annotations

from typing import TYPE_CHECKING

from backupd.config.sample import toml
from support.daemon import Host
from support.hadoop_tables import new_table
from support.hives import DATABASE

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from support.secure_hadoop import SecureHadoop


def secured_host(
    root: Path,
    hadoop: SecureHadoop,
    way: Mapping[str, object],
    *,
    merge: str,
) -> tuple[Host, str]:
    """Return a host that works on tables of its own, and the production table's name.

    `way` are the keys that lead to Hive, as `hadoop.config_keys` has them.
    """
    root.mkdir()
    hive = new_table(hadoop, merge=merge).hive
    assert hive
    keys = dict(way) | {
        "merge": merge,
        "database": DATABASE,
        "production_table": hive.production_table,
        "staging_table": hive.staging_table,
        "history_table": hive.history_table,
        "staging_url": hive.staging.url.text,
        "statement_timeout": "60s",
    }
    kdc = hadoop.kdc
    host = Host(
        root,
        {
            "warehouse.kind": '"hive"',
            "batch.max_wait": '"1s"',
            "retry.cap": '"1s"',
            **{f"warehouse.hive.{name}": toml(value) for name, value in keys.items()},
            "kerberos.principal": toml(kdc.principal("backupd")),
            "kerberos.keytab": toml(str(kdc.keytab("backupd"))),
        },
    )
    return host, hive.production_table
