"""Merge "insert" against a real HDFS and a real HiveServer2."""

from __future__ import annotations

import asyncio
import multiprocessing
import signal
from collections import Counter
from dataclasses import replace
from datetime import UTC, datetime
from functools import partial
from typing import TYPE_CHECKING

import pytest

from backupd.core.records import new_id
from backupd.ledger import Ledger
from backupd.warehouse import open_warehouse
from backupd.worker import LedgerStatements
from support import merging
from support.hadoop_tables import make_tables, new_table, run
from support.hives import DATABASE
from support.killed_client import die_at
from support.merging import assert_once
from support.proxy import running_proxy
from support.rows import COLUMNS, EVIL, NOON, batch_of, new_batch, production_row

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from backupd.config.sections import WarehouseSection
    from backupd.core.records import Batch
    from backupd.core.rows import ProductionRow
    from support.hadoop import Hadoop
    from support.killed_client import Moment

pytestmark = pytest.mark.hadoop

until_merged = partial(merging.until_merged, tries=30, pause=0.3)

FORMATS = {
    "Parquet": "STORED AS PARQUET TBLPROPERTIES ('transactional' = 'false')",
    "ORC": "STORED AS ORC TBLPROPERTIES ('transactional' = 'false')",
    "text": "STORED AS TEXTFILE TBLPROPERTIES ('transactional' = 'false')",
    "text with escapes": "ROW FORMAT DELIMITED FIELDS TERMINATED BY ';' ESCAPED BY '\\\\'"
    " STORED AS TEXTFILE TBLPROPERTIES ('transactional' = 'false')",
}
TRANSACTIONAL = {
    "hive.support.concurrency": "true",
    "hive.txn.manager": "org.apache.hadoop.hive.ql.lockmgr.DbTxnManager",
    "hive.txn.timeout": "5s",
}


def table_of(section: WarehouseSection) -> str:
    assert section.hive
    return f"{DATABASE}.{section.hive.production_table}"


@pytest.mark.parametrize("kind", FORMATS)
async def test_every_value_comes_back_from_hive_as_it_is(hadoop: Hadoop, kind: str) -> None:
    section = new_table(hadoop, FORMATS[kind], merge="insert")
    warehouse = open_warehouse(section)
    batch_id = new_id(NOON)
    rows = [production_row(batch_id, name=name) for name in EVIL]
    await until_merged(warehouse, batch_of(rows), rows)

    found = run(hadoop, f"SELECT * FROM {table_of(section)} ORDER BY file_id")
    noon = datetime.fromtimestamp(NOON, UTC).replace(tzinfo=None)
    for cells, row in zip(found, sorted(rows, key=lambda each: each.file_id), strict=True):
        assert cells[:4] == (row.file_id, "traffic", "eLUX", row.file_name)
        assert abs((cells[4] - noon).total_seconds()) < 1e-5
        assert cells[5:9] == (42, 4711, "ab" * 32, None)
        assert cells[10:] == (batch_id, "2026-11-23")
    assert await warehouse.sweep([]) == []
    await warehouse.aclose()


async def test_more_than_a_hundred_dates_in_a_batch(hadoop: Hadoop) -> None:
    warehouse = open_warehouse(new_table(hadoop, merge="insert"))
    batch, rows = new_batch(130, days=130)
    await warehouse.load(batch, rows)
    assert await warehouse.merge(batch, rows) == Counter(row.file_id for row in rows)
    await warehouse.aclose()


async def test_columns_go_by_the_names_and_the_order_of_the_table(hadoop: Hadoop) -> None:
    *names, partition = COLUMNS
    columns = {name: f"their_{name}" for name in [*reversed(names), partition]}
    plain = new_table(hadoop, merge="insert")
    assert plain.hive
    other = replace(
        plain.hive,
        production_table="theirs",
        staging_table="staged_theirs",
        history_table="history_theirs",
    )
    section = replace(plain, hive=other, columns=columns)
    make_tables(hadoop, section, FORMATS["ORC"])
    warehouse = open_warehouse(section)
    batch, rows = new_batch()
    await until_merged(warehouse, batch, rows)
    found = run(hadoop, f"SELECT their_file_id, their_file_date FROM {table_of(section)}")
    assert sorted(found) == sorted((row.file_id, row.file_date) for row in rows)
    await warehouse.aclose()


async def test_doubled_rows_are_counted_and_the_repair_leaves_one_each(hadoop: Hadoop) -> None:
    section = new_table(hadoop, FORMATS["ORC"], merge="insert")
    warehouse = open_warehouse(section)
    batch, rows = new_batch(4, days=2)
    await until_merged(warehouse, batch, rows)
    table = table_of(section)
    run(hadoop, f"INSERT INTO {table} PARTITION (file_date) SELECT * FROM {table}")
    assert await warehouse.merge(batch, rows) == Counter({row.file_id: 2 for row in rows})
    run(hadoop, *warehouse.repairs({row.file_date for row in rows}))
    await assert_once(warehouse, rows)
    await warehouse.aclose()


