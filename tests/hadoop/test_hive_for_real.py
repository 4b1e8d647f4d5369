"""Logins and merge "files", against a real HDFS and HiveServer2, whose clocks are not UTC's."""

from __future__ import annotations

import asyncio
import multiprocessing
import signal
from dataclasses import replace
from datetime import UTC, datetime
from functools import partial
from typing import TYPE_CHECKING

import pytest

from backupd.core.errors import DependencyDownError
from backupd.core.records import new_id
from backupd.core.rows import RowKey
from backupd.warehouse import open_warehouse
from backupd.warehouse.hive import webhdfs
from support import merging
from support.hadoop_tables import PARQUET, new_table, run
from support.hives import DATABASE
from support.ldap import PEOPLE, running_directory
from support.merging import assert_once
from support.proxy import running_proxy
from support.rows import EVIL, NOON, batch_of, new_batch, production_row

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Sequence
    from pathlib import Path

    from backupd.config.sections import WarehouseSection
    from backupd.core.ports import Warehouse
    from backupd.core.records import Batch
    from backupd.core.rows import ProductionRow
    from support.hadoop import Hadoop, Server

    Opened = Callable[..., tuple[Warehouse, str]]

pytestmark = pytest.mark.hadoop

until_merged = partial(merging.until_merged, tries=20, pause=0.2)


@pytest.fixture
async def opened(hadoop: Hadoop) -> AsyncIterator[Opened]:
    """Opens warehouses on tables of a real server, and closes them."""
    warehouses: list[Warehouse] = []

    def open_one(**changes: object) -> tuple[Warehouse, str]:
        section = new_table(hadoop, PARQUET, **changes)  # type: ignore[arg-type]  # any field
        assert section.hive
        warehouses.append(open_warehouse(section))
        return warehouses[-1], f"{DATABASE}.{section.hive.production_table}"

    yield open_one
    for each in warehouses:
        await each.aclose()


async def test_every_value_comes_back_from_hive_as_it_is(hadoop: Hadoop, opened: Opened) -> None:
    warehouse, table = opened()
    batch_id = new_id(NOON)
    rows = [production_row(batch_id, name=name) for name in EVIL]
    await until_merged(warehouse, batch_of(rows), rows)

    found = run(hadoop, f"SELECT * FROM {table} ORDER BY file_id")
    noon = datetime.fromtimestamp(NOON, UTC).replace(tzinfo=None)
    for cells, row in zip(found, sorted(rows, key=lambda each: each.file_id), strict=True):
        assert cells[:4] == (row.file_id, "traffic", "eLUX", row.file_name)
        assert abs((cells[4] - noon).total_seconds()) < 1e-5
        assert cells[5:9] == (42, 4711, "ab" * 32, None)
        assert cells[10:] == (batch_id, "2026-11-23")
    assert run(hadoop, f"SELECT count(*) FROM {table}") == [(len(EVIL),)]


async def test_a_managed_table_that_is_not_transactional_takes_files(
    hadoop: Hadoop, opened: Opened
) -> None:
    warehouse, table = opened()
    ddl = "\n".join(line for (line,) in run(hadoop, f"SHOW CREATE TABLE {table}"))
    columns = ddl[ddl.index("(") : ddl.index("ROW FORMAT")]
    run(
        hadoop,
        f"DROP TABLE {table}",
        f"CREATE MANAGED TABLE {table} {columns} STORED AS PARQUET"
        " TBLPROPERTIES ('transactional' = 'false')",
    )
    batch, rows = new_batch(4, days=2)
    await until_merged(warehouse, batch, rows)
    await assert_once(warehouse, rows)


async def test_a_table_of_another_format_is_refused_with_the_way_out(
    hadoop: Hadoop, opened: Opened
) -> None:
    warehouse, table = opened()
    run(
        hadoop,
        f"DROP TABLE {table}",
        f"CREATE EXTERNAL TABLE {table} (file_id string) STORED AS ORC",
    )
    (first, *_) = [each for each in await warehouse.probe() if not each.ok]
    assert "not stored as Parquet" in first.detail
    assert "column 2 is missing, the config wants file_type string" in first.detail


async def test_three_rivals_on_one_batch_make_each_row_once(hadoop: Hadoop) -> None:
    section = new_table(hadoop)
    rivals = [open_warehouse(section) for _ in range(3)]
    everything: list[ProductionRow] = []
    for _ in range(5):
        batch, rows = new_batch(6, days=3)
        await asyncio.gather(*(until_merged(rival, batch, rows) for rival in rivals))
        everything += rows
    await assert_once(rivals[0], everything)
    assert section.hive
    assert hadoop.staged(f"/user/backupd/staging/{section.hive.production_table}") == []
    for rival in rivals:
        await rival.aclose()


@pytest.mark.sample(1)
@pytest.mark.parametrize("after", [0.0, 0.1, 0.25, 0.5, 0.9])
async def test_a_server_that_is_killed_during_a_merge_makes_each_row_once(
    hadoop: Hadoop, opened: Opened, after: float
) -> None:
    warehouse, _ = opened()
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


