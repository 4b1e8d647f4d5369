"""Several HiveServer2s: the next one goes on, and only who ran a statement says that it ended."""

from __future__ import annotations

import asyncio
import socket
import time
from collections import Counter
from contextlib import contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from backupd.core.errors import DependencyDownError
from backupd.core.rows import RowKey
from backupd.warehouse import open_warehouse
from backupd.warehouse.hive import connection as hive_connection
from backupd.warehouse.hive import earlier_statements
from backupd.warehouse.hive.servers import Servers, address_of, shown
from support.balancer import Balancer
from support.hives import ServerMemory, hive_section, running_hives
from support.merging import assert_once, until_merged
from support.rows import new_batch

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterator
    from pathlib import Path

    from backupd.core.ports import Warehouse
    from backupd.core.rows import ProductionRow
    from support.hive_server import Fault, HiveServer

    Opened = Callable[..., Warehouse]

KEYS = [RowKey("0" * 20, "2026-11-23")]


@pytest.fixture
def servers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[list[HiveServer]]:
    monkeypatch.setattr(earlier_statements, "_DIES_WITHIN", 0.01)
    monkeypatch.setattr(earlier_statements, "_STOPS_WITHIN", 0.01)
    monkeypatch.setattr(hive_connection, "_ANSWER_WITHIN", 1.0)
    monkeypatch.setattr(hive_connection, "_COMPILE_WITHIN", 1.0)
    with running_hives(tmp_path / "hive", 2) as started:
        yield started


@pytest.fixture
def log() -> ServerMemory:
    return ServerMemory()


@pytest.fixture
async def opened(servers: list[HiveServer], log: ServerMemory) -> AsyncIterator[Opened]:
    """Opens warehouses, each like another process, that know both servers."""
    warehouses: list[Warehouse] = []
    both = tuple((each.host, each.port) for each in servers)

    def open_one(**changes: object) -> Warehouse:
        options = {"hosts": both, "merge": "insert", "statement_timeout": 2.0} | changes
        warehouses.append(open_warehouse(hive_section(servers[0], **options), log))
        return warehouses[-1]

    yield open_one
    for each in warehouses:
        await each.aclose()


def names(servers: list[HiveServer]) -> list[str]:
    return [shown((each.host, each.port)) for each in servers]


def inserts(server: HiveServer) -> list[str]:
    return [each for each in server.statements if each.startswith("INSERT")]


def once(rows: list[ProductionRow]) -> Counter[str]:
    return Counter(row.file_id for row in rows)


# ------------------------------------------------------------------ the next one goes on


async def test_the_first_server_is_used_while_it_is_good(
    servers: list[HiveServer], opened: Opened, log: ServerMemory
) -> None:
    warehouse = opened()
    await warehouse.find(KEYS)
    await warehouse.find(KEYS)
    assert not servers[1].users
    assert log.in_use == [{"HiveServer2": names(servers)[0]}]


async def test_a_server_that_is_gone_is_passed_over_and_the_one_in_use_is_known(
    servers: list[HiveServer], opened: Opened, log: ServerMemory
) -> None:
    warehouse = opened()
    await warehouse.find(KEYS)
    servers[0].stop()
    await warehouse.find(KEYS)
    servers[0].start()
    await warehouse.find(KEYS)  # the good one is kept
    assert [each["HiveServer2"] for each in log.in_use] == names(servers)


async def test_a_server_that_takes_no_sessions_is_passed_over(
    servers: list[HiveServer], opened: Opened
) -> None:
    servers[0].refuses_sessions = "Cannot open sessions on an inactive HS2 instance"
    assert await opened().find(KEYS) == frozenset()
    assert servers[1].users


async def test_a_frozen_server_is_passed_over(servers: list[HiveServer], opened: Opened) -> None:
    servers[0].silent = True
    assert await opened().find(KEYS) == frozenset()


async def test_an_error_when_none_is_left_names_each_with_its_reason(
    servers: list[HiveServer], opened: Opened
) -> None:
    servers[0].stop()
    servers[1].refuses_sessions = "Cannot open sessions on an inactive HS2 instance"
    with pytest.raises(DependencyDownError) as caught:
        await opened().find(KEYS)
    first, second = str(caught.value).split("; ")
    assert names(servers)[0] in first
    assert names(servers)[1] in second
    assert "inactive HS2 instance" in second
    servers[0].start()


@pytest.mark.parametrize("merge", ["files", "insert"])
@pytest.mark.parametrize("fault", ["cut before", "cut after", "linger"])
@pytest.mark.parametrize("statement", ["DESCRIBE", "ALTER", "LOAD DATA", "INSERT"])
async def test_a_server_that_breaks_off_costs_no_failure_while_another_is_up(
    servers: list[HiveServer], opened: Opened, merge: str, statement: str, fault: Fault
) -> None:
    warehouse = opened(merge=merge)
    batch, rows = new_batch(6, days=3)
    servers[0].on(statement, fault)
    await warehouse.load(batch, rows)
    assert await warehouse.merge(batch, rows) == once(rows)
    servers[0].release()
    await assert_once(warehouse, rows)