async def test_the_statements_can_be_pasted(hadoop: Hadoop) -> None:
    section = new_table(hadoop, merge="insert")
    warehouse = open_warehouse(section)
    batch, rows = new_batch(4, days=2)
    staged = await warehouse.load(batch, rows)
    pasted = [each for each in warehouse.statements(batch, rows) if not each.startswith("LOAD")]
    run(hadoop, *pasted)
    assert batch.id in staged
    await assert_once(warehouse, rows)
    await warehouse.aclose()


@pytest.mark.sample(1)
@pytest.mark.parametrize("after", [0.3, 1.0, 1.8, 2.6])
async def test_a_server_that_is_killed_during_a_merge_makes_each_row_once(
    hadoop: Hadoop, after: float
) -> None:
    warehouse = open_warehouse(new_table(hadoop, merge="insert"))
    batch, rows = new_batch(6, days=3)
    await warehouse.load(batch, rows)
    merging = asyncio.create_task(warehouse.merge(batch, rows))
    await asyncio.wait([merging], timeout=after)
    await asyncio.to_thread(hadoop.kill, "hive")
    await asyncio.wait([merging])
    merging.exception()  # whether it came through is a matter of the moment
    await asyncio.to_thread(hadoop.start, "hive")
    await until_merged(warehouse, batch, rows)
    await assert_once(warehouse, rows)
    await warehouse.aclose()


@pytest.mark.parametrize("after", [1500, 3000, 4500, 6000])
async def test_a_connection_that_is_cut_makes_each_row_once(hadoop: Hadoop, after: int) -> None:
    async with running_proxy("127.0.0.1", hadoop.ports["hive"]) as proxy:
        warehouse = open_warehouse(new_table(hadoop, merge="insert", port=proxy.port))
        batch, rows = new_batch(4, days=2)
        proxy.cut_after_more(after)
        await until_merged(warehouse, batch, rows)
        assert proxy.connections > 1
        await assert_once(warehouse, rows)
        await warehouse.aclose()


@pytest.mark.parametrize("statement", ["LOAD DATA", "INSERT", "ALTER TABLE"])
@pytest.mark.parametrize("moment", ["sent", "polled"])
async def test_a_client_that_is_killed_at_a_statement_makes_each_row_once(
    hadoop: Hadoop, tmp_path: Path, statement: str, moment: Moment
) -> None:
    """The next process has its ledger."""
    section = new_table(hadoop, merge="insert")
    batch, rows = new_batch(6, days=3)
    path = tmp_path / "ledger.db"
    victim = multiprocessing.get_context("spawn").Process(
        target=_die_at, args=(section, path, (batch, rows), (statement, moment))
    )
    victim.start()
    await asyncio.to_thread(victim.join)
    assert victim.exitcode == -signal.SIGKILL
    victim.close()
    ledger = Ledger(path)
    assert len(await ledger.possibly_running_statements()) == (statement == "INSERT")
    warehouse = open_warehouse(section, LedgerStatements(ledger))
    await until_merged(warehouse, batch, rows)
    await assert_once(warehouse, rows)
    assert await ledger.possibly_running_statements() == []
    await warehouse.aclose()
    await ledger.close()


def _die_at(
    section: WarehouseSection,
    path: Path,
    work: tuple[Batch, Sequence[ProductionRow]],
    moment: tuple[str, Moment],
) -> None:
    async def merge() -> None:
        log = LedgerStatements(Ledger(path))
        die_at(*moment)
        await until_merged(open_warehouse(section, log), *work)

    asyncio.run(merge())


@pytest.mark.sample(1)
async def test_a_transactional_table_takes_rows_also_after_a_kill(hadoop: Hadoop) -> None:
    with hadoop.other_hive(TRANSACTIONAL):
        kind = "STORED AS ORC TBLPROPERTIES ('transactional' = 'true')"
        section = new_table(hadoop, kind, merge="insert")
        warehouse = open_warehouse(section)
        assert all(probe.ok for probe in await warehouse.probe())
        batch, rows = new_batch(6, days=3)
        await warehouse.load(batch, rows)
        merging = asyncio.create_task(warehouse.merge(batch, rows))
        await asyncio.wait([merging], timeout=1.5)
        await asyncio.to_thread(hadoop.kill, "hive")
        await asyncio.wait([merging])
        merging.exception()  # whether it came through is a matter of the moment
        await asyncio.to_thread(hadoop.start, "hive")
        await until_merged(warehouse, batch, rows)
        await assert_once(warehouse, rows)
        await warehouse.aclose()
