"""The connection to HiveServer2, and what is told when it fails."""

from __future__ import annotations

import asyncio
import socket
from typing import TYPE_CHECKING

import pytest

from backupd.core.errors import DependencyDownError, UnknownOutcomeError
from backupd.core.records import new_id
from backupd.core.rows import RowKey
from backupd.warehouse import open_warehouse
from backupd.warehouse.hive import connection as hive_connection
from backupd.warehouse.hive import webhdfs
from support.hives import hive_section, running_hive
from support.rows import NOON

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterator
    from pathlib import Path

    from backupd.core.ports import Warehouse
    from support.hive_server import HiveServer

KEYS = [RowKey(new_id(NOON), "2026-11-23")]


@pytest.fixture
def server(tmp_path: Path) -> Iterator[HiveServer]:
    with running_hive(tmp_path / "hive") as started:
        yield started


@pytest.fixture
async def opened(server: HiveServer) -> AsyncIterator[Callable[..., Warehouse]]:
    """Opens warehouses on the server, with changes in [warehouse.hive], and closes them."""
    warehouses: list[Warehouse] = []

    def open_one(**changes: object) -> Warehouse:
        warehouses.append(open_warehouse(hive_section(server, **changes)))
        return warehouses[-1]

    yield open_one
    for each in warehouses:
        await each.aclose()


async def test_settings_and_user_go_into_the_session(
    server: HiveServer, opened: Callable[..., Warehouse]
) -> None:
    await opened(settings={"hive.exec.parallel": "true"}).find(KEYS)
    assert server.users == ["backupd"]
    assert server.settings[0]["hive.exec.parallel"] == "true"


async def test_a_connection_is_kept(server: HiveServer, opened: Callable[..., Warehouse]) -> None:
    warehouse = opened()
    await warehouse.find(KEYS)
    await warehouse.find(KEYS)
    assert len(server.users) == 1


async def test_nosasl_and_ldap_log_in(server: HiveServer, opened: Callable[..., Warehouse]) -> None:
    server.passwords = {"backupd": "sesame"}
    await opened(auth="LDAP", password="sesame").find(KEYS)
    server.sasl = False
    await opened(auth="NOSASL").find(KEYS)
    assert len(server.users) == 2


async def test_a_refused_login_is_the_dependencys_fault_and_no_secret_is_told(
    server: HiveServer, opened: Callable[..., Warehouse]
) -> None:
    server.passwords = {"backupd": "sesame"}
    with pytest.raises(DependencyDownError, match="Error validating the login") as caught:
        await opened(auth="LDAP", password="open").find(KEYS)
    assert "password_file" in caught.value.hint
    assert "open" not in f"{caught.value} {caught.value.hint}"


async def test_a_missing_database_is_told_in_the_servers_words(
    opened: Callable[..., Warehouse],
) -> None:
    with pytest.raises(DependencyDownError, match="Database does not exist: elsewhere"):
        await opened(database="elsewhere").find(KEYS)


async def test_a_server_that_is_not_there_is_down(
    server: HiveServer, opened: Callable[..., Warehouse]
) -> None:
    server.stop()
    with pytest.raises(DependencyDownError, match=f"{server.port}: cannot be reached"):
        await opened().find(KEYS)
    server.start()


async def test_a_restarted_server_is_connected_to_anew(
    server: HiveServer, opened: Callable[..., Warehouse]
) -> None:
    warehouse = opened()
    await warehouse.find(KEYS)
    server.stop()
    server.start()
    with pytest.raises(DependencyDownError, match="the connection broke"):
        await warehouse.find(KEYS)
    assert await warehouse.find(KEYS) == frozenset()


async def test_a_connection_that_idled_is_tried_first(
    server: HiveServer, opened: Callable[..., Warehouse], monkeypatch: pytest.MonkeyPatch
) -> None:
    warehouse = opened()
    await warehouse.find(KEYS)
    server.cut()
    monkeypatch.setattr(hive_connection, "_TRY_AFTER_IDLE", 0.0)
    assert await warehouse.find(KEYS) == frozenset()
    assert len(server.users) == 2


async def test_a_server_that_never_answers_is_given_up(
    server: HiveServer, opened: Callable[..., Warehouse], monkeypatch: pytest.MonkeyPatch
) -> None:
    server.silent = True
    monkeypatch.setattr(hive_connection, "_ANSWER_WITHIN", 0.2)
    with pytest.raises(DependencyDownError, match="timeout"):
        await opened().find(KEYS)


async def test_a_statement_that_hangs_is_cancelled_at_its_deadline(
    server: HiveServer, opened: Callable[..., Warehouse]
) -> None:
    warehouse = opened(statement_timeout=0.2)
    server.on("SELECT", "hang")
    with pytest.raises(UnknownOutcomeError, match="was cancelled") as caught:
        await warehouse.find(KEYS)
    assert "statement_timeout" in caught.value.hint
    assert await warehouse.find(KEYS) == frozenset()


async def test_closing_ends_a_statement_that_hangs(
    server: HiveServer, opened: Callable[..., Warehouse]
) -> None:
    warehouse = opened()
    server.on("SELECT", "hang")
    asked = asyncio.create_task(warehouse.find(KEYS))
    await asyncio.to_thread(server.wait_for, "SELECT")
    await warehouse.aclose()
    with pytest.raises(UnknownOutcomeError, match="backupd stops"):
        await asked


async def test_a_statement_that_fails_is_told_in_the_servers_words(
    server: HiveServer, opened: Callable[..., Warehouse]
) -> None:
    server.on("SELECT", "fail")
    with pytest.raises(DependencyDownError, match="disk on fire"):
        await opened().find(KEYS)


@pytest.mark.parametrize("call", ["OpenSession", "ExecuteStatement", "GetOperationStatus"])
async def test_whatever_call_is_cut_the_next_try_works(
    server: HiveServer, opened: Callable[..., Warehouse], call: str
) -> None:
    warehouse = opened()
    server.cut_at = call
    with pytest.raises(DependencyDownError):
        await warehouse.find(KEYS)
    assert await warehouse.find(KEYS) == frozenset()


async def test_a_frozen_namenode_is_given_up(
    opened: Callable[..., Warehouse], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(webhdfs, "_DEADLINES", (0.2, 0.2))
    with socket.create_server(("127.0.0.1", 0)) as frozen:
        url = f"webhdfs://127.0.0.1:{frozen.getsockname()[1]}/user/backupd/staging"
        with pytest.raises(DependencyDownError, match="as user backupd") as caught:
            await opened(staging_url=url).discard(new_id(NOON))
    assert caught.value.hint
