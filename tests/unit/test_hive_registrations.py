"""HiveServer2s that register in ZooKeeper: what is read of them, and who is counted."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from kazoo.exceptions import NoNodeError

from backupd.warehouse.hive import servers as hive_servers
from backupd.warehouse.hive.servers import HiveServers, Servers
from support.hives import NO_TLS, hive_options, login_section

if TYPE_CHECKING:
    from backupd.config.sections import LoginSection
    from backupd.config.urls import Address

NODE = "serverUri=hs2:10000;version=3.1.3;sequence=0000000001"
MODE = "hive.server2.transport.mode"
PORTS = "hive.server2.thrift.port=10000;hive.server2.thrift.http.port=10001"
PRINCIPAL = "hive.server2.authentication.kerberos.principal"
A, B, C = ("a", 1), ("b", 2), ("c", 3)


class Asked:
    """What an asynchronous call of kazoo returns."""

    def __init__(self, answer: object) -> None:
        self._answer = answer

    def get(self, timeout: float) -> object:
        assert timeout
        if isinstance(self._answer, Exception):
            raise self._answer
        return self._answer


class ZooKeeper:
    """A client of kazoo, whose nodes a test sets."""

    def __init__(self) -> None:
        self.nodes: dict[str, bytes | None] = {}  # None: it ends before it is read

    def __call__(self, *_: object, **__: object) -> ZooKeeper:
        return self

    def start(self, timeout: float) -> None: ...

    def stop(self) -> None: ...

    def close(self) -> None: ...

    def get_children_async(self, path: str) -> Asked:
        assert path == "/hiveserver2"
        return Asked(list(self.nodes))

    def get_async(self, path: str) -> Asked:
        content = self.nodes[path.removeprefix("/hiveserver2/")]
        return Asked(NoNodeError() if content is None else (content, None))


@pytest.fixture
def zookeeper(monkeypatch: pytest.MonkeyPatch) -> ZooKeeper:
    made = ZooKeeper()
    monkeypatch.setattr(hive_servers, "KazooClient", made)
    return made


@pytest.fixture
def hives(zookeeper: ZooKeeper) -> HiveServers:
    assert zookeeper
    return HiveServers(hive_options(hosts=(), zookeeper=(("zk", 2181),)))


def read(content: str, name: str = NODE, **login: object) -> tuple[Address, LoginSection]:
    return hive_servers._registration(name, content, login_section(**login))


# ------------------------------------------------------------------ one registration


@pytest.mark.parametrize(
    ("mode", "ours", "expected"),
    [
        ("binary", "binary", ("binary", 10000)),
        ("binary", "http", ("binary", 10000)),
        ("http", "binary", ("http", 10001)),
        ("HTTP", "binary", ("http", 10001)),
        ("all", "binary", ("binary", 10000)),
        ("all", "http", ("http", 10001)),
        ("ALL", "http", ("http", 10001)),
    ],
)
def test_the_transport_is_the_servers_and_ours_where_it_has_all(
    mode: str, ours: str, expected: tuple[str, int]
) -> None:
    (host, port), login = read(f"{MODE}={mode};{PORTS}", transport=ours)
    assert host == "hs2"
    assert (login.transport, port) == expected


@pytest.mark.parametrize("content", ["", "hs2:10000"])
@pytest.mark.parametrize("transport", ["binary", "http"])
def test_a_server_without_settings_is_spoken_to_as_the_config_says(
    content: str, transport: str
) -> None:
    service = "HTTP" if transport == "http" else "hive"
    ours = login_section(transport=transport, kerberos_service_name=service, http_path="x/y")
    assert hive_servers._registration(NODE, content, ours) == (("hs2", 10000), ours)


def test_the_address_and_the_path_are_the_registered_ones() -> None:
    content = f"{MODE}=http;{PORTS};hive.server2.thrift.bind.host=inner"
    address, login = read(f"{content};hive.server2.thrift.http.path=/deep/er/")
    assert (address, login.http_path) == (("inner", 10001), "deep/er")
    assert read("", "serverUri=[::1]:10000;sequence=1")[0] == ("::1", 10000)


@pytest.mark.parametrize(
    ("principal", "ours", "expected"),
    [
        ("hive/inner.example@EXAMPLE", "", "inner.example"),
        ("hive/inner.example", "", "inner.example"),
        ("hive/_HOST@EXAMPLE", "", ""),
        ("hive@EXAMPLE", "", ""),
        ("", "", ""),
        ("hive/inner.example@EXAMPLE", "lb.example", "lb.example"),
    ],
)
def test_the_principals_host_is_the_registered_one_unless_we_name_one(
    principal: str, ours: str, expected: str
) -> None:
    assert read(f"{PRINCIPAL}={principal}", kerberos_host=ours)[1].kerberos_host == expected


@pytest.mark.parametrize(
    ("mode", "ours", "expected"),
    [("http", "hive", "HTTP"), ("binary", "HTTP", "hive"), ("http", "hs2", "hs2")],
)
def test_the_usual_service_follows_the_transport(mode: str, ours: str, expected: str) -> None:
    login = read(f"{MODE}={mode}", kerberos_service_name=ours)[1]
    assert login.kerberos_service_name == expected


def test_no_registration_talks_us_out_of_tls_or_the_login() -> None:
    content = "hive.server2.use.SSL=false;hive.server2.authentication=NONE"
    login = read(content, auth="LDAP", password="sesame", tls=NO_TLS)[1]
    assert (login.auth, login.password, login.tls) == ("LDAP", "sesame", NO_TLS)


# ------------------------------------------------------------------ what cannot be read

MALFORMED = [
    ("serverUri=", b""),
    ("serverUri=h", b""),
    ("serverUri=h:x", b""),
    ("serverUri=h:1;sequence=1", b"hive.server2.thrift.port=x"),
    ("serverUri=h:1;sequence=2", b"\xff\xfe"),
]


@pytest.mark.parametrize(("name", "content"), MALFORMED)
def test_what_cannot_be_read_is_passed_over_where_another_can(
    zookeeper: ZooKeeper, hives: HiveServers, name: str, content: bytes
) -> None:
    zookeeper.nodes = {name: content, NODE: b""}
    assert hives.find() == [("hs2", 10000)]


@pytest.mark.parametrize(("name", "content"), MALFORMED)
def test_it_is_named_where_none_can_be_read(
    zookeeper: ZooKeeper, hives: HiveServers, name: str, content: bytes
) -> None:
    zookeeper.nodes = {name: content}
    with pytest.raises(OSError, match="cannot be read") as caught:
        hives.find()
    assert str(caught.value).endswith(f": {name}")


def test_other_nodes_and_those_that_end_meanwhile_are_nobody(
    zookeeper: ZooKeeper, hives: HiveServers
) -> None:
    zookeeper.nodes = {"leader": b"", NODE: None}
    assert hives.find() == []


# ------------------------------------------------------------------ who is known


def test_a_server_that_left_stays_known_to_the_login(
    zookeeper: ZooKeeper, hives: HiveServers
) -> None:
    zookeeper.nodes = {NODE: f"{MODE}=http;{PORTS}".encode()}
    assert hives.find() == [("hs2", 10001)]
    zookeeper.nodes = {"serverUri=other:1": b""}
    assert hives.find() == [("other", 1)]
    assert hives.login(("hs2", 10001)).transport == "http"
    assert hives.login(("other", 1)).transport == "binary"


def test_no_more_servers_stay_known_than_a_limit(
    zookeeper: ZooKeeper, hives: HiveServers, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(hive_servers, "_KEPT", 2)
    for port in range(1, 6):
        zookeeper.nodes = {f"serverUri=hs2:{port}": b""}
        hives.find()
    assert list(hives._logins) == [("hs2", 3), ("hs2", 4), ("hs2", 5)]


def test_the_login_of_a_server_that_was_not_looked_for_yet_is_asked_for(
    zookeeper: ZooKeeper, hives: HiveServers
) -> None:
    zookeeper.nodes = {NODE: f"{MODE}=http;{PORTS}".encode()}
    assert hives.login(("hs2", 10001)).transport == "http"


def test_the_others_are_counted_as_they_are_now() -> None:
    there: list[Address] = [A, B]
    servers = Servers(lambda: there)
    servers.use(A)
    assert servers.others() == 1
    there.append(C)
    assert servers.others() == 2
    servers.leave(A)  # nobody is in use: it counts beside the one that was lost last
    assert servers.others() == 2
    there[:] = [A]
    assert servers.others() == 0
    there[:] = [B]
    assert servers.others() == 1


def test_nobody_counts_while_nobody_can_say() -> None:
    def fail() -> list[Address]:
        raise OSError("ZooKeeper does not answer")

    assert Servers(fail).others() == 0


def test_a_server_that_is_named_twice_counts_once() -> None:
    servers = Servers(lambda: [A, B, B, A])
    assert servers.in_turn() == [A, B]
    servers.use(A)
    assert servers.others() == 1
