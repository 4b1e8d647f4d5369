"""The keys of `[warehouse]`, and how those are read that it alone has."""

from __future__ import annotations

import re
from dataclasses import fields, replace
from typing import Literal

from backupd.config.readers import (
    PATH,
    SECRET_FILE,
    TEXT,
    BadValueError,
    Key,
    Reader,
    choice,
    duration,
    expect,
    integer,
    plain_text,
    texts,
)
from backupd.config.tables import Table
from backupd.config.urls import staging_url
from backupd.core.rows import ProductionRow

Kind = Literal["embedded", "hive"]
Auth = Literal["NONE", "NOSASL", "LDAP"]
Merge = Literal["files", "insert"]

COLUMNS: tuple[str, ...] = tuple(field.name for field in fields(ProductionRow))
"""Our names of the production table's columns in their default order, the partition last."""

_IDENTIFIER = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_AUTH = choice(Auth)
_SETTING = re.compile(r"[A-Za-z][A-Za-z0-9_.-]*")


def _columns(value: object) -> dict[str, str]:
    """Read the columns: a list of our names, or a table from our names to the table's own."""
    names = value if isinstance(value, dict) else {name: name for name in texts(value)}
    if isinstance(value, list) and len(names) < len(value):
        raise BadValueError("names a column twice")
    if unknown := [name for name in names if name not in COLUMNS]:
        raise BadValueError(f"has unknown columns: {', '.join(unknown)}")
    if missing := [name for name in COLUMNS if name not in names]:
        raise BadValueError(f"lacks columns: {', '.join(missing)}")
    if next(reversed(names)) != COLUMNS[-1]:
        raise BadValueError(f"must end with {COLUMNS[-1]}, the partition")
    return _identifiers(names)


def _identifiers(names: dict[str, object]) -> dict[str, str]:
    theirs = {ours: plain_text(name) for ours, name in names.items()}
    if bad := [name for name in theirs.values() if not _IDENTIFIER.fullmatch(name)]:
        raise BadValueError(f"has names that no table can have: {', '.join(map(repr, bad))}")
    if len({name.lower() for name in theirs.values()}) < len(theirs):
        raise BadValueError("gives two columns the same name")
    return theirs


def _identifier(value: object) -> str:
    name = plain_text(value)
    if not _IDENTIFIER.fullmatch(name):
        raise BadValueError(f"is {name!r}, which is not a name of letters, digits and _")
    return name


def _settings(value: object) -> dict[str, str]:
    settings = {name: plain_text(each) for name, each in expect(value, dict).items()}
    if bad := [name for name in settings if not _SETTING.fullmatch(name)]:
        raise BadValueError(f"has names that no setting can have: {', '.join(map(repr, bad))}")
    return settings


def _auth(value: object) -> str:
    if value == "KERBEROS":
        raise BadValueError('is "KERBEROS", which this version does not support yet')
    return str(_AUTH.read(value))


_LOGIN = replace(_AUTH, read=_auth)
_PORT = integer(1, 65535)
_NAME = Reader(_identifier, "letters, digits and _, no digit first")

_HIVE = Table(
    'For kind = "hive": docs/hive.md says what the cluster must allow.',
    {
        "host": Key(TEXT, "HiveServer2.", example="hive.example"),
        "port": Key(_PORT, default=10000),
        "auth": Key(
            _LOGIN,
            """
            Same as the server's hive.server2.authentication: {allowed}. Kerberos and TLS are not
            supported yet.
            """,
            default="NONE",
        ),
        "username": Key(TEXT, default="backupd"),
        "password_file": Key(
            SECRET_FILE, "For LDAP.", default=None, example="/etc/backupd/hive-password"
        ),
        "database": Key(
            _NAME,
            "Names of databases and tables hold letters, digits and _.",
            default="mnaas",
        ),
        "merge": Key(
            choice(Merge),
            """
            "files": Parquet is written here and moved into the partition by LOAD DATA; starts no
            job, cannot double rows. "insert": through the staging table and INSERT ... SELECT; any
            table format.
            """,
            default="files",
        ),
        "staging_table": Key(
            _NAME,
            'Only for "insert"; no other daemon may use it.',
            default="customers_files_inter_record_count",
        ),
        "production_table": Key(_NAME, default="customers_files_records_count"),
        "staging_url": Key(
            Reader(
                staging_url,
                "webhdfs://host:port/path or another URL of fsspec that Hive can read, without a"
                " password",
            ),
            """
            A folder that Hive can read and move files out of: WebHDFS, or any other fsspec URL. Its
            user is the one in the URL, else `username`.
            """,
            example="webhdfs://namenode:9870/user/backupd/staging",
        ),
        "statement_timeout": Key(
            duration(at_least="1s"),
            "The time for one statement, {allowed}; one that takes longer is cancelled.",
            default="30m",
        ),
        "settings": Key(
            Reader(_settings, "a table of texts"),
            "Hive settings for the daemon's session.",
            default={},
            example={"hive.exec.parallel": "true"},
        ),
    },
    optional=True,
)

_IMPALA = Table(
    """
    With Hive: REFRESH in Impala after a merge. While Impala is down, the REFRESH is owed and files
    go on.
    """,
    {
        "host": Key(TEXT, example="impalad.example"),
        "port": Key(_PORT, default=21050),
        "auth": Key(
            _LOGIN,
            "{allowed}, with the username and password of [warehouse.hive].",
            default="NOSASL",
        ),
    },
    optional=True,
)

WAREHOUSE = Table(
    "Where the row for each file goes.",
    {
        "kind": Key(
            choice(Kind),
            """
            "embedded": Parquet files in a directory on this host, readable by any engine. "hive": a
            table in Hive.
            """,
            default="embedded",
        ),
        "columns": Key(
            Reader(
                _columns,
                f"a list of {', '.join(COLUMNS)} in any order that ends with {COLUMNS[-1]}, "
                "or a table from these names to letters, digits and _",
            ),
            """
            The production table's columns in order, the partition column last. To give them other
            names, use a TOML table in the same order: columns = { file_id = "id", ..., file_date =
            "partition_date" }
            """,
            default=list(COLUMNS),
        ),
        "embedded": Table(
            "",
            {"root": Key(PATH, "Created if it is missing.", default="/var/lib/backupd/warehouse")},
        ),
        "hive": _HIVE,
        "impala": _IMPALA,
    },
)
