"""The keys of `[warehouse]`, and how those are read that it alone has."""

from __future__ import annotations

import re
from dataclasses import fields
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


_LOGIN = Reader(_auth, _AUTH.allowed)
_PORT = integer(1, 65535)
_NAME = Reader(_identifier, "letters, digits and _, no digit first")
_COLUMNS = Reader(
    _columns,
    f"a list of {', '.join(COLUMNS)} in any order that ends with {COLUMNS[-1]}, "
    "or a table from these names to letters, digits and _",
)
_STAGING = Reader(
    staging_url,
    "webhdfs://host:port/path or another URL of fsspec that Hive can read, without a password",
)

_HIVE = Table(
    {
        "host": Key(TEXT),
        "port": Key(_PORT, default=10000),
        "auth": Key(_LOGIN, default="NONE"),
        "username": Key(TEXT, default="backupd"),
        "password_file": Key(SECRET_FILE, default=None),
        "database": Key(_NAME, default="mnaas"),
        "merge": Key(choice(Merge), default="files"),
        "staging_table": Key(_NAME, default="customers_files_inter_record_count"),
        "production_table": Key(_NAME, default="customers_files_records_count"),
        "staging_url": Key(_STAGING),
        "statement_timeout": Key(duration(at_least="1s"), default="30m"),
        "settings": Key(Reader(_settings, "a table of texts"), default={}),
    },
    optional=True,
)

_IMPALA = Table(
    {
        "host": Key(TEXT),
        "port": Key(_PORT, default=21050),
        "auth": Key(_LOGIN, default="NOSASL"),
    },
    optional=True,
)

WAREHOUSE = Table({
    "kind": Key(choice(Kind), default="embedded"),
    "columns": Key(_COLUMNS, default=list(COLUMNS)),
    "embedded": Table({"root": Key(PATH, default="/var/lib/backupd/warehouse")}),
    "hive": _HIVE,
    "impala": _IMPALA,
})  # fmt: skip
