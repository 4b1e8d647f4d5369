"""Hive and Impala, as the old job's variables name them."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from backupd.migration.draft import LeftOut, Setting, ToFillIn

if TYPE_CHECKING:
    from collections.abc import Iterator

    from backupd.migration.draft import Piece
    from backupd.migration.properties import Properties, Text

_HIVE = ("warehouse", "hive")
_TABLES = {
    "database": "database",
    "production table": "production_table",
    "staging table": "staging_table",
}
_ADDRESS = re.compile(
    r"(?:[a-z0-9:]+://)?(?P<host>[\w.-]+)(?::(?P<port>\d+))?(?P<rest>.*)", re.DOTALL
)
_NOWHERE = "invalid"  # a domain that never exists: RFC 2606
_WEBHDFS_PORT = 9870
_IMPALA_SHELL = 21000  # Beeswax, which is not spoken here


def warehouse(properties: Properties) -> Iterator[Piece]:
    """Yield what is said of Hive and Impala; nothing where no variable is about Hive."""
    found = {key: properties.text(meaning) for meaning, key in _TABLES.items()}
    folder = properties.text("HDFS folder")
    impala = properties.text("Impala")
    named = [each.name for each in (*found.values(), folder) if each]
    if not named:
        if impala:
            yield LeftOut(impala.name, "there is an Impala only with Hive")
        return
    words = "the old job's rows are in Hive"
    yield Setting(
        section=("warehouse",), name="kind", value="hive", variables=tuple(named), words=words
    )
    yield from _server(properties.text("HiveServer2"))
    for key, each in found.items():
        if each:
            yield Setting(section=_HIVE, name=key, value=each.value, variables=(each.name,))
    yield Setting(
        section=_HIVE, name="merge", value="insert", words="as the old job does: any table format"
    )
    yield from _staging(folder, properties.text("NameNode"))
    if impala:
        yield from _impala(impala)


def _server(found: Text | None) -> Iterator[Piece]:
    address = _ADDRESS.fullmatch(found.value) if found else None
    if found is None or address is None:
        what = "no variable names HiveServer2's host: the old job calls hive"
        yield Setting(section=_HIVE, name="host", value=f"hiveserver2.{_NOWHERE}", words=what)
        yield ToFillIn("warehouse.hive.host", what)
        return
    yield Setting(section=_HIVE, name="host", value=address["host"], variables=(found.name,))
    if address["port"]:
        port = int(address["port"])
        yield Setting(section=_HIVE, name="port", value=port, variables=(found.name,))
    if address["rest"].strip("/"):
        yield LeftOut(
            found.name, "what follows the host and port in it: man backupd-config has keys for it"
        )


def _staging(folder: Text | None, name_node: Text | None) -> Iterator[Piece]:
    if folder is None:
        path, server = "/user/backupd/staging", ""
    else:
        path, server = _of_hdfs(folder.value)
    variables = [folder.name] if folder else []
    if name_node and not server:
        address = _ADDRESS.fullmatch(name_node.value)
        server = address["host"] if address else ""
        variables.append(name_node.name)
    if not server or not folder:
        what = "no variable names the NameNode's host" if folder else "no variable names the folder"
        yield ToFillIn("warehouse.hive.staging_url", f"{what}: the old job calls hadoop fs")
    yield Setting(
        section=_HIVE,
        name="staging_url",
        value=f"webhdfs://{server or f'namenode.{_NOWHERE}'}:{_WEBHDFS_PORT}{path}",
        variables=tuple(variables),
        words="the old job empties this folder: never run both at once",
    )


def _of_hdfs(value: str) -> tuple[str, str]:
    """Return the path and the host ("" where none is named) of a folder in HDFS."""
    server, path = "", value.removesuffix("*")
    if value.startswith("hdfs://"):
        server, _, path = path.removeprefix("hdfs://").partition("/")
    return "/" + path.strip("/"), server.partition(":")[0]


def _impala(found: Text) -> Iterator[Piece]:
    address = _ADDRESS.fullmatch(found.value)
    section = ("warehouse", "impala")
    host = address["host"] if address else found.value
    yield Setting(section=section, name="host", value=host, variables=(found.name,))
    if address and address["port"] and int(address["port"]) != _IMPALA_SHELL:
        port = int(address["port"])
        yield Setting(section=section, name="port", value=port, variables=(found.name,))
