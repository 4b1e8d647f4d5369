"""What comes into a partition in Hive while it is compacted, and afterwards."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

import pytest

from backupd.core.records import new_id
from backupd.core.rows import RowKey
from backupd.warehouse.hive.replaced_dirs import ReplacementMemory
from backupd.warehouse.parquet import encode
from support.hive_compaction import (
    DATE,
    NEXT,
    at_statement,
    each_once,
    files_of,
    open_one,
    production,
    read_rows,
    some_batches,
    usual_place,
    was_cleared,
)
from support.merging import merge_again, until_merged
from support.rows import COLUMNS, NOON, new_batch, production_row

if TYPE_CHECKING:
    from pathlib import Path

    from backupd.core.rows import ProductionRow
    from backupd.warehouse.hive.warehouse import HiveWarehouse
    from support.hive_server import HiveServer


def late_file(server: HiveServer, rows: list[ProductionRow], name: str = "") -> Path:
    """Put a file with these rows into the old directory, as a rival's LOAD DATA does."""
    path = usual_place(server) / (name or f"{rows[0].batch_id}.parquet")
    path.write_bytes(encode(rows, COLUMNS, int96=True))
    return path


async def test_what_comes_in_at_the_moment_of_the_switch_is_moved_after_it(
    server: HiveServer, warehouse: HiveWarehouse, rows: list[ProductionRow]
) -> None:
    batch, more = new_batch(3)
    assert batch
    at_statement(server, "SET LOCATION", partial(late_file, server, more))
    assert (await warehouse.compact(DATE)).left == ""
    assert read_rows(server) == each_once([*rows, *more])


@pytest.mark.usefixtures("a_day_later")
async def test_what_comes_in_after_the_switch_is_moved_at_the_next_look(
    server: HiveServer,
    warehouse: HiveWarehouse,
    rows: list[ProductionRow],
) -> None:
    await warehouse.compact(DATE)
    late_file(server, more := new_batch(3)[1])
    assert await warehouse.finish_compactions() == []
    assert read_rows(server) == each_once([*rows, *more])
    assert was_cleared(server)


@pytest.mark.usefixtures("a_day_later")
async def test_a_second_copy_of_what_is_there_is_not_moved(
    server: HiveServer,
    warehouse: HiveWarehouse,
    rows: list[ProductionRow],
) -> None:
    await warehouse.compact(DATE)
    late_file(server, [row for row in rows if row.file_date == DATE][:2], "000000_0_copy_9")
    assert await warehouse.finish_compactions() == []
    assert read_rows(server) == each_once(rows)
    assert was_cleared(server)


@pytest.mark.usefixtures("a_day_later")
async def test_a_file_of_which_only_some_rows_are_there_keeps_the_old_directory(
    server: HiveServer,
    warehouse: HiveWarehouse,
    rows: list[ProductionRow],
) -> None:
    await warehouse.compact(DATE)
    path = late_file(server, [rows[0], *new_batch(1)[1]], "000000_0_copy_9")
    (problem,) = await warehouse.finish_compactions()
    assert "only some of its rows are in the partition" in problem
    assert path.exists()
    assert read_rows(server) == each_once(rows)


@pytest.mark.usefixtures("a_day_later")
async def test_what_cannot_be_read_keeps_the_old_directory(
    server: HiveServer,
    warehouse: HiveWarehouse,
    rows: list[ProductionRow],
) -> None:
    assert rows
    await warehouse.compact(DATE)
    path = usual_place(server) / "notes.txt"
    path.write_text("mine")
    (problem,) = await warehouse.finish_compactions()
    assert "notes.txt came into" in problem
    assert path.exists()


@pytest.mark.usefixtures("a_day_later")
async def test_a_directory_that_is_in_use_again_is_not_removed(
    server: HiveServer,
    warehouse: HiveWarehouse,
    rows: list[ProductionRow],
) -> None:
    await warehouse.compact(DATE)
    del production(server).locations[DATE]  # somebody has put it back
    (problem,) = await warehouse.finish_compactions()
    assert "is read from there" in problem
    assert read_rows(server) == each_once(rows)


