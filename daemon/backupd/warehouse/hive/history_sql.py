"""The history's table in Hive: its columns, and the statements that read it. Pure.

File names are asked for by their keys; what else comes from outside stands in a statement only
where it has a form that cannot be mistaken (see `sql`).
"""

from __future__ import annotations

import math
import re
from dataclasses import replace
from itertools import product
from typing import TYPE_CHECKING

from backupd.core.records import ID_FORM, SHA256_FORM
from backupd.core.rows import ROW_ID_FORM
from backupd.warehouse.history_rows import PARTITION, hive_types, name_key
from backupd.warehouse.hive.sql import TableSql, identifier, is_id, literal

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Sequence

    from backupd.core.history import Past

WRITTEN_BY = "history_batch_id"  # under which id it was brought here
COLUMNS = {**hive_types(), WRITTEN_BY: "string"}

_KEY_FORM = re.compile(r"[0-9a-f]{16}")
_WORD_FORM = re.compile(r"[\w.:@/+-]+", re.ASCII)  # of feeds, file types and customers
NAMED = 100
"""Names, ids or checksums in one statement.

Hive makes nested conditions of them for Parquet: with 1000, its stack runs over.
"""


class HistorySql(TableSql):
    """Statements about the history's table."""

    def __init__(self, database: str, table: str) -> None:
        super().__init__(database, table, PARTITION)

    def select_written(self, batch_id: str, date: str) -> str:
        """Return the stories that were brought into a partition under this id."""
        by = f"{identifier(WRITTEN_BY)} = {literal(batch_id, ID_FORM)}"
        return f"{self._select_stories()} WHERE {self.among([date])} AND {by}"

    def select_found(self, dates: Collection[str], past: Past) -> str:
        """Return date and id of what is asked for in these partitions, and maybe of more."""
        conditions = " AND ".join([self.among(dates), *_conditions(past)])
        return f"SELECT {self.partition}, {identifier('id')} FROM {self.name} WHERE {conditions}"

    def select_stories(self, date: str, ids: Sequence[str], past: Past) -> str:
        """Return the stories of these files, which are in order, in a partition.

        They are those that `select_found` has found between the first and the last of them.
        """
        first, last = (literal(file_id, ID_FORM) for file_id in (ids[0], ids[-1]))
        between = f"{identifier('id')} BETWEEN {first} AND {last}"
        conditions = [self.among([date]), between]
        if is_by_name(past):
            conditions.append(_among("id", ids, ID_FORM))
        conditions += _conditions(replace(past, names=None, row_ids=None))
        return f"{self._select_stories()} WHERE {' AND '.join(conditions)}"

    def _select_stories(self) -> str:
        names = ", ".join(map(identifier, hive_types()))
        return f"SELECT {names} FROM {self.name}"


def is_by_name(past: Past) -> bool:
    """Return whether single files are asked for, wherever they are: few, and far between."""
    return not (past.names is past.row_ids is past.sha256s is None)


def askable(past: Past) -> Iterator[Past]:
    """Yield what to ask for in turn, so that no statement is too long; none if nothing can match.

    Row ids that no row can have are left out.
    """
    row_ids = past.row_ids and list(filter(ROW_ID_FORM.fullmatch, past.row_ids))
    for names, some, sha256s in product(
        _in_turn(past.names), _in_turn(row_ids), _in_turn(past.sha256s)
    ):
        yield replace(past, names=names, row_ids=some, sha256s=sha256s)


def _in_turn(values: Collection[str] | None) -> Iterator[list[str] | None]:
    """Yield a few at a time. `None`, for any, is yielded as it is."""
    if values is None:
        yield None
        return
    ordered = sorted(values)
    for start in range(0, len(ordered), NAMED):
        yield ordered[start : start + NAMED]


def _conditions(past: Past) -> Iterator[str]:
    if past.names is not None:
        yield _named(past.names)
    if past.row_ids is not None:
        yield _among("file_id", past.row_ids, ROW_ID_FORM)
    if past.sha256s is not None:
        yield _among("sha256", past.sha256s, SHA256_FORM)
    if past.feed is not None and _WORD_FORM.fullmatch(past.feed):
        yield f"({_is('feed', past.feed)} OR {_is('file_type', past.feed)})"
    if past.customer is not None and _WORD_FORM.fullmatch(past.customer):
        yield _is("customer", past.customer)
    if past.since is not None:
        yield f"{identifier('first_seen_at')} >= {math.floor(past.since)}"


def _named(names: Collection[str]) -> str:
    keys = [name_key(name) for name in names]
    either = [_among(column, keys, _KEY_FORM) for column in ("file_name_key", "path_key")]
    if ids := list(filter(is_id, names)):
        either.append(_among("id", ids, ID_FORM))
    return f"({' OR '.join(either)})"


def _among(column: str, values: Collection[str], form: re.Pattern[str]) -> str:
    literals = ", ".join(literal(value, form) for value in sorted(values))
    return f"{identifier(column)} IN ({literals})"


def _is(column: str, word: str) -> str:
    return f"{identifier(column)} = {literal(word, _WORD_FORM)}"
