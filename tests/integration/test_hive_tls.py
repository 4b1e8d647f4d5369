"""Hive and Impala by a socket with TLS: always verified, and every failure explained."""

from __future__ import annotations

import gc
import socket
import struct
import threading
from contextlib import contextmanager, suppress
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
from thrift.transport.TTransport import TTransportException

from backupd.config.sections import ImpalaSection, TlsSection
from backupd.core.errors import DependencyDownError
from backupd.core.records import new_id
from backupd.core.rows import RowKey
from backupd.warehouse import open_refresher, open_warehouse
from backupd.warehouse.hive import connection as hive_connection
from backupd.warehouse.hive import impala as hive_impala
from backupd.warehouse.hive.transports import SocketTransport
from support.hives import DATABASE, NO_TLS, TABLE, hive_section, login_section, running_hive
from support.merging import assert_once, merged_once_though_cut, until_merged
from support.rows import NOON, new_batch
from support.tls import tls_files

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
    from pathlib import Path

    from backupd.config.urls import Address
    from backupd.core.ports import Refresher, Warehouse
    from support.hive_server import HiveServer
    from support.tls import TlsFiles

    Ask = Callable[..., Awaitable[None]]

KEYS = [RowKey(new_id(NOON), "2026-11-23")]
LDAP = {"auth": "LDAP", "password": "sesame"}


@pytest.fixture
def server(tmp_path: Path) -> Iterator[HiveServer]:
    with running_hive(tmp_path / "hive") as started:
        yield started


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> TlsFiles:
    return tls_files(tmp_path_factory.mktemp("tls") / "files")


@pytest.fixture
def trusting(files: TlsFiles) -> TlsSection:
    return TlsSection(ca_file=files.ca, cert_file=None, key_file=None)


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


@pytest.fixture
async def refreshing(server: HiveServer) -> AsyncIterator[Callable[..., Refresher]]:
    """Opens refreshers that speak to the server, with changes in [warehouse.impala]."""
    refreshers: list[Refresher] = []

    def open_one(host: str = server.host, **changes: object) -> Refresher:
        impala = ImpalaSection(address=(host, server.port), login=login_section(**changes))
        refresher = open_refresher(replace(hive_section(server), impala=impala))
        assert refresher
        refreshers.append(refresher)
        return refresher

    yield open_one
    for each in refreshers:
        await each.aclose()


@pytest.fixture(params=["hive", "hive over http", "impala", "impala over http"])
def ask(
    request: pytest.FixtureRequest,
    server: HiveServer,
    opened: Callable[..., Warehouse],
    refreshing: Callable[..., Refresher],
) -> Ask:
    """Asks a new connection to Hive or to Impala something."""
    kind, _, over = request.param.partition(" over ")
    if over:
        server.transport = "http"
    server.impala = kind == "impala"

    async def asked(**changes: object) -> None:
        changes = {"transport": server.transport, **changes}
        if server.impala:
            refresher = refreshing(**changes)
            await refresher.refresh(refresher.table, ())
        else:
            await opened(**changes).find(KEYS)

    return asked


async def refused(asked: Awaitable[object], words: str, cure: str) -> None:
    with pytest.raises(DependencyDownError, match=words) as caught:
        await asked
    assert cure in caught.value.hint, caught.value


# -- certificates --------------------------------------------------------------------------------


async def test_a_server_is_verified_by_the_ca_and_its_name(
    server: HiveServer, ask: Ask, files: TlsFiles, trusting: TlsSection
) -> None:
    server.tls = (files.cert, files.key, None)
    await ask(tls=trusting)
    await ask(tls=trusting, host="localhost")
    await refused(ask(tls=NO_TLS), "unable to get local issuer", "tls_ca_file")


async def test_a_certificate_that_does_not_count_is_told(
    server: HiveServer, ask: Ask, files: TlsFiles, trusting: TlsSection
) -> None:
    server.tls = (files.wrong_cert, files.wrong_key, None)
    await refused(ask(tls=trusting), "IP address mismatch", "certificate is for another name")
    localhost = ask(tls=trusting, host="localhost")
    await refused(localhost, "Hostname mismatch", "certificate is for another name")
    server.tls = (files.expired_cert, files.expired_key, None)
    await refused(ask(tls=trusting), "certificate has expired", "renewed")
    assert not server.users


async def test_a_server_may_ask_for_a_certificate(
    server: HiveServer, ask: Ask, files: TlsFiles, trusting: TlsSection
) -> None:
    server.tls = (files.cert, files.key, files.ca)
    await refused(ask(tls=trusting), "certificate required", "tls_cert_file")
    shown = TlsSection(ca_file=files.ca, cert_file=files.client_cert, key_file=files.client_key)
    await ask(tls=shown)


async def test_a_port_without_tls_is_told(ask: Ask, trusting: TlsSection) -> None:
    await refused(ask(tls=trusting), "SSL|reset by peer", "tls")


async def test_a_port_that_wants_tls_is_told(server: HiveServer, ask: Ask, files: TlsFiles) -> None:
    server.tls = (files.cert, files.key, None)
    await refused(ask(), f"{server.port}", "tls")
    assert not server.users


@contextmanager
def resetting() -> Iterator[Address]:
    """A server that resets each connection at once, as the kernel does for one that was killed."""
    with socket.create_server(("127.0.0.1", 0)) as listening:

        def reset() -> None:
            with suppress(OSError):
                while True:
                    taken, _ = listening.accept()
                    linger = struct.pack("ii", 1, 0)
                    taken.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
                    taken.close()

        thread = threading.Thread(target=reset)
        thread.start()
        yield listening.getsockname()
        listening.shutdown(socket.SHUT_RDWR)
        thread.join()