@pytest.mark.parametrize("after", [1600, 2200, 2800, 3400, 4000])
async def test_a_connection_that_is_cut_makes_each_row_once(
    hadoop: Hadoop, opened: Opened, after: int
) -> None:
    async with running_proxy("127.0.0.1", hadoop.ports["hive"]) as proxy:
        warehouse, _ = opened(port=proxy.port)
        batch, rows = new_batch(4, days=2)
        proxy.cut_after_more(after)
        await until_merged(warehouse, batch, rows)
        assert proxy.connections > 1
        await assert_once(warehouse, rows)


@pytest.mark.parametrize("server", ["namenode", "datanode"])
async def test_a_frozen_hdfs_is_given_up_and_gone_on_with(
    hadoop: Hadoop, opened: Opened, monkeypatch: pytest.MonkeyPatch, server: Server
) -> None:
    monkeypatch.setattr(webhdfs, "_DEADLINES", (2.0, 2.0))
    warehouse, _ = opened()
    batch, rows = new_batch()
    await warehouse.probe()
    server = hadoop.active() if server == "namenode" else server  # a standby would not be missed
    hadoop.signal(server, signal.SIGSTOP)
    try:
        with pytest.raises(DependencyDownError, match="staging folder"):
            await warehouse.load(batch, rows) if server == "datanode" else await warehouse.discard(
                batch.id
            )
    finally:
        hadoop.signal(server, signal.SIGCONT)
    await until_merged(warehouse, batch, rows)
    await assert_once(warehouse, rows)


async def test_a_folder_that_may_not_be_written_is_named_with_its_user(
    hadoop: Hadoop, opened: Opened
) -> None:
    url = hadoop.staging_url.replace("/user/backupd/", "/user/hive/")
    warehouse, _ = opened(staging_url=url)
    with pytest.raises(DependencyDownError, match="user=backupd, access=WRITE") as caught:
        await warehouse.load(*new_batch())
    assert "let user backupd write /user/hive/" in caught.value.hint


async def test_nosasl_logs_in(plain_hadoop: Hadoop) -> None:
    section = new_table(plain_hadoop, auth="NOSASL")
    with plain_hadoop.other_hive({"hive.server2.authentication": "NOSASL"}):
        warehouse = open_warehouse(section)
        assert all(probe.ok for probe in await warehouse.probe())
        await warehouse.aclose()


async def test_ldap_logs_in_and_refuses_a_wrong_password(
    plain_hadoop: Hadoop, tmp_path: Path
) -> None:
    section = new_table(plain_hadoop, auth="LDAP", password="sesame")
    assert section.hive
    refused_login = replace(section.hive.login, password="open")
    wrong = replace(section, hive=replace(section.hive, login=refused_login))
    with (
        running_directory(tmp_path / "ldap", {"backupd": "sesame"}) as port,
        plain_hadoop.other_hive(
            {
                "hive.server2.authentication": "LDAP",
                "hive.server2.authentication.ldap.url": f"ldap://127.0.0.1:{port}",
                "hive.server2.authentication.ldap.baseDN": PEOPLE,
            }
        ),
    ):
        warehouse, refused = open_warehouse(section), open_warehouse(wrong)
        assert all(probe.ok for probe in await warehouse.probe())
        with pytest.raises(DependencyDownError, match="Error validating the login"):
            await refused.find([RowKey(new_id(NOON), "2026-11-23")])
        await warehouse.aclose()
        await refused.aclose()


@pytest.mark.parametrize("after", [0.3, 0.6, 0.9, 1.2])
async def test_a_client_that_is_killed_makes_each_row_once(hadoop: Hadoop, after: float) -> None:
    """Another process merges the batch, and is killed at some moment."""
    section = new_table(hadoop)
    batch, rows = new_batch(6, days=3)
    victim = multiprocessing.get_context("spawn").Process(
        target=_load_and_merge, args=(section, batch, rows)
    )
    victim.start()
    await asyncio.to_thread(victim.join, 0.7 + after)  # to start Python takes as long
    victim.kill()
    victim.join()
    victim.close()
    warehouse = open_warehouse(section)
    await until_merged(warehouse, batch, rows)
    await assert_once(warehouse, rows)
    await warehouse.aclose()


def _load_and_merge(section: WarehouseSection, batch: Batch, rows: Sequence[ProductionRow]) -> None:
    async def work() -> None:
        await until_merged(open_warehouse(section), batch, rows)

    asyncio.run(work())


async def test_a_folder_that_hive_may_not_enter_fails_the_probe(
    hadoop: Hadoop, opened: Opened
) -> None:
    hadoop.hdfs("MKDIRS", "/user/backupd/closed", user="backupd")
    hadoop.hdfs("SETPERMISSION", "/user/backupd/closed", user="backupd", permission="700")
    url = hadoop.staging_url.replace("/staging", "/closed")
    warehouse, _ = opened(staging_url=url)
    *_, table, stage, move, clock = await warehouse.probe()
    assert table.ok
    assert stage.ok
    assert clock.ok
    assert not move.ok
    assert "docs/hive.md" in move.hint
