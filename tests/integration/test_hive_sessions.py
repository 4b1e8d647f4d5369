"""HiveServer2s that fail or forget: who is asked next, and sessions that are closed later."""

from __future__ import annotations

import gc
import threading
import time
from typing import TYPE_CHECKING

import pytest

from backupd.core.errors import DependencyDownError
from backupd.core.rows import RowKey
from backupd.warehouse import open_warehouse
from backupd.warehouse.hive import connection as hive_connection
from backupd.warehouse.hive import earlier_statements
from backupd.warehouse.hive.connection import HiveConnection
from backupd.warehouse.hive.driver import TRANSPORT_ERRORS
from backupd.warehouse.hive.earlier_statements import EarlierStatements
from backupd.warehouse.hive.servers import shown
from support.hives import ServerMemory, hive_options, hive_section, running_hives
from support.merging import assert_once, until_merged
from support.rows import new_batch

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterator
    from pathlib import Path

    from backupd.core.ports import Warehouse
    from support.hive_server import HiveServer

    Opened = Callable[..., Warehouse]

KEYS = [RowKey("0" * 20, "2026-11-23")]
NOT_USE = "^(?!USE)"  # a session begins with that
TRANSPORTS = pytest.mark.parametrize("transport", ["binary", "http"])


@pytest.fixture
def servers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[list[HiveServer]]:
    monkeypatch.setattr(earlier_statements, "_DIES_WITHIN", 0.01)
    monkeypatch.setattr(earlier_statements, "_STOPS_WITHIN", 0.01)
    monkeypatch.setattr(hive_connection, "_ANSWER_WITHIN", 0.5)
    monkeypatch.setattr(hive_connection, "_COMPILE_WITHIN", 0.5)
    with running_hives(tmp_path / "hive", 2) as started:
        yield started


@pytest.fixture
def log() -> ServerMemory:
    return ServerMemory()


@pytest.fixture
async def opened(servers: list[HiveServer], log: ServerMemory) -> AsyncIterator[Opened]:
    """Opens warehouses at so many of the servers, and closes them."""
    warehouses: list[Warehouse] = []

    def open_one(count: int = 2, **changes: object) -> Warehouse:
        hosts = tuple((each.host, each.port) for each in servers[:count])
        options = {"hosts": hosts, "merge": "insert", "statement_timeout": 2.0} | changes
        warehouses.append(open_warehouse(hive_section(servers[0], **options), log))
        return warehouses[-1]

    yield open_one
    for each in warehouses:
        await each.aclose()


def name(server: HiveServer) -> str:
    return shown((server.host, server.port))


async def fails(warehouse: Warehouse, words: str) -> str:
    """Have a look at the table fail; return what was told."""
    with pytest.raises(DependencyDownError, match=words) as caught:
        await warehouse.find(KEYS)
    assert "no server" not in str(caught.value)
    return str(caught.value)


def inserts(server: HiveServer) -> list[str]:
    return [each for each in server.statements if each.startswith("INSERT")]


# ------------------------------------------------------------------ statements that fail


async def test_a_server_that_fails_every_statement_is_passed_over_at_the_next_try(
    servers: list[HiveServer], opened: Opened
) -> None:
    for _ in range(20):
        servers[0].on(NOT_USE, "fail")
    warehouse = opened()
    assert name(servers[0]) in await fails(warehouse, "SELECT .*failed: .*disk on fire")
    for _ in range(3):
        assert await warehouse.find(KEYS) == frozenset()
    assert len([each for each in servers[0].statements if each.startswith("SELECT")]) == 1
    assert not servers[0].sessions
    assert len(servers[1].sessions) == 1


async def test_a_batch_goes_through_beside_a_server_that_fails_every_statement(
    servers: list[HiveServer], opened: Opened
) -> None:
    for _ in range(20):
        servers[0].on(NOT_USE, "fail")
    warehouse = opened()
    batch, rows = new_batch(4, days=2)
    assert len(await until_merged(warehouse, batch, rows)) == 1
    await assert_once(warehouse, rows)


