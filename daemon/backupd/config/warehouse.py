"""The keys of `[warehouse]`, and how those are read that it alone has."""

from __future__ import annotations

from dataclasses import fields
from typing import Literal

from backupd.config.hive import HIVE, IDENTIFIER, IMPALA
from backupd.config.readers import (
    PATH,
    BadValueError,
    Key,
    Reader,
    choice,
    plain_text,
    texts,
)
from backupd.config.tables import Table
from backupd.core.rows import ProductionRow

Kind = Literal["embedded", "hive"]

COLUMNS: tuple[str, ...] = tuple(field.name for field in fields(ProductionRow))
"""Our names of the production table's columns in their default order, the partition last."""


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
    if bad := [name for name in theirs.values() if not IDENTIFIER.fullmatch(name)]:
        raise BadValueError(f"has names that no table can have: {', '.join(map(repr, bad))}")
    if len({name.lower() for name in theirs.values()}) < len(theirs):
        raise BadValueError("gives two columns the same name")
    return theirs


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
        "hive": HIVE,
        "impala": IMPALA,
    },
)
