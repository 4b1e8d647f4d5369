"""Hive over HTTP: logins and cookies, sessions that the server keeps, TLS, and what goes wrong."""

from __future__ import annotations

import socket
import threading
from typing import TYPE_CHECKING

import pytest

from backupd.config.sections import KerberosSection, TlsSection
from backupd.core.errors import BackupdError, DependencyDownError
from backupd.core.records import new_id
from backupd.core.rows import RowKey
from backupd.warehouse import open_warehouse
from backupd.warehouse.hive import connection as hive_connection
from backupd.warehouse.hive import earlier_statements
from backupd.warehouse.hive.kerberos import Kerberos
from support.hives import hive_section, running_hive
from support.http_login import negotiate
from support.http_serving import Answer
from support.merging import assert_once, merged_once_though_cut, until_merged
from support.rows import NOON, new_batch
from support.tls import tls_files

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterator
    from pathlib import Path

    from backupd.core.ports import Warehouse
    from support.hive_server import Fault, HiveServer
    from support.http_serving import Request
    from support.tls import TlsFiles

KEYS = [RowKey(new_id(NOON), "2026-11-23")]
LDAP = {"auth": "LDAP", "password": "sesame"}
MERGES = pytest.mark.parametrize("merge", ["files", "insert"])


@pytest.fixture
def server(tmp_path: Path) -> Iterator[HiveServer]:
    with running_hive(tmp_path / "hive") as started:
        started.transport = "http"
        yield started


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> TlsFiles:
    return tls_files(tmp_path_factory.mktemp("tls") / "files")


@pytest.fixture(autouse=True)
def impatience(monkeypatch: pytest.MonkeyPatch) -> None:
    """What was cancelled dies at once here."""
    monkeypatch.setattr(earlier_statements, "_DIES_WITHIN", 0.01)
    monkeypatch.setattr(earlier_statements, "_ASK_EVERY", 0.01)


@pytest.fixture
async def opened(server: HiveServer) -> AsyncIterator[Callable[..., Warehouse]]:
    """Opens warehouses over HTTP, with changes in [warehouse.hive], and closes them."""
    warehouses: list[Warehouse] = []

    def open_one(**changes: object) -> Warehouse:
        section = hive_section(server, **{"transport": "http", **changes})
        warehouses.append(open_warehouse(section))
        return warehouses[-1]

    yield open_one
    for each in warehouses:
        await each.aclose()


