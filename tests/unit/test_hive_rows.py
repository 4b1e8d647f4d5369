"""Rows in Hive are asked for by their ids: a partition may hold more than memory does."""

from __future__ import annotations

import re
from collections import Counter
from typing import TYPE_CHECKING

from backupd.core.rows import RowKey
from backupd.warehouse.hive.rows import HiveRows
from backupd.warehouse.hive.sql import TableSql

if TYPE_CHECKING:
    from backupd.warehouse.hive.connection import Connection

DATES = ("2026-01-01", "2026-01-02")
IDS = [f"{number:020x}" for number in range(1_700)]


class Partitions:
    """Answers for partitions that each hold one row of each id; the first one has one more."""

    def __init__(self) -> None:
        self.asked: list[list[str]] = []

    def run(self, statement: str) -> list[tuple[str, str]]:
        ids = re.findall(r"'([0-9a-f]{20})'", statement)
        self.asked.append(ids)
        there = [*ids, *(each for each in ids if each == IDS[0])]
        return [(each, date) for date in DATES if date in statement for each in there]


def rows_of(connection: object) -> HiveRows:
    known: Connection = connection  # type: ignore[assignment]  # `run` is all that is used
    return HiveRows(known, TableSql("db", "table", "file_date"), "file_id")


def test_no_more_than_the_ids_asked_for_come_back_however_many_they_are() -> None:
    partitions = Partitions()
    keys = [RowKey(each, DATES[number % 2]) for number, each in enumerate(IDS)]
    assert rows_of(partitions).count(keys) == Counter(dict.fromkeys(IDS, 1) | {IDS[0]: 2})
    assert all(partitions.asked)
    assert max(map(len, partitions.asked)) <= 500


def test_where_nothing_is_asked_for_nothing_is_run() -> None:
    partitions = Partitions()
    assert rows_of(partitions).count([]) == Counter()
    assert partitions.asked == []