@pytest.mark.parametrize(
    ("merge", "statement"),
    [
        *(("files", each) for each in ("DESCRIBE", "ALTER", "LOAD DATA")),
        *(("insert", each) for each in ("DESCRIBE", "ALTER", "LOAD DATA", "INSERT")),
    ],
)
async def test_a_server_that_dies_in_a_statement_costs_no_failure(
    servers: list[HiveServer], opened: Opened, merge: str, statement: str
) -> None:
    warehouse = opened(merge=merge)
    batch, rows = new_batch(4, days=2)
    servers[0].on(statement, "linger")

    async def dies() -> None:
        await asyncio.to_thread(servers[0].wait_for, statement)
        await asyncio.to_thread(servers[0].stop)

    dying = asyncio.create_task(dies())
    await warehouse.load(batch, rows)
    assert await warehouse.merge(batch, rows) == once(rows)
    await dying
    await assert_once(warehouse, rows)


# ------------------------------------------------------------------ who ran it says that it ended


async def test_another_server_is_not_asked_whether_an_insert_ended(
    servers: list[HiveServer], opened: Opened, log: ServerMemory
) -> None:
    """It would say that it knows no such session, while the INSERT goes on."""
    batch, rows = new_batch()
    first = opened()
    await first.load(batch, rows)
    servers[0].on("INSERT", "zombie")
    servers[0].refuses_sessions = "Cannot open sessions on an inactive HS2 instance"
    with pytest.raises(DependencyDownError, match=r"an INSERT of batch \w+ may still run"):
        await first.merge(batch, rows)
    assert [each.server for each in log.possibly_running()] == names(servers)[:1]
    with pytest.raises(DependencyDownError, match="may still run"):
        await opened().merge(batch, rows)
    assert not inserts(servers[1])

    assert servers[0].release() == [""]  # it comes to its end all the same
    assert await first.merge(batch, rows) == once(rows)
    await assert_once(first, rows)


async def test_a_frozen_server_keeps_its_insert_until_it_answers(
    servers: list[HiveServer], opened: Opened
) -> None:
    batch, rows = new_batch()
    warehouse = opened(statement_timeout=0.5)
    await warehouse.load(batch, rows)
    servers[0].on("INSERT", "zombie")
    servers[0].silent = True
    for _ in range(2):  # longer than the statement may take
        with pytest.raises(DependencyDownError, match="may still run"):
            await warehouse.merge(batch, rows)
    assert not inserts(servers[1])
    servers[0].silent = False
    assert servers[0].release() == [""]
    assert await warehouse.merge(batch, rows) == once(rows)
    await assert_once(warehouse, rows)


async def test_a_dead_server_has_ended_what_it_ran(
    servers: list[HiveServer], opened: Opened, log: ServerMemory
) -> None:
    batch, rows = new_batch()
    first = opened()
    await first.load(batch, rows)
    servers[0].on("INSERT", "orphan")
    servers[0].refuses_sessions = "no"
    with pytest.raises(DependencyDownError):
        await first.merge(batch, rows)
    servers[0].stop()
    assert await opened().merge(batch, rows) == once(rows)
    assert log.possibly_running() == []
    assert len(inserts(servers[1])) == 1
    servers[0].refuses_sessions = ""
    servers[0].start()
    await assert_once(first, rows)


async def test_a_statement_of_an_older_ledger_is_asked_for_at_the_only_server(
    servers: list[HiveServer], opened: Opened, log: ServerMemory
) -> None:
    batch, rows = new_batch()
    warehouse = opened(hosts=((servers[0].host, servers[0].port),))
    await warehouse.load(batch, rows)
    servers[0].on("INSERT", "orphan")
    with pytest.raises(DependencyDownError):
        await warehouse.merge(batch, rows)
    (known,) = log.possibly_running()
    log.write(replace(known, server=""))
    assert await warehouse.merge(batch, rows) == once(rows)
    await assert_once(warehouse, rows)


# ------------------------------------------------------------------ a load balancer


@contextmanager
def balanced(servers: list[HiveServer]) -> Iterator[Balancer]:
    balancer = Balancer([each.port for each in servers])
    balancer.start()
    try:
        yield balancer
    finally:
        balancer.stop()


def lead_elsewhere(balancer: Balancer) -> None:
    """Have the next connection go to the second server, and the ones after it to each in turn."""
    balancer.stick(None)
    passed = len(balancer.passed)
    socket.create_connection((balancer.host, balancer.port)).close()
    while len(balancer.passed) == passed:
        time.sleep(0.01)


