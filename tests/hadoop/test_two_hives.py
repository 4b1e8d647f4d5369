"""Two HiveServer2 with one metastore: as anybody finds them, and when one is gone."""

from __future__ import annotations

import time
from contextlib import closing
from typing import TYPE_CHECKING, Any

import pytest
import requests

from support.hadoop_tables import run

if TYPE_CHECKING:
    from support.hadoop import Hadoop, Server

pytestmark = pytest.mark.hadoop


@pytest.fixture(params=["two_hives", "secure_two_hives"])
def stack(request: pytest.FixtureRequest) -> Hadoop:
    started: Hadoop = request.getfixturevalue(request.param)
    return started


def ask(stack: Hadoop, server: Server, statement: str) -> list[tuple[Any, ...]]:
    with closing(stack.connection(server)) as connection, closing(connection.cursor()) as cursor:
        cursor.execute(statement)
        return list(cursor.fetchall())


def ports(stack: Hadoop) -> set[int]:
    return {stack.ports[name] for name in stack.hives}


def test_both_are_found_by_zookeeper(stack: Hadoop) -> None:
    assert stack.registered() == ports(stack)
    keys = stack.config_keys(by_zookeeper=True)
    assert keys["zookeeper"] == [f"127.0.0.1:{stack.ports['zookeeper']}"]
    assert keys["zookeeper_namespace"] == "hiveserver2"
    assert "hosts" not in keys
    assert stack.config_keys()["hosts"] == [f"{stack.host}:{stack.ports[n]}" for n in stack.hives]


def test_only_a_secured_one_wants_a_ticket(two_hives: Hadoop) -> None:
    assert two_hives.config_keys()["auth"] == "NONE"
    assert two_hives.kerberos_keys() == {}


def test_a_plain_one_speaks_http_where_it_is_told_to(two_hives: Hadoop) -> None:
    (address,) = two_hives.config_keys("http")["hosts"][:1]  # type: ignore[index]  # a list
    with two_hives.other_hive({"hive.server2.transport.mode": "all"}):
        answer = requests.post(f"http://{address}/cliservice", timeout=30)
    assert answer.status_code == 401
    assert "Authorization header received from the client is empty" in answer.text


def test_what_one_makes_the_other_sees(stack: Hadoop) -> None:
    run(stack, "CREATE TABLE seen_by_both (number int)", "INSERT INTO seen_by_both VALUES (7)")
    assert ask(stack, "hive2", "SELECT number FROM seen_by_both") == [(7,)]


def test_a_killed_one_is_forgotten_and_comes_back(stack: Hadoop) -> None:
    stack.kill("hive2")
    deadline = time.monotonic() + 60
    while len(stack.registered()) == 2:
        assert time.monotonic() < deadline
        time.sleep(0.2)
    assert ask(stack, "hive", "SELECT 1") == [(1,)]
    stack.start("hive2")
    assert ask(stack, "hive2", "SELECT 1") == [(1,)]
    assert stack.registered() == ports(stack)


@pytest.mark.parametrize("server", ["zookeeper", "metastore", "datanode"])
def test_a_killed_server_comes_back(stack: Hadoop, server: Server) -> None:
    stack.kill(server)
    stack.start(server)
    name = f"after_{server}"
    run(stack, f"CREATE TABLE {name} (number int)", f"INSERT INTO {name} VALUES (7)")
    assert ask(stack, "hive2", f"SELECT number FROM {name}") == [(7,)]
