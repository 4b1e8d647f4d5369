"""The ways into HDFS: Kerberos and its cookies, HttpFS, gateways with a password, TLS."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from backupd.config.sections import KerberosSection, TlsSection
from backupd.core.errors import BackupdError, DependencyDownError
from backupd.warehouse.hive import webhdfs
from backupd.warehouse.hive.kerberos import Kerberos
from support.hives import NO_TLS
from support.http_login import negotiate
from support.http_serving import Answer
from support.rows import new_batch
from support.tls import tls_files
from support.webhdfs_files import RemoteError
from support.webhdfs_site import (
    MERGES,
    OPERATIONS,
    Site,
    at_call,
    merged,
    notes,
    refused,
    running_site,
)

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from backupd.core.ports import Warehouse
    from support.http_serving import Request
    from support.tls import TlsFiles
    from support.webhdfs_server import WebHdfsServer, When

    Pair = list[WebHdfsServer]
    Open = Callable[..., Warehouse]

ME = KerberosSection(principal="backupd@EXAMPLE", keytab=Path("/unused"))
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


# -- Kerberos ------------------------------------------------------------------------------------


@pytest.fixture
def tickets(pair: Pair, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Have the servers accept the tokens of a fake Kerberos, each once; return for whom."""
    asked: list[str] = []
    fresh: set[bytes] = set()

    def token(_: Kerberos, service: str, host: str) -> str:
        asked.append(f"{service}@{host}")
        made = f"{asked[-1]} {len(asked)}".encode()
        fresh.add(made)
        return negotiate(made)

    def accept(token: bytes) -> bool | str:
        if token not in fresh:
            return "Request is a replay (34)"
        fresh.remove(token)
        return token.startswith(b"HTTP@127.0.0.1 ")

    monkeypatch.setattr(Kerberos, "negotiate", token)
    for each in pair:
        each.login.negotiate, each.delegation = accept, True
    return asked


@EACH_MERGE
async def test_a_login_is_made_once_and_redirects_are_followed_without_one(
    server: WebHdfsServer, opened: Open, tickets: list[str], merge: str
) -> None:
    await merged(opened(server, kerberos=ME, merge=merge))
    assert tickets == ["HTTP@127.0.0.1"]
    assert server.login.logins == 1
    assert server.asked["CREATE data"] > 0


async def test_a_data_node_on_another_host_gets_its_token_and_no_login(
    server: WebHdfsServer, opened: Open, tickets: list[str]
) -> None:
    server.data_node.host = "localhost"  # which no cookie is for
    await merged(opened(server, kerberos=ME))
    assert tickets == ["HTTP@127.0.0.1"]


async def test_nobody_says_who_he_is_beside_a_ticket(
    server: WebHdfsServer, opened: Open, tickets: list[str]
) -> None:
    seen = notes(server)
    await opened(server, kerberos=ME).sweep([])
    assert tickets
    assert {request.query.get("user.name") for _, request in seen} == {None}


async def test_a_cookie_that_has_run_out_is_renewed(
    server: WebHdfsServer, opened: Open, tickets: list[str]
) -> None:
    warehouse = opened(server, kerberos=ME)
    await merged(warehouse)
    server.login.expire_cookies()
    await merged(warehouse)
    assert len(tickets) == 2


@EACH_OPERATION
async def test_a_cookie_may_run_out_before_any_call(
    server: WebHdfsServer, opened: Open, tickets: list[str], merge: str, operation: str
) -> None:
    warehouse = opened(server, kerberos=ME, merge=merge)
    await warehouse.sweep([])
    at_call(server, operation.partition(" ")[0], server.login.expire_cookies)
    await merged(warehouse)
    assert len(tickets) == 2


async def test_both_name_nodes_are_logged_in_to(
    pair: Pair, opened: Open, tickets: list[str]
) -> None:
    warehouse = opened(*pair, kerberos=ME)
    await merged(warehouse)
    pair[0].state, pair[1].state = "standby", "active"
    await merged(warehouse)
    assert [each.login.logins for each in pair] == [1, 1]
    assert len(tickets) == 2