async def test_behind_a_load_balancer_an_insert_is_waited_for(
    servers: list[HiveServer], opened: Opened
) -> None:
    """The server that answers knows of nothing: that is no proof."""
    with balanced(servers) as balancer:
        warehouse = opened(hosts=((balancer.host, balancer.port),), statement_timeout=1.5)
        batch, rows = new_batch()
        balancer.stick(0)
        await warehouse.load(batch, rows)
        servers[0].on("INSERT", "zombie")
        with pytest.raises(DependencyDownError):
            await warehouse.merge(batch, rows)
        lead_elsewhere(balancer)
        with pytest.raises(DependencyDownError, match="load balancer") as caught:
            await warehouse.merge(batch, rows)
        assert "until 20" in caught.value.hint  # it says until when it waits
        assert len(inserts(servers[0]) + inserts(servers[1])) == 1

        await asyncio.sleep(1.5)
        await until_merged(warehouse, batch, rows)
        assert len(inserts(servers[0]) + inserts(servers[1])) == 2
        await assert_once(warehouse, rows)


async def test_behind_a_load_balancer_rows_that_appear_end_the_wait(
    servers: list[HiveServer], opened: Opened
) -> None:
    with balanced(servers) as balancer:
        warehouse = opened(hosts=((balancer.host, balancer.port),), statement_timeout=60.0)
        batch, rows = new_batch()
        balancer.stick(0)
        await warehouse.load(batch, rows)
        servers[0].on("INSERT", "zombie")
        with pytest.raises(DependencyDownError):
            await warehouse.merge(batch, rows)
        lead_elsewhere(balancer)
        with pytest.raises(DependencyDownError, match="load balancer"):
            await warehouse.merge(batch, rows)
        assert servers[0].release() == [""]
        assert await warehouse.merge(batch, rows) == once(rows)
        await assert_once(warehouse, rows)


@pytest.mark.parametrize(
    "way",
    [
        {"load_balanced": True},
        {"kerberos_host": "hive-lb.example"},
        {"transport": "http", "http_path": "gateway/x/hive"},
    ],
    ids=["it is said", "another principal", "a gateway's path"],
)
async def test_an_address_that_shows_to_be_no_servers_own_is_not_believed(
    servers: list[HiveServer], opened: Opened, way: dict[str, str]
) -> None:
    if "http_path" in way:
        servers[0].transport = "http"
        servers[0].http.path = way["http_path"]
    only = ((servers[0].host, servers[0].port),)
    warehouse = opened(hosts=only, statement_timeout=60.0, **way)
    batch, rows = new_batch()
    await warehouse.load(batch, rows)
    servers[0].on("INSERT", "orphan")
    with pytest.raises(DependencyDownError):
        await warehouse.merge(batch, rows)
    servers[0].stop()  # whoever answers now knows nothing of it
    servers[0].start()
    with pytest.raises(DependencyDownError, match="load balancer or gateway"):
        await warehouse.merge(batch, rows)
    assert len(inserts(servers[0])) == 1


async def test_what_a_server_behind_a_balancer_says_is_believed(
    servers: list[HiveServer], opened: Opened
) -> None:
    """One that knows the INSERT answers for it; only that it knows nothing is no proof."""
    only = ((servers[0].host, servers[0].port),)
    warehouse = opened(hosts=only, statement_timeout=60.0, load_balanced=True)
    batch, rows = new_batch()
    await warehouse.load(batch, rows)
    servers[0].on("INSERT", "orphan")
    with pytest.raises(DependencyDownError):
        await warehouse.merge(batch, rows)
    assert await warehouse.merge(batch, rows) == once(rows)
    servers[0].on("INSERT", "fail")
    batch, rows = new_batch()
    await warehouse.load(batch, rows)
    with pytest.raises(DependencyDownError, match="INSERT INTO failed"):
        await warehouse.merge(batch, rows)
    assert await warehouse.merge(batch, rows) == once(rows)


# ------------------------------------------------------------------ the order


def test_the_good_server_is_tried_first_and_the_one_that_failed_last_at_the_end() -> None:
    a, b, c = ("h1", 1), ("h2", 2), ("h3", 3)
    servers = Servers(lambda: [a, b, c])
    servers.use(b)
    assert servers.in_turn() == [b, a, c]
    servers.leave(b)
    servers.leave(a)
    assert servers.in_turn() == [c, b, a]
    assert servers.in_use is None
    assert servers.others() == 2


@pytest.mark.parametrize("address", [("hive.example", 10000), ("::1", 10001), ("10.0.0.7", 1)])
def test_an_address_comes_back_as_it_was_written(address: tuple[str, int]) -> None:
    assert address_of(shown(address)) == address