def test_no_socket_stays_open_where_a_connection_is_reset_before_the_handshake(
    trusting: TlsSection,
) -> None:
    with resetting() as address:
        for _ in range(20):
            transport = SocketTransport(address, login_section(auth="NOSASL", tls=trusting), None)
            with pytest.raises((OSError, TTransportException)):
                transport.thrift.open()
            gc.collect()  # a socket that was left open is told here


async def test_a_server_that_hangs_in_the_handshake_is_given_up(
    server: HiveServer, ask: Ask, trusting: TlsSection, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(hive_connection, "_ANSWER_WITHIN", 0.3)
    monkeypatch.setattr(hive_impala, "_ANSWER_WITHIN", 0.3)
    server.silent = True
    await refused(ask(tls=trusting), "timed out", "hangs")


# -- surroundings --------------------------------------------------------------------------------


@pytest.fixture
def surroundings(tmp_path: Path, files: TlsFiles, monkeypatch: pytest.MonkeyPatch) -> None:
    """Have the environment name other CAs, proxies that nobody runs, and other passwords."""
    for name in ("REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "SSL_CERT_FILE"):
        monkeypatch.setenv(name, str(files.client_cert))
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "http_proxy", "https_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:1")
    netrc = tmp_path / ".netrc"
    netrc.write_text("machine 127.0.0.1 login thief password open\n")
    netrc.chmod(0o600)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("NETRC", str(netrc))


@pytest.mark.usefixtures("surroundings")
async def test_nothing_in_the_environment_changes_anything(
    server: HiveServer, ask: Ask, files: TlsFiles, trusting: TlsSection
) -> None:
    server.passwords = {"backupd": "sesame"}
    await ask(**LDAP)
    server.tls = (files.cert, files.key, None)
    await ask(tls=trusting, **LDAP)
    assert server.users == ["backupd", "backupd"]


async def test_no_environment_has_http_trust_a_ca(
    server: HiveServer,
    opened: Callable[..., Warehouse],
    files: TlsFiles,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    server.transport, server.tls = "http", (files.cert, files.key, None)
    for name in ("REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE"):
        monkeypatch.setenv(name, str(files.ca))
    asked = opened(transport="http", tls=NO_TLS).find(KEYS)
    await refused(asked, "unable to get local issuer", "tls_ca_file")


# -- work ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("merge", ["files", "insert"])
async def test_rows_come_into_the_table_with_a_password(
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
    await warehouse.aclose()
    assert not server.sessions


@pytest.mark.parametrize("auth", ["NONE", "NOSASL"])
async def test_other_logins_work_as_without_tls(
    server: HiveServer,
    opened: Callable[..., Warehouse],
    files: TlsFiles,
    trusting: TlsSection,
    auth: str,
) -> None:
    server.tls, server.sasl = (files.cert, files.key, None), auth != "NOSASL"
    await opened(tls=trusting, auth=auth).find(KEYS)


@pytest.mark.parametrize("call", ["OpenSession", "ExecuteStatement", "GetOperationStatus"])
async def test_a_connection_that_is_cut_at_any_call_makes_each_row_once(
    server: HiveServer,
    opened: Callable[..., Warehouse],
    files: TlsFiles,
    trusting: TlsSection,
    call: str,
) -> None:
    server.tls = (files.cert, files.key, None)
    await merged_once_though_cut(server, opened(tls=trusting), call)


async def test_a_certificate_that_was_renewed_is_taken_with_the_next_connection(
    server: HiveServer, opened: Callable[..., Warehouse], files: TlsFiles, trusting: TlsSection
) -> None:
    server.tls = (files.expired_cert, files.expired_key, None)
    warehouse = opened(tls=trusting)
    await refused(warehouse.find(KEYS), "certificate has expired", "renewed")
    server.tls = (files.cert, files.key, None)
    assert await warehouse.find(KEYS) == frozenset()


# -- Impala --------------------------------------------------------------------------------------


@pytest.mark.parametrize("transport", ["binary", "http"])
async def test_impala_is_told_with_a_password(
    server: HiveServer,
    refreshing: Callable[..., Refresher],
    files: TlsFiles,
    trusting: TlsSection,
    transport: str,
) -> None:
    server.transport = transport  # type: ignore[assignment]  # one of the two
    server.impala, server.passwords = True, {"backupd": "sesame"}
    server.tls = (files.cert, files.key, None)
    refresher = refreshing(tls=trusting, transport=transport, **LDAP)
    await refresher.refresh(refresher.table, ())
    assert server.tables.refreshed == [f"{DATABASE}.{TABLE}"]
    assert not server.sessions
    wrong = refreshing(tls=trusting, transport=transport, auth="LDAP", password="open")
    await refused(wrong.refresh(wrong.table, ()), "[Ee]rror", "user or the password")


@pytest.mark.parametrize("fault", ["fail", "cut before", "cut after", "forget"])
async def test_impala_keeps_no_session_of_a_refresh_that_went_wrong(
    server: HiveServer, refreshing: Callable[..., Refresher], fault: str
) -> None:
    server.transport, server.impala = "http", True
    refresher = refreshing(transport="http")
    server.on("REFRESH", fault)  # type: ignore[arg-type]  # one of the faults
    with pytest.raises(DependencyDownError, match="Impala at"):
        await refresher.refresh(refresher.table, ())
    await refresher.refresh(refresher.table, ())
    await refresher.refresh(refresher.table, ["2026-11-23"])  # a partition that is not there
    assert not server.sessions