async def test_without_a_ticket_it_is_told(
    server: WebHdfsServer, opened: Open, tickets: list[str]
) -> None:
    await refused(opened(server), "401", "[kerberos]")
    assert tickets == []


async def test_a_ticket_that_is_refused_is_told_and_not_tried_for_ever(
    server: WebHdfsServer, opened: Open, tickets: list[str]
) -> None:
    warehouse = opened(server, kerberos=ME)
    server.login.negotiate = lambda _: "GSSException: Clock skew too great (37)"
    told = await refused(warehouse, "403", "")
    assert "backupd@EXAMPLE" in told
    server.login.negotiate = lambda _: False
    await refused(warehouse, "401", "[kerberos]")
    assert len(tickets) < 6


@pytest.mark.parametrize("happening", ["refused", "gone", "cut before", "cut after", "frozen"])
async def test_no_delegation_token_is_told(
    server: WebHdfsServer,
    opened: Open,
    tickets: list[str],
    happening: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(webhdfs, "_DEADLINES", (0.3, 0.3))
    warehouse = opened(server, kerberos=ME)
    trouble(server, happening)
    batch, rows = new_batch()
    with pytest.raises(BackupdError) as caught:
        await warehouse.load(batch, rows)
    assert tickets
    assert server._tokens
    told = f"{caught.value} {caught.value.hint}"
    assert not [each for each in server._tokens if each in told]
    if happening == "gone":
        server.data_node.start()


def trouble(server: WebHdfsServer, happening: str) -> None:
    match happening:
        case "refused":
            words = "InvalidToken: delegation=secret can't be found in cache"
            server.refusals["CREATE data"] = RemoteError("SecurityException", words)
        case "gone":
            server.data_node.stop()
        case "frozen":
            server.data_node.silent = True
        case _:
            when: When = "before" if happening == "cut before" else "after"
            server.cut_at("CREATE data", when)


# -- HttpFS and gateways -------------------------------------------------------------------------


@EACH_MERGE
async def test_httpfs_is_logged_in_to_with_each_step(
    server: WebHdfsServer, opened: Open, tickets: list[str], merge: str
) -> None:
    server.httpfs, server.delegation = True, False
    warehouse = opened(server, kerberos=ME, merge=merge)
    await merged(warehouse)
    assert len(tickets) == 1
    at_call(server, "CREATE data", server.login.expire_cookies)
    await merged(warehouse)
    assert len(tickets) == 2


@EACH_MERGE
async def test_a_gateway_gets_the_password_under_its_path(
    server: WebHdfsServer, opened: Open, merge: str
) -> None:
    behind_a_gateway(server)
    query = "?path_prefix=/gateway/default"
    await merged(opened(server, query=query, password="sesame", merge=merge))
    told = await refused(opened(server, query=query, password="open"), "401", "password_file")
    assert "sesame" not in told
    assert "open" not in told
    await refused(opened(server, password="sesame"), "404|401")


def behind_a_gateway(server: WebHdfsServer) -> None:
    server.prefix = "/gateway/default/webhdfs/v1"
    server.login.passwords = {"backupd": "sesame"}


async def test_the_password_goes_to_the_gateway_alone(
    server: WebHdfsServer, opened: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Though the gateway may send its clients elsewhere, to a DataNode or to a thief."""
    behind_a_gateway(server)
    redirect = server._redirect

    def elsewhere(path: str, request: Request) -> Answer:
        place = redirect(path, request).headers["Location"]
        ports = f":{server.port}/", f":{server.data_node.port}/"
        return Answer(307, headers={"Location": place.replace(*ports)})

    monkeypatch.setattr(server, "_redirect", elsewhere)
    seen = notes(server)
    await merged(opened(server, query="?path_prefix=/gateway/default", password="sesame"))
    logins = {(node, "Authorization" in request.headers) for node, request in seen}
    assert logins == {("name", True), ("data", False)}


async def test_a_name_node_gets_no_password(server: WebHdfsServer, opened: Open) -> None:
    seen = notes(server)
    await opened(server, username="etl").sweep([])
    assert {request.query.get("user.name") for _, request in seen} == {"etl"}
    assert not [request for _, request in seen if "Authorization" in request.headers]


# -- TLS -----------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> TlsFiles:
    return tls_files(tmp_path_factory.mktemp("tls") / "files")


@pytest.fixture
def secured(pair: Pair, files: TlsFiles) -> WebHdfsServer:
    """Has both nodes of the first server speak TLS."""
    pair[0].name_node.tls = pair[0].data_node.tls = (files.cert, files.key, None)
    return pair[0]


@EACH_MERGE
async def test_swebhdfs_is_verified_by_the_ca(
    secured: WebHdfsServer, opened: Open, files: TlsFiles, merge: str
) -> None:
    trusting = TlsSection(ca_file=files.ca, cert_file=None, key_file=None)
    await merged(opened(secured, tls=trusting, merge=merge))


async def test_swebhdfs_with_a_ticket_follows_redirects(
    secured: WebHdfsServer, opened: Open, files: TlsFiles, tickets: list[str]
) -> None:
    trusting = TlsSection(ca_file=files.ca, cert_file=None, key_file=None)
    await merged(opened(secured, tls=trusting, kerberos=ME))
    assert len(tickets) == 1


async def test_a_certificate_that_does_not_count_is_told(
    secured: WebHdfsServer, opened: Open, files: TlsFiles, monkeypatch: pytest.MonkeyPatch
) -> None:
    trusting = TlsSection(ca_file=files.ca, cert_file=None, key_file=None)
    for name in ("REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE"):
        monkeypatch.setenv(name, str(files.ca))
    await refused(opened(secured, tls=NO_TLS), "unable to get local issuer", "tls_ca_file")
    secured.name_node.tls = (files.wrong_cert, files.wrong_key, None)
    await refused(opened(secured, tls=trusting), "mismatch", "is for another name")
    secured.name_node.tls = (files.expired_cert, files.expired_key, None)
    await refused(opened(secured, tls=trusting), "expired", "renewed")


async def test_a_data_node_is_verified_too(
    secured: WebHdfsServer, opened: Open, files: TlsFiles
) -> None:
    trusting = TlsSection(ca_file=files.ca, cert_file=None, key_file=None)
    secured.data_node.tls = (files.wrong_cert, files.wrong_key, None)
    with pytest.raises(DependencyDownError, match="mismatch"):
        await opened(secured, tls=trusting).load(*new_batch())


async def test_a_client_certificate_is_shown_where_one_is_asked_for(
    secured: WebHdfsServer, opened: Open, files: TlsFiles
) -> None:
    secured.name_node.tls = secured.data_node.tls = (files.cert, files.key, files.ca)
    trusting = TlsSection(ca_file=files.ca, cert_file=None, key_file=None)
    await refused(opened(secured, tls=trusting), "certificate required", "tls_cert_file")
    shown = TlsSection(ca_file=files.ca, cert_file=files.client_cert, key_file=files.client_key)
    await merged(opened(secured, tls=shown))


async def test_the_wrong_scheme_is_told(
    secured: WebHdfsServer, pair: Pair, opened: Open, files: TlsFiles
) -> None:
    trusting = TlsSection(ca_file=files.ca, cert_file=None, key_file=None)
    secure, plain = opened(secured, tls=trusting), opened(pair[1], tls=trusting)
    pair[1].name_node.tls, secured.name_node.tls = secured.name_node.tls, None
    await refused(secure, "SSL", "webhdfs:// for swebhdfs://")
    await refused(plain, "Connection aborted", "its port speaks TLS")
