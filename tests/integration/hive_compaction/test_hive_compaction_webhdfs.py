"""Compaction of partitions in HDFS, whose NameNodes and DataNodes break off."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING

import pytest

from backupd.core.errors import BackupdError, DependencyDownError
from backupd.warehouse.hive import compaction
from support.hive_compaction import DATE, each_once, files_of, read_rows, some_batches, usual_place
from support.webhdfs_files import RemoteError
from support.webhdfs_site import Site, at_call, running_site

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from backupd.warehouse.hive.warehouse import HiveWarehouse
    from support.webhdfs_server import When

OPERATIONS = [
    "LISTSTATUS",
    "OPEN",
    "OPEN data",
    "MKDIRS",
    "SETPERMISSION",
    "CREATE",
    "CREATE data",
    "DELETE",
]


@pytest.fixture
async def site(tmp_path: Path) -> AsyncIterator[Site]:
    async with running_site(tmp_path / "hdfs") as running:
        yield running


@pytest.mark.parametrize("when", ["before", "after"])
@pytest.mark.parametrize("operation", OPERATIONS)
async def test_a_cut_at_any_operation_leaves_each_row_readable_once(
    site: Site, operation: str, when: When, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(compaction, "KEPT_FOR", 0.0)
    server = site.pair[0]
    warehouse: HiveWarehouse = site.open(server)  # type: ignore[assignment]
    rows = await some_batches(warehouse)
    server.cut_at(operation, when)
    with suppress(BackupdError):
        await warehouse.compact(DATE)
    assert not server._cuts
    assert read_rows(site.hive) == each_once(rows)
    assert (await warehouse.compact(DATE)).left == ""

    server.cut_at(operation, when)
    for _ in range(3):
        with suppress(BackupdError):
            await warehouse.finish_compactions()
    assert not server._cuts
    assert read_rows(site.hive) == each_once(rows)
    assert len(files_of(site.hive)) == 1
    assert [path.name for path in usual_place(site.hive).iterdir()] == ["moved-by-backupd.txt"]
    staging = site.hive.tables.directory.parent / "user" / "backupd" / "staging"
    assert await warehouse.sweep([]) == [] or not list(staging.iterdir())


async def test_the_other_name_node_goes_on(site: Site) -> None:
    warehouse: HiveWarehouse = site.open(*site.pair)  # type: ignore[assignment]
    rows = await some_batches(warehouse)

    def fail_over() -> None:
        site.pair[0].state, site.pair[1].state = "standby", "active"

    at_call(site.pair[0], "OPEN", fail_over)
    assert (await warehouse.compact(DATE)).left == ""
    assert read_rows(site.hive) == each_once(rows)


async def test_a_directory_that_may_not_be_read_is_reported(site: Site) -> None:
    warehouse: HiveWarehouse = site.open(site.pair[0])  # type: ignore[assignment]
    rows = await some_batches(warehouse)
    denied = RemoteError("AccessControlException", "Permission denied: user=backupd")
    site.pair[0].refusals["LISTSTATUS"] = denied
    with pytest.raises(DependencyDownError, match="Permission denied"):
        await warehouse.compact(DATE)
    assert read_rows(site.hive) == each_once(rows)