@pytest.fixture
def kerberos(server: HiveServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> object:
    """Have the server accept the tokens that a fake Kerberos makes, each once."""
    fresh: set[bytes] = set()

    def token(_: Kerberos, service: str, host: str) -> str:
        made = f"{service}@{host} {new_id(NOON)}".encode()
        fresh.add(made)
        return negotiate(made)

    def accept(token: bytes) -> bool:
        known = token in fresh and token.startswith(b"HTTP@127.0.0.1 ")
        fresh.discard(token)
        return known

    monkeypatch.setattr(Kerberos, "negotiate", token)
    server.http.login.negotiate = accept
    principal = "backupd@EXAMPLE"
    return KerberosSection(principal=principal, keytab=tmp_path / "keytab")


async def refused(warehouse: Warehouse, words: str, cure: str = "") -> DependencyDownError:
    with pytest.raises(DependencyDownError, match=words) as caught:
        await warehouse.find(KEYS)
    assert cure in caught.value.hint, caught.value
    assert "sesame" not in f"{caught.value} {caught.value.hint}"
    return caught.value


# -- rows ----------------------------------------------------------------------------------------


@MERGES
async def test_rows_come_into_the_table(
    server: HiveServer, opened: Callable[..., Warehouse], merge: str
) -> None:
    warehouse = opened(merge=merge)
    batch, rows = new_batch(4, days=2)
    assert await until_merged(warehouse, batch, rows) == []
    await assert_once(warehouse, rows)
    await warehouse.aclose()
    assert not server.sessions
    assert set(server.users) == {"backupd"}


@pytest.mark.parametrize(
    "call",
    [
        "OpenSession",
        "ExecuteStatement",
        "GetOperationStatus",
        "CloseOperation",
        "GetResultSetMetadata",
        "FetchResults",
    ],
)
@MERGES
async def test_a_connection_that_is_cut_at_any_call_makes_each_row_once(
    server: HiveServer, opened: Callable[..., Warehouse], merge: str, call: str
) -> None:
    warehouse = opened(merge=merge)
    await merged_once_though_cut(server, warehouse, call)
    await warehouse.aclose()
    assert not server.sessions


STATEMENTS = {
    "files": ["ALTER TABLE .* ADD", "DESCRIBE", "LOAD DATA"],
    "insert": ["LOAD DATA", "INSERT INTO", "SELECT", "ALTER TABLE .* DROP", "DESCRIBE"],
}


@pytest.mark.parametrize("fault", ["cut before", "cut after", "orphan", "linger"])
@pytest.mark.parametrize(
    ("merge", "statement"), [(merge, each) for merge in STATEMENTS for each in STATEMENTS[merge]]
)
async def test_a_statement_whose_answer_is_lost_makes_each_row_once(
    server: HiveServer,
    opened: Callable[..., Warehouse],
    merge: str,
    statement: str,
    fault: Fault,
) -> None:
    warehouse = opened(merge=merge, statement_timeout=1.0)
    batch, rows = new_batch(4, days=2)
    server.on(statement, fault)
    await until_merged(warehouse, batch, rows)
    server.release()
    await assert_once(warehouse, rows)
    await warehouse.aclose()
    assert not server.sessions


# -- logins --------------------------------------------------------------------------------------


async def test_none_believes_whoever_comes(
    server: HiveServer, opened: Callable[..., Warehouse]
) -> None:
    await opened(username="etl").find(KEYS)
    assert server.users == ["etl"]


async def test_ldap_logs_in_with_the_password(
    server: HiveServer, opened: Callable[..., Warehouse]
) -> None:
    server.passwords = {"backupd": "sesame"}
    await opened(**LDAP).find(KEYS)
    await refused(opened(auth="LDAP", password="open"), "error code 49", "password_file")
    await refused(opened(), "error code 49", "password_file")


async def test_a_server_that_wants_another_login_says_so(
    server: HiveServer, opened: Callable[..., Warehouse]
) -> None:
    server.http.login.negotiate = {}
    await refused(
        opened(**LDAP), "HTTP 401.*Not a valid authentication method", "hive.server2.authentic"
    )


async def test_a_password_logs_in_once_a_connection(
    server: HiveServer, opened: Callable[..., Warehouse]
) -> None:
    server.passwords = {"backupd": "sesame"}
    warehouse = opened(**LDAP)
    for _ in range(3):
        await warehouse.find(KEYS)
    assert server.http.login.logins == 1
    server.http.login.expire_cookies()
    await warehouse.find(KEYS)
    assert server.http.login.logins == 2
    assert len(server.users) == 1


async def test_a_ticket_logs_in_once_and_again_when_its_cookie_has_run_out(
    server: HiveServer, opened: Callable[..., Warehouse], kerberos: object
) -> None:
    warehouse = opened(auth="KERBEROS", kerberos=kerberos, kerberos_service_name="HTTP")
    for _ in range(3):
        await warehouse.find(KEYS)
    assert server.http.login.logins == 1
    before = server.http.requests
    await warehouse.find(KEYS)
    each = server.http.requests - before
    server.http.login.expire_cookies()
    await warehouse.find(KEYS)
    assert server.http.login.logins == 2
    assert server.http.requests == before + 2 * each + 1
    assert len(server.users) == 1


async def test_a_cookie_that_runs_out_at_any_time_makes_each_row_once(
    server: HiveServer, opened: Callable[..., Warehouse], kerberos: object
) -> None:
    warehouse = opened(auth="KERBEROS", kerberos=kerberos, kerberos_service_name="HTTP")
    batch, rows = new_batch(4, days=2)
    respond = server.http.respond

    def forgetful(request: object) -> object:
        if server.http.requests % 3 == 0:
            server.http.login.expire_cookies()
        return respond(request)  # type: ignore[arg-type]  # as it came

    server.http.respond = forgetful  # type: ignore[method-assign,assignment]
    assert await until_merged(warehouse, batch, rows) == []
    await assert_once(warehouse, rows)
    assert server.http.login.logins > 5


async def test_a_ticket_is_for_the_host_that_the_config_names(
    opened: Callable[..., Warehouse], kerberos: object
) -> None:
    options = {"auth": "KERBEROS", "kerberos": kerberos, "kerberos_service_name": "HTTP"}
    await opened(**options, kerberos_host="127.0.0.1").find(KEYS)
    await refused(opened(**options, kerberos_host="elsewhere"), "HTTP 401", "hive.server2.auth")


async def test_a_server_that_refuses_a_ticket_is_not_asked_for_ever(
    server: HiveServer, opened: Callable[..., Warehouse], kerberos: object
) -> None:
    warehouse = opened(auth="KERBEROS", kerberos=kerberos, kerberos_service_name="HTTP")
    await warehouse.find(KEYS)
    server.http.login.expire_cookies()
    server.http.login.negotiate = lambda _: "Clock skew too great"
    before = server.http.requests
    await refused(warehouse, "as backupd@EXAMPLE.*HTTP 401.*Clock skew too great", "chrony")
    assert server.http.requests - before < 5


# -- paths and other servers ---------------------------------------------------------------------


async def test_the_path_is_the_configs(
    server: HiveServer, opened: Callable[..., Warehouse]
) -> None:
    server.http.path = "gateway/default/hive"
    await opened(http_path="gateway/default/hive").find(KEYS)
    await refused(opened(), "HTTP 405", "http_path")


async def test_a_redirect_is_told_and_not_followed(
    server: HiveServer, opened: Callable[..., Warehouse], monkeypatch: pytest.MonkeyPatch
) -> None:
    place = f"http://127.0.0.1:{server.port}/elsewhere"
    asked: list[str] = []

    def elsewhere(request: Request) -> Answer:
        asked.append(request.path)
        return Answer(307, headers={"Location": place})

    monkeypatch.setattr(server.http, "respond", elsewhere)
    await refused(opened(), "HTTP 307")
    assert asked == ["/cliservice"]


async def test_a_server_of_the_binary_transport_is_told(
    server: HiveServer, opened: Callable[..., Warehouse]
) -> None:
    server.transport = "binary"
    await refused(opened(), "cannot be reached: .*Connection aborted", "transport")


async def test_nothing_that_listens_is_told(
    server: HiveServer, opened: Callable[..., Warehouse]
) -> None:
    server.stop()
    await refused(opened(), f"{server.port}: cannot be reached.*refused", "nothing listens")
    server.start()


async def test_a_frozen_server_is_given_up(
    server: HiveServer, opened: Callable[..., Warehouse], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(hive_connection, "_ANSWER_WITHIN", 0.3)
    monkeypatch.setattr(hive_connection, "_CANCEL_WITHIN", 0.3)
    warehouse = opened(statement_timeout=1.0)
    await warehouse.find(KEYS)
    server.silent = True
    await refused(warehouse, "the connection broke.*timed out", "does not answer in time")
    await refused(warehouse, "cannot be reached.*timed out", "does not answer in time")
    server.silent = False
    assert await warehouse.find(KEYS) == frozenset()


async def test_a_server_that_dies_in_an_answer_is_lost(opened: Callable[..., Warehouse]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=answer_half, args=[listener])
        thread.start()
        await refused(opened(port=listener.getsockname()[1]), "cannot be reached")
        thread.join()


def answer_half(listener: socket.socket) -> None:
    with listener.accept()[0] as client:
        client.recv(65536)
        client.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhalf")


# -- sessions ------------------------------------------------------------------------------------


@MERGES
@pytest.mark.parametrize("call", ["ExecuteStatement", "GetOperationStatus", "CloseOperation"])
async def test_sessions_of_broken_connections_are_closed_once_connected_again(
    server: HiveServer, opened: Callable[..., Warehouse], merge: str, call: str
) -> None:
    warehouse = opened(merge=merge)
    for _ in range(3):
        server.cut_at = call
        with pytest.raises(DependencyDownError):
            await warehouse.find(KEYS)
    await warehouse.find(KEYS)
    assert len(server.sessions) == 1
    await warehouse.aclose()
    assert not server.sessions


@pytest.mark.parametrize("fault", ["cut before", "cut after", "linger"])
async def test_the_session_of_a_broken_insert_is_closed_once_its_end_is_known(
    server: HiveServer, opened: Callable[..., Warehouse], fault: Fault
) -> None:
    warehouse = opened(merge="insert", statement_timeout=1.0)
    batch, rows = new_batch(4, days=2)
    await warehouse.load(batch, rows)
    server.on("INSERT INTO", fault)
    with pytest.raises(BackupdError):
        await warehouse.merge(batch, rows)
    server.release()
    await until_merged(warehouse, batch, rows)
    await assert_once(warehouse, rows)
    assert len(server.sessions) == 1


async def test_a_session_without_its_database_is_closed(
    server: HiveServer, opened: Callable[..., Warehouse]
) -> None:
    warehouse = opened(database="elsewhere")
    for _ in range(3):
        await refused(warehouse, "Database does not exist: elsewhere")
    assert not server.sessions


# -- TLS -----------------------------------------------------------------------------------------


@pytest.fixture
def trusting(files: TlsFiles) -> TlsSection:
    return TlsSection(ca_file=files.ca, cert_file=None, key_file=None)


@MERGES
async def test_rows_come_into_the_table_over_https(
    server: HiveServer,
    opened: Callable[..., Warehouse],
    files: TlsFiles,
    trusting: TlsSection,
    merge: str,
) -> None:
    server.tls, server.passwords = (files.cert, files.key, None), {"backupd": "sesame"}
    warehouse = opened(tls=trusting, merge=merge, **LDAP)
    batch, rows = new_batch(4, days=2)
    assert await until_merged(warehouse, batch, rows) == []
    await assert_once(warehouse, rows)
