"""The statements that read the history in Hive hold no name, and nothing of an odd form."""

from __future__ import annotations

import pytest

from backupd.core.history import Past
from backupd.warehouse.history_rows import name_key
from backupd.warehouse.hive.history_sql import COLUMNS, HistorySql, askable
from support.rows import EVIL

SQL = HistorySql("db", "history")
DATES = ["2026-11-24", "2026-11-23"]
IDS = [f"{number:020x}" for number in range(3)]
KEY = name_key("a.csv")


def found(past: Past) -> str:
    """Return the conditions beside the dates."""
    (asked,) = askable(past)
    statement = SQL.select_found(DATES, asked)
    head, _, conditions = statement.partition(" IN ('2026-11-23', '2026-11-24')")
    assert head == "SELECT `done_date`, `id` FROM `db`.`history` WHERE `done_date`"
    return conditions.removeprefix(" AND ")


def test_names_are_asked_for_by_their_keys() -> None:
    keys = f"`file_name_key` IN ('{KEY}') OR `path_key` IN ('{KEY}')"
    assert found(Past(names=["a.csv"])) == f"({keys})"


def test_what_may_be_an_id_is_asked_for_as_one_too() -> None:
    assert f" OR `id` IN ('{IDS[1]}'))" in found(Past(names=[IDS[1], "a.csv"]))


@pytest.mark.parametrize("name", [*EVIL, "' OR 1=1 --", "a\nb", "\udcff"])
def test_no_name_stands_in_a_statement_whatever_it_is(name: str) -> None:
    statement = found(Past(names=[name], feed=name, customer=name, row_ids=[name, "0" * 32]))
    key = name_key(name)
    assert statement == (
        f"(`file_name_key` IN ('{key}') OR `path_key` IN ('{key}')) AND `file_id` IN ('{'0' * 32}')"
    )


def test_a_feed_is_a_feeds_name_or_a_file_type() -> None:
    feed = "(`feed` = 'traffic/eLUX' OR `file_type` = 'traffic/eLUX')"
    assert found(Past(feed="traffic/eLUX")) == feed
    assert found(Past(customer="eLUX")) == "`customer` = 'eLUX'"


def test_a_time_is_a_whole_number_that_is_not_later() -> None:
    assert found(Past(since=1.9)) == "`first_seen_at` >= 1"
    assert found(Past(since=1e22)) == f"`first_seen_at` >= {10**22}"


def test_nothing_is_asked_where_nothing_can_match() -> None:
    assert not list(askable(Past(names=[])))
    assert not list(askable(Past(row_ids=["no id", "'"])))
    assert list(askable(Past())) == [Past()]


def test_many_names_and_row_ids_are_asked_for_a_few_at_a_time() -> None:
    names, row_ids = [f"{number:04d}.csv" for number in range(1001)], [f"{1:032x}", f"{2:032x}"]
    asked = list(askable(Past(names=names, row_ids=row_ids)))
    assert [len(each.names or ()) for each in asked] == [100] * 10 + [1]
    assert [name for each in asked for name in each.names or ()] == names
    assert all(each.row_ids == row_ids for each in asked)


def test_stories_are_read_by_the_first_and_the_last_id_of_those_that_were_found() -> None:
    date, between = "`done_date` = '2026-11-24'", f"`id` BETWEEN '{IDS[0]}' AND '{IDS[2]}'"
    assert SQL.select_stories(DATES[0], IDS, Past()).endswith(f" WHERE {date} AND {between}")
    assert SQL.select_stories(DATES[0], IDS, Past(customer="eLUX", since=1.5)).endswith(
        f" AND {between} AND `customer` = 'eLUX' AND `first_seen_at` >= 1"
    )


@pytest.mark.parametrize("past", [Past(names=["a.csv"]), Past(row_ids=["0" * 32])], ids=repr)
def test_single_files_are_read_by_their_ids_for_many_lie_between_them(past: Past) -> None:
    ids = f"'{IDS[0]}', '{IDS[1]}', '{IDS[2]}'"
    assert SQL.select_stories(DATES[0], IDS, past).endswith(
        f" AND `id` BETWEEN '{IDS[0]}' AND '{IDS[2]}' AND `id` IN ({ids})"
    )


def test_nothing_but_ids_and_dates_of_their_forms_is_read_by() -> None:
    with pytest.raises(ValueError, match="may not stand"):
        SQL.select_stories(DATES[0], ["' OR 1=1 --"], Past())
    with pytest.raises(ValueError, match="may not stand"):
        SQL.select_written("x", DATES[0])
    with pytest.raises(ValueError, match="may not stand"):
        SQL.select_found(["2026-11-2'"], Past())


def test_all_columns_but_the_last_are_a_storys() -> None:
    *names, last = COLUMNS
    selected = SQL.select_written(IDS[0], DATES[0]).partition(" FROM `db`.`history` WHERE ")[0]
    assert selected.removeprefix("SELECT ").split(", ") == [f"`{name}`" for name in names]
    assert last == "history_batch_id"