async def test_the_only_server_keeps_its_session_and_stays_in_use(
    servers: list[HiveServer], opened: Opened, log: ServerMemory
) -> None:
    warehouse = opened(1)
    await warehouse.find(KEYS)
    servers[0].on("SELECT", "fail")
    await fails(warehouse, "disk on fire")
    assert await warehouse.find(KEYS) == frozenset()
    assert len(servers[0].users) == 1
    assert log.in_use == [{"HiveServer2": name(servers[0])}]


async def test_an_insert_that_ended_by_an_error_is_not_asked_for(
    servers: list[HiveServer], opened: Opened, log: ServerMemory, monkeypatch: pytest.MonkeyPatch
) -> None:
    warehouse = opened()
    batch, rows = new_batch()
    await warehouse.load(batch, rows)
    servers[0].on("INSERT", "fail")
    with pytest.raises(DependencyDownError, match=r"INSERT INTO failed: .*disk on fire"):
        await warehouse.merge(batch, rows)
    assert log.possibly_running() == []
    monkeypatch.setattr(EarlierStatements, "end", None)  # nobody asks
    await warehouse.merge(batch, rows)
    assert [len(inserts(each)) for each in servers] == [1, 1]
    await assert_once(warehouse, rows)


# ------------------------------------------------------------------ what a server forgets


@TRANSPORTS
@pytest.mark.parametrize("count", [1, 2])
async def test_a_session_that_is_forgotten_costs_one_failure(
    servers: list[HiveServer], opened: Opened, transport: str, count: int
) -> None:
    for each in servers:
        each.transport = transport  # type: ignore[assignment]  # one of the two
    warehouse = opened(count, transport=transport)
    await warehouse.find(KEYS)
    for each in servers:
        each.sessions.clear()
    assert name(servers[0]) in await fails(warehouse, "Invalid SessionHandle")
    assert await warehouse.find(KEYS) == frozenset()
    assert [len(each.users) for each in servers] == ([2, 0] if count == 1 else [1, 1])


@pytest.mark.parametrize("count", [1, 2])
async def test_a_statement_that_is_forgotten_costs_one_failure(
    servers: list[HiveServer], opened: Opened, count: int
) -> None:
    warehouse = opened(count)
    servers[0].on("SELECT", "forget")
    assert name(servers[0]) in await fails(warehouse, "Invalid OperationHandle")
    assert await warehouse.find(KEYS) == frozenset()
    assert not servers[0].sessions or count == 1


async def test_sessions_that_are_forgotten_while_a_batch_is_on_its_way_make_each_row_once(
    servers: list[HiveServer], opened: Opened
) -> None:
    warehouse = opened()
    batch, rows = new_batch(4, days=2)
    await warehouse.load(batch, rows)
    for each in servers:
        each.sessions.clear()
    assert len(await until_merged(warehouse, batch, rows)) <= 1
    await assert_once(warehouse, rows)


# ------------------------------------------------------------------ sessions that broke off


def answer_late(server: HiveServer, monkeypatch: pytest.MonkeyPatch) -> None:
    """Have the next CloseSession answered when nobody waits any more."""
    close = server.close_session
    waiting = [1.0]

    def late(key: bytes) -> None:
        close(key)
        if waiting:
            time.sleep(waiting.pop())

    monkeypatch.setattr(server, "close_session", late)


@TRANSPORTS
@pytest.mark.parametrize("trouble", ["cut", "late"])
async def test_a_close_that_breaks_is_tried_again_and_shifts_no_answers(
    servers: list[HiveServer],
    opened: Opened,
    monkeypatch: pytest.MonkeyPatch,
    transport: str,
    trouble: str,
) -> None:
    servers[0].transport = transport  # type: ignore[assignment]  # one of the two
    warehouse = opened(1, transport=transport)
    servers[0].cut_at = "GetOperationStatus"
    await fails(warehouse, "the connection broke|cannot be reached")
    assert len(servers[0].sessions) == 1
    if trouble == "cut":
        servers[0].cut_at = "CloseSession"
    else:
        answer_late(servers[0], monkeypatch)
    await fails(warehouse, f"{name(servers[0])}.*cannot be reached")

    batch, rows = new_batch(4, days=2)
    assert await until_merged(warehouse, batch, rows) == []
    await assert_once(warehouse, rows)
    assert len(servers[0].sessions) == 1  # those that broke off are closed
    await warehouse.aclose()
    assert not servers[0].sessions


