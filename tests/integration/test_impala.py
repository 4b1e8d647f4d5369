"""REFRESH by impyla. There is no Impala to be had: the scriptable server answers in its place."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from backupd.config.sections import ImpalaSection
from backupd.core.errors import DependencyDownError
from backupd.warehouse import open_refresher
from support.hives import DATABASE, TABLE, hive_section, login_section, running_hive

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterator
    from pathlib import Path

    from backupd.core.ports import Refresher
    from support.hive_server import HiveServer


@pytest.fixture
def server(tmp_path: Path) -> Iterator[HiveServer]:
    with running_hive(tmp_path / "hive") as started:
        started.sasl, started.impala = False, True
        yield started


@pytest.fixture
async def opened(server: HiveServer) -> AsyncIterator[Callable[..., Refresher]]:
    """Opens refreshers that speak to the server, with changes in [warehouse.impala]."""
    refreshers: list[Refresher] = []

    def open_one(**changes: object) -> Refresher:
        login = login_section(**{"auth": "NOSASL"} | changes)
        impala = ImpalaSection(address=(server.host, server.port), login=login)
        refresher = open_refresher(replace(hive_section(server), impala=impala))
        assert refresher
        refreshers.append(refresher)
        return refresher

    yield open_one
    for each in refreshers:
        await each.aclose()


async def test_the_production_table_is_refreshed(
    server: HiveServer, opened: Callable[..., Refresher]
) -> None:
    refresher = opened()
    await refresher.refresh(refresher.table, ())
    assert server.tables.refreshed == [f"{DATABASE}.{TABLE}"]
    assert server.users == ["backupd"]


async def test_only_the_partitions_with_new_rows_are_refreshed(
    server: HiveServer, opened: Callable[..., Refresher]
) -> None:
    place = server.tables.tables[f"{DATABASE}.{TABLE}"].place
    for date in ("2026-11-22", "2026-11-23"):
        (place / f"file_date={date}").mkdir()
    refresher = opened()
    await refresher.refresh(refresher.table, ["2026-11-22", "2026-11-23"])
    assert server.tables.refreshed == [
        f"{DATABASE}.{TABLE} 2026-11-22",
        f"{DATABASE}.{TABLE} 2026-11-23",
    ]
    assert len(server.users) == 1


async def test_a_partition_that_impala_does_not_know_has_the_whole_table_refreshed(
    server: HiveServer, opened: Callable[..., Refresher]
) -> None:
    refresher = opened()
    await refresher.refresh(refresher.table, ["2026-11-23"])
    assert server.tables.refreshed == [f"{DATABASE}.{TABLE}"]


async def test_many_partitions_are_refreshed_with_the_whole_table(
    server: HiveServer, opened: Callable[..., Refresher]
) -> None:
    refresher = opened()
    await refresher.refresh(refresher.table, [f"2026-11-{day}" for day in range(10, 30)])
    assert server.statements == [f"REFRESH {refresher.table}"]


@pytest.mark.parametrize("auth", ["NONE", "LDAP"])
async def test_a_login_by_sasl_works(
    server: HiveServer, opened: Callable[..., Refresher], auth: str
) -> None:
    server.sasl = True
    server.passwords = {"backupd": "sesame"}
    refresher = opened(auth=auth, password="sesame")
    await refresher.refresh(refresher.table, ())
    assert server.tables.refreshed == [f"{DATABASE}.{TABLE}"]


async def test_a_refused_login_is_impalas_fault(
    server: HiveServer, opened: Callable[..., Refresher]
) -> None:
    server.sasl = True
    server.passwords = {"backupd": "sesame"}
    refresher = opened(auth="LDAP", password="open")
    with pytest.raises(DependencyDownError, match="Error validating the login") as caught:
        await refresher.refresh(refresher.table, ())
    assert caught.value.dependency == "impala"


@pytest.mark.parametrize("fault", ["fail", "cut before", "cut after", "forget"])
async def test_a_refresh_that_goes_wrong_is_told_and_works_when_repeated(
    server: HiveServer, opened: Callable[..., Refresher], fault: str
) -> None:
    refresher = opened()
    server.on("REFRESH", fault)  # type: ignore[arg-type]  # one of the faults
    with pytest.raises(DependencyDownError, match="Impala at"):
        await refresher.refresh(refresher.table, ())
    await refresher.refresh(refresher.table, ())


async def test_a_table_that_impala_does_not_know_is_told_in_its_words(
    opened: Callable[..., Refresher],
) -> None:
    with pytest.raises(DependencyDownError, match="Table not found elsewhere"):
        await opened().refresh("`elsewhere`", ())


async def test_an_impala_that_is_not_there_is_down(
    server: HiveServer, opened: Callable[..., Refresher]
) -> None:
    server.stop()
    with pytest.raises(DependencyDownError, match=f"Impala at 127.0.0.1:{server.port}"):
        await opened().refresh("`t`", ())
    server.start()


async def test_closing_ends_a_refresh_that_hangs(
    server: HiveServer, opened: Callable[..., Refresher]
) -> None:
    refresher = opened()
    server.on("REFRESH", "hang")
    asked = asyncio.create_task(refresher.refresh(refresher.table, ()))
    await asyncio.to_thread(server.wait_for, "REFRESH")
    await refresher.aclose()
    with pytest.raises(DependencyDownError, match="was cancelled"):
        await asked


def test_without_impala_nobody_is_told(server: HiveServer) -> None:
    assert open_refresher(hive_section(server)) is None