@pytest.mark.usefixtures("a_day_later")
async def test_nothing_is_removed_or_moved_once_the_partition_was_dropped(
    server: HiveServer, warehouse: HiveWarehouse, rows: list[ProductionRow]
) -> None:
    await warehouse.compact(DATE)
    late_file(server, new_batch(1)[1])
    (compacted,) = files_of(server)
    aside = usual_place(server).rename(usual_place(server).with_name("aside"))
    del production(server).locations[DATE]
    (problem,) = await warehouse.finish_compactions()
    assert f"the partition of {DATE} was dropped" in problem
    assert await warehouse.finish_compactions() == []
    assert compacted.exists()
    assert len(list(aside.iterdir())) == 4
    assert (await warehouse.compact(NEXT)).left == ""
    assert read_rows(server, [NEXT]) == each_once([row for row in rows if row.file_date == NEXT])


@pytest.mark.usefixtures("a_day_later")
async def test_a_directory_with_rows_that_the_partition_lacks_is_not_removed(
    server: HiveServer,
    warehouse: HiveWarehouse,
    rows: list[ProductionRow],
) -> None:
    assert rows
    await warehouse.compact(DATE)
    files_of(server)[0].unlink()  # somebody has removed it
    (problem,) = await warehouse.finish_compactions()
    assert "6 of its rows are not in the partition" in problem
    assert len(list(usual_place(server).iterdir())) == 3


async def test_batches_that_come_in_while_it_is_read_have_it_left_for_later(
    server: HiveServer, warehouse: HiveWarehouse, rows: list[ProductionRow]
) -> None:
    more = new_batch(2)[1]
    at_statement(server, "DROP TABLE", partial(late_file, server, more))
    assert "come in just now" in (await warehouse.compact(DATE)).left
    assert read_rows(server) == each_once([*rows, *more])


async def test_a_batch_that_was_loaded_before_the_switch_is_merged_after_it(
    server: HiveServer, warehouse: HiveWarehouse, rows: list[ProductionRow]
) -> None:
    batch, more = new_batch(4, days=2)
    await warehouse.load(batch, more)
    await warehouse.compact(DATE)
    await warehouse.merge(batch, more)
    assert read_rows(server) == each_once([*rows, *more])


async def test_a_merge_that_was_not_recorded_is_repeated_after_its_file_was_compacted(
    server: HiveServer, warehouse: HiveWarehouse
) -> None:
    rows = await some_batches(warehouse, 2)
    batch, more = new_batch(4, days=2)
    await until_merged(warehouse, batch, more)
    await warehouse.compact(DATE)
    await warehouse.merge(batch, more)
    assert read_rows(server) == each_once([*rows, *more])


async def test_requeued_files_make_no_second_row(
    server: HiveServer, warehouse: HiveWarehouse, rows: list[ProductionRow]
) -> None:
    await warehouse.compact(DATE)
    await merge_again(warehouse, rows[:4])
    assert read_rows(server) == each_once(rows)


async def test_find_and_rows_see_what_was_compacted(
    warehouse: HiveWarehouse, rows: list[ProductionRow]
) -> None:
    await warehouse.compact(DATE)
    keys = {RowKey(row.file_id, row.file_date) for row in rows}
    unknown = RowKey(production_row(new_id(NOON)).file_id, DATE)
    assert await warehouse.find({*keys, unknown}) == {key.file_id for key in keys}
    assert {key async for key in warehouse.rows([DATE, NEXT])} == keys


async def test_another_backupd_leaves_a_compacted_date_alone_and_adds_to_it(
    server: HiveServer, warehouse: HiveWarehouse, rows: list[ProductionRow], merge: str
) -> None:
    await warehouse.compact(DATE)
    other = open_one(server, merge, ReplacementMemory())
    more = await some_batches(other, 2)
    assert (await other.compact(DATE)).left
    assert read_rows(server) == each_once([*rows, *more])
    await other.aclose()