async def test_a_close_that_breaks_leads_to_the_next_server(
    servers: list[HiveServer], opened: Opened
) -> None:
    warehouse = opened()
    await warehouse.find(KEYS)
    servers[0].cut_at = "ExecuteStatement"
    await warehouse.find(KEYS)  # at the second one
    servers[0].cut_at, servers[1].cut_at = "CloseSession", "ExecuteStatement"
    assert await warehouse.find(KEYS) == frozenset()
    assert [each.cut_at for each in servers] == ["", ""]
    assert [len(each.sessions) for each in servers] == [2, 1]
    servers[1].cut_at = "ExecuteStatement"
    assert await warehouse.find(KEYS) == frozenset()  # back at the first one
    assert [len(each.sessions) for each in servers] == [1, 1]


# ------------------------------------------------------------------ a port that refuses


async def after_a_stop(servers: list[HiveServer], opened: Opened) -> tuple[Warehouse, list[object]]:
    """Have an INSERT lost at a server that stops; return another process, and its batch."""
    batch, rows = new_batch()
    first = opened(statement_timeout=60.0)
    await first.load(batch, rows)
    servers[0].on("INSERT", "orphan")
    servers[0].refuses_sessions = "not now"
    with pytest.raises(DependencyDownError):
        await first.merge(batch, rows)
    servers[0].stop()
    return opened(statement_timeout=60.0), [batch, rows]


async def test_a_port_that_refuses_for_a_moment_is_not_dead(
    servers: list[HiveServer], opened: Opened, monkeypatch: pytest.MonkeyPatch
) -> None:
    warehouse, work = await after_a_stop(servers, opened)
    monkeypatch.setattr(EarlierStatements, "_pause", lambda *_: servers[0].start())
    with pytest.raises(DependencyDownError, match="may still run"):
        await warehouse.merge(*work)  # type: ignore[arg-type]  # batch and rows
    assert not inserts(servers[1])


async def test_a_port_that_refuses_on_is_dead(
    servers: list[HiveServer], opened: Opened, monkeypatch: pytest.MonkeyPatch
) -> None:
    pauses: list[float] = []
    warehouse, work = await after_a_stop(servers, opened)
    monkeypatch.setattr(earlier_statements, "_STOPS_WITHIN", 7.0)
    monkeypatch.setattr(EarlierStatements, "_pause", lambda _, seconds: pauses.append(seconds))
    await warehouse.merge(*work)  # type: ignore[arg-type]  # batch and rows
    assert pauses == [7.0]
    assert len(inserts(servers[1])) == 1
    servers[0].start()


# ------------------------------------------------------------------ passwords


@pytest.mark.parametrize(("user", "password"), [("backupd", "pässwörd€"), ("bäckupd€", "sesame")])
async def test_logins_over_http_may_be_in_any_letters(
    servers: list[HiveServer], opened: Opened, user: str, password: str
) -> None:
    servers[0].transport, servers[0].passwords = "http", {user: password}
    login = {"transport": "http", "auth": "LDAP", "username": user}
    assert await opened(1, **login, password=password).find(KEYS) == frozenset()
    await fails(opened(1, **login, password="pässwörd"), "error code 49")


@pytest.mark.parametrize("call", ["OpenSession", "CloseSession"])
def test_a_second_connection_that_is_cut_is_closed(servers: list[HiveServer], call: str) -> None:
    section = hive_options(hosts=((servers[0].host, servers[0].port),))
    connection = HiveConnection(section, None, threading.Event())
    servers[0].cut_at = call
    with pytest.raises(TRANSPORT_ERRORS), connection.another_at(section.hosts[0]):
        pass
    gc.collect()  # what is still open now is reported, and fails the test
