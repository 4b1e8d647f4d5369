"""The staging folder in HDFS: NameNodes that take turns, connections that break, refusals."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from backupd.core.errors import DependencyDownError
from backupd.core.records import new_id
from backupd.warehouse.hive import webhdfs
from support.http_serving import Answer
from support.merging import assert_once, until_merged
from support.rows import NOON, new_batch
from support.webhdfs_files import RemoteError
from support.webhdfs_site import (
    FOLDER,
    MERGES,
    OPERATIONS,
    Site,
    at_call,
    merged,
    refused,
    running_site,
    there_once,
)

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable
    from pathlib import Path

    from backupd.core.ports import Warehouse
    from support.webhdfs_server import State, WebHdfsServer, When

    Pair = list[WebHdfsServer]
    Open = Callable[..., Warehouse]

BATCH = new_id(NOON)
EACH_MERGE = pytest.mark.parametrize("merge", MERGES)
EACH_OPERATION = pytest.mark.parametrize(("merge", "operation"), OPERATIONS)


@pytest.fixture
async def site(tmp_path: Path) -> AsyncIterator[Site]:
    async with running_site(tmp_path / "hdfs") as running:
        yield running


@pytest.fixture
def pair(site: Site) -> Pair:
    return site.pair


@pytest.fixture
def server(site: Site) -> WebHdfsServer:
    return site.pair[0]


@pytest.fixture
def opened(site: Site) -> Open:
    return site.open


# -- two NameNodes -------------------------------------------------------------------------------


@EACH_MERGE
@pytest.mark.parametrize("active", [0, 1])
async def test_the_active_one_is_found_wherever_it_stands(
    pair: Pair, opened: Open, active: int, merge: str
) -> None:
    pair[active].state, pair[1 - active].state = "active", "standby"
    await merged(opened(*pair, merge=merge))
    refused_by_the_other = pair[1 - active].asked.total()
    assert refused_by_the_other == active  # the good one is kept


async def test_a_failover_between_two_calls_is_followed(pair: Pair, opened: Open) -> None:
    warehouse = opened(*pair)
    for _ in range(3):
        batch, rows = new_batch(4, days=2)
        await warehouse.load(batch, rows)
        pair[0].state, pair[1].state = pair[1].state, pair[0].state
        await warehouse.merge(batch, rows)
        await there_once(warehouse, rows)


@EACH_OPERATION
async def test_a_failover_in_the_middle_makes_each_row_once(
    pair: Pair, opened: Open, merge: str, operation: str
) -> None:
    def fail_over() -> None:
        pair[0].state, pair[1].state = "standby", "active"

    at_call(pair[0], operation.partition(" ")[0], fail_over)
    await merged(opened(*pair, merge=merge))
    assert pair[1].asked.total() > 0


@pytest.mark.parametrize("order", [1, -1])
async def test_a_dead_one_is_passed_over(pair: Pair, opened: Open, order: int) -> None:
    pair[1].stop()
    await merged(opened(*pair[::order]))
    pair[1].start()


async def test_one_that_dies_is_left_for_the_other(pair: Pair, opened: Open) -> None:
    warehouse = opened(*pair)
    batch, rows = new_batch(4, days=2)
    await warehouse.load(batch, rows)
    pair[0].stop()
    pair[1].state = "active"
    assert await until_merged(warehouse, batch, rows) == []
    await assert_once(warehouse, rows)
    pair[0].start()


async def test_one_that_freezes_is_left_for_the_other(
    pair: Pair, opened: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(webhdfs, "_DEADLINES", (0.3, 0.3))
    warehouse = opened(*pair)
    await warehouse.sweep([])
    pair[0].name_node.silent = True
    pair[0].name_node.cut()
    pair[1].state = "active"
    await merged(warehouse)


async def test_none_that_is_active_is_told_with_each_ones_words(pair: Pair, opened: Open) -> None:
    pair[0].state = "standby"
    told = await refused(opened(*pair), "is not supported in state standby", "is standby")
    assert all(f"127.0.0.1:{each.port}: StandbyException" in told for each in pair)
    assert f"{FOLDER}, as user backupd" in told


async def test_none_that_listens_is_told(pair: Pair, opened: Open) -> None:
    for each in pair:
        each.stop()
    told = await refused(opened(*pair), "refused", "nothing listens")
    assert all(f"127.0.0.1:{each.port}" in told for each in pair)
    for each in pair:
        each.start()


@pytest.mark.parametrize(
    ("state", "words", "cure"),
    [
        ("safe mode", "SafeModeException: .* in safe mode", "wait until"),
        ("starting", "RetriableException: Namenode is in startup mode", "wait until"),
    ],
)
async def test_one_that_is_not_ready_is_waited_for(
    server: WebHdfsServer, opened: Open, state: State, words: str, cure: str
) -> None:
    server.state = state
    warehouse = opened(server)
    batch, rows = new_batch()
    with pytest.raises(DependencyDownError, match=words) as caught:
        await warehouse.load(batch, rows)
    assert cure in caught.value.hint
    server.state = "active"
    assert await until_merged(warehouse, batch, rows) == []
    await assert_once(warehouse, rows)


async def test_a_file_that_is_not_seen_on_a_standby_is_not_taken_for_missing(
    pair: Pair, opened: Open
) -> None:
    warehouse = opened(*pair)
    batch, rows = new_batch(4, days=2)
    await warehouse.load(batch, rows)
    pair[0].state = "standby"
    with pytest.raises(DependencyDownError, match="standby"):
        await warehouse.merge(batch, rows)
    pair[1].state = "active"
    assert await until_merged(warehouse, batch, rows) == []
    await assert_once(warehouse, rows)


# -- connections that break ----------------------------------------------------------------------


@pytest.mark.parametrize("when", ["before", "after"])
@EACH_OPERATION
async def test_a_connection_that_breaks_at_any_call_makes_each_row_once(
    server: WebHdfsServer, opened: Open, merge: str, operation: str, when: When
) -> None:
    warehouse = opened(server, merge=merge)
    for _ in range(2):
        server.cut_at(operation, when)
        await merged(warehouse, failures=2)
    assert server._cuts == []


@pytest.mark.parametrize("when", ["before", "after"])
@EACH_OPERATION
async def test_a_name_node_that_dies_at_any_call_leaves_it_to_the_other(
    pair: Pair, opened: Open, merge: str, operation: str, when: When
) -> None:
    pair[1].state = "active"
    pair[0].cut_at(operation, when)
    warehouse = opened(*pair, merge=merge)
    batch, rows = new_batch(4, days=2)
    assert await until_merged(warehouse, batch, rows) == []
    await assert_once(warehouse, rows)


async def test_a_data_node_that_is_gone_is_told(server: WebHdfsServer, opened: Open) -> None:
    warehouse = opened(server)
    server.data_node.stop()
    batch, rows = new_batch()
    with pytest.raises(DependencyDownError, match="refused") as caught:
        await warehouse.load(batch, rows)
    assert "nothing listens" in caught.value.hint
    server.data_node.start()
    assert await until_merged(warehouse, batch, rows) == []


async def test_a_data_node_that_freezes_is_given_up(
    server: WebHdfsServer, opened: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(webhdfs, "_DEADLINES", (0.3, 0.3))
    warehouse = opened(server)
    server.data_node.silent = True
    batch, rows = new_batch()
    with pytest.raises(DependencyDownError, match="timed out"):
        await warehouse.load(batch, rows)
    server.data_node.silent = False
    assert await until_merged(warehouse, batch, rows) == []
    await assert_once(warehouse, rows)


@pytest.mark.parametrize(
    ("kind", "words", "cure"),
    [
        ("AccessControlException", "Permission denied: user=backupd", "let user backupd write"),
        ("SecurityException", "InvalidToken: can't be found in cache", "next try gets a new one"),
        ("SecurityException", "User: knox is not allowed to impersonate b", "hadoop.proxyuser"),
        ("IOException", "disk on fire", "docs/hive.md"),
        ("IllegalArgumentException", "Invalid value: backupd", "docs/hive.md"),
    ],
)
async def test_a_refusal_is_told_in_the_servers_words(
    server: WebHdfsServer, opened: Open, kind: str, words: str, cure: str
) -> None:
    server.refusals["LISTSTATUS"] = RemoteError(kind, words)
    await refused(opened(server), words, cure)


async def test_what_is_no_webhdfs_at_all_is_told(server: WebHdfsServer, opened: Open) -> None:
    server.prefix = "/elsewhere"
    await refused(opened(server), "404")


@pytest.mark.parametrize("content", [b"<html>Please log in</html>", b"{}", b"[]", b""])
async def test_a_page_in_place_of_an_answer_is_told(
    opened: Open, server: WebHdfsServer, monkeypatch: pytest.MonkeyPatch, content: bytes
) -> None:
    """As a gateway shows one to log in at, with a status that says all is well."""
    monkeypatch.setattr(server, "_answer", lambda *_: Answer(200, content))
    warehouse = opened(server)
    for call in (warehouse.sweep([]), warehouse.discard(BATCH), warehouse.load(*new_batch())):
        with pytest.raises(DependencyDownError, match="the staging folder"):
            await call
    probed = [each for each in await warehouse.probe() if each.subject.startswith("HDFS")]
    assert [each.ok for each in probed] == [False]


async def test_a_file_that_cannot_be_sent_anywhere_is_told(
    opened: Open, server: WebHdfsServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(server, "_redirect", lambda *_: Answer(200, b"{}"))
    with pytest.raises(DependencyDownError, match="names no DataNode"):
        await opened(server).load(*new_batch())


@pytest.mark.parametrize("state", ["active", "standby", "safe mode", "starting"])
async def test_the_probe_tells_each_ones_state(pair: Pair, opened: Open, state: State) -> None:
    pair[1].state = state
    probed = [each for each in await opened(*pair).probe() if each.subject.startswith("HDFS")]
    assert [each.subject for each in probed] == [f"HDFS 127.0.0.1:{each.port}" for each in pair]
    assert (probed[0].ok, probed[0].detail) == (True, "active")
    if state == "starting":
        assert not probed[1].ok
        assert "startup mode" in probed[1].detail
    else:
        assert (probed[1].ok, probed[1].detail) == (True, state.replace("safe mode", "active"))


@pytest.mark.parametrize(
    ("kind", "words"),
    [
        ("AccessControlException", "Permission denied: user=backupd"),
        ("IllegalArgumentException", "Invalid value: backupd"),
        ("IOException", "disk on fire"),
    ],
)
async def test_the_probe_tells_a_refusal(
    server: WebHdfsServer, opened: Open, kind: str, words: str
) -> None:
    server.refusals["GETFILESTATUS"] = RemoteError(kind, words)
    (probed,) = [each for each in await opened(server).probe() if each.subject.startswith("HDFS")]
    assert not probed.ok
    assert words in probed.detail
