"""Statements of a compaction in Hive that go wrong: each row is read once all the same."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING

import pytest

from backupd.core.errors import BackupdError, DependencyDownError
from support.hive_compaction import (
    DATE,
    STATEMENTS,
    each_once,
    files_of,
    left_tables,
    production,
    read_rows,
    some_batches,
    was_cleared,
)
from support.merging import until_merged
from support.rows import new_batch

if TYPE_CHECKING:
    from pathlib import Path

    from backupd.core.rows import ProductionRow
    from backupd.warehouse.hive.warehouse import HiveWarehouse
    from support.hive_server import Fault, HiveServer


FAULTS = ["cut before", "cut after", "zombie", "hang", "fail", "forget", "orphan", "linger"]


@pytest.mark.usefixtures("a_day_later")
@pytest.mark.parametrize("fault", FAULTS)
@pytest.mark.parametrize(
    ("merge", "statement"),
    [(merge, each) for merge, statements in STATEMENTS.items() for each in statements],
)
async def test_a_statement_that_goes_wrong_leaves_each_row_readable_once(
    server: HiveServer,
    warehouse: HiveWarehouse,
    rows: list[ProductionRow],
    statement: str,
    fault: Fault,
) -> None:
    server.on(statement, fault)
    with suppress(BackupdError):
        await warehouse.compact(DATE)
    assert read_rows(server) == each_once(rows)
    await until_compacted(warehouse)
    server.release()
    assert read_rows(server) == each_once(rows)
    for _ in range(3):
        await warehouse.finish_compactions()
    assert read_rows(server) == each_once(rows)
    assert len(files_of(server)) == 1
    assert was_cleared(server)
    rows += await some_batches(warehouse, 1)
    assert read_rows(server) == each_once(rows)


async def until_compacted(warehouse: HiveWarehouse) -> None:
    for _ in range(10):
        try:
            outcome = await warehouse.compact(DATE)
        except BackupdError:
            continue
        assert outcome.left == ""
        return
    raise AssertionError


@pytest.mark.usefixtures("a_day_later")
@pytest.mark.parametrize("fault", FAULTS)
@pytest.mark.parametrize(
    "removal", ["`line` string", "OVERWRITE INTO TABLE `mnaas`.`backupd_replaced", "DROP TABLE"]
)
async def test_a_removal_that_goes_wrong_is_done_later(
    server: HiveServer,
    warehouse: HiveWarehouse,
    rows: list[ProductionRow],
    removal: str,
    fault: Fault,
) -> None:
    await warehouse.compact(DATE)
    server.on(removal, fault)
    for _ in range(4):
        with suppress(BackupdError):
            await warehouse.finish_compactions()
    server.release()
    assert was_cleared(server)
    assert read_rows(server) == each_once(rows)
    assert fault == "zombie" or not left_tables(server)


async def test_a_switch_of_which_nothing_is_known_keeps_batches_out(
    server: HiveServer, warehouse: HiveWarehouse, rows: list[ProductionRow]
) -> None:
    """It comes to its end while the next batch waits for that, not after it."""
    server.on("SET LOCATION", "linger")
    with pytest.raises(DependencyDownError):
        await warehouse.compact(DATE)
    batch, more = new_batch(2)
    await until_merged(warehouse, batch, more, tries=20, pause=0.1)
    server.release()
    assert read_rows(server) == each_once([*rows, *more])
    await warehouse.finish_compactions()
    assert read_rows(server) == each_once([*rows, *more])


@pytest.mark.usefixtures("a_day_later")
async def test_what_an_insert_that_was_cut_short_left_goes_with_its_directory(
    server: HiveServer, warehouse: HiveWarehouse, rows: list[ProductionRow]
) -> None:
    server.on("SET LOCATION", "fail")
    with pytest.raises(BackupdError):
        await warehouse.compact(DATE)
    (made,) = compacted(server).glob("*/file_date=*")
    (made / ".hive-staging_hive_2026-11-23" / "-ext-10000").mkdir(parents=True)
    assert await warehouse.finish_compactions() == []
    assert not list(compacted(server).iterdir())
    assert read_rows(server) == each_once(rows)


def compacted(server: HiveServer) -> Path:
    return production(server).place / ".compacted"
