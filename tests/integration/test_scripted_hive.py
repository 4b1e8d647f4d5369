"""The scriptable HiveServer2 makes the faults that it is asked for."""

from __future__ import annotations

import ssl
from typing import TYPE_CHECKING

import pytest
import requests
from impala._thrift_gen.ImpalaService.ttypes import TCloseImpalaOperationReq
from TCLIService import ttypes
from thrift.Thrift import TApplicationException
from thrift.transport.TTransport import TTransportException

from support.balancer import Balancer
from support.hive_clients import OPEN_SESSION, HttpClient, binary_client
from support.hives import running_hive, running_hives
from support.http_login import basic, negotiate
from support.tls import tls_files

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from support.hive_server import HiveServer
    from support.tls import TlsFiles

LOGIN = basic("backupd", "sesame")


@pytest.fixture
def server(tmp_path: Path) -> Iterator[HiveServer]:
    with running_hive(tmp_path / "hive") as started:
        started.passwords = {"backupd": "sesame"}
        yield started


@pytest.fixture
def client(server: HiveServer) -> Iterator[HttpClient]:
    server.transport = "http"
    made = HttpClient(server.port)
    with made.session:
        yield made


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> TlsFiles:
    return tls_files(tmp_path_factory.mktemp("tls") / "files")


def execution(session: ttypes.TOpenSessionResp, statement: str) -> ttypes.TExecuteStatementReq:
    return ttypes.TExecuteStatementReq(session.sessionHandle, statement, runAsync=True)


def status_of(operation: ttypes.TExecuteStatementResp) -> ttypes.TGetOperationStatusReq:
    return ttypes.TGetOperationStatusReq(operation.operationHandle)


# -- HTTP ----------------------------------------------------------------------------------------


def test_a_cookie_stands_for_the_login_until_it_expires(
    server: HiveServer, client: HttpClient
) -> None:
    session = client.call("OpenSession", OPEN_SESSION, LOGIN)
    operation = client.call("ExecuteStatement", execution(session, "SELECT 1"))
    assert client.call("GetOperationStatus", status_of(operation)).operationState == 2
    assert (server.http.login.logins, server.http.requests) == (1, 3)
    server.http.login.expire_cookies()
    with pytest.raises(requests.HTTPError, match="401"):
        client.call("ExecuteStatement", execution(session, "SELECT 1"))
    client.call("ExecuteStatement", execution(session, "SELECT 1"), LOGIN)
    assert (server.http.login.logins, server.http.requests) == (2, 5)


@pytest.mark.parametrize(
    ("login", "words"),
    [
        (None, "Authorization header received from the client is empty."),
        (basic("backupd", "open"), "LDAP: error code 49"),
        (negotiate(b"token"), "Not a valid authentication method"),
    ],
)
def test_a_refused_login_over_http_is_told_why(
    client: HttpClient, login: str | None, words: str
) -> None:
    with pytest.raises(requests.HTTPError, match="401") as caught:
        client.call("OpenSession", OPEN_SESSION, login)
    assert caught.value.response is not None
    assert words in caught.value.response.text


def test_negotiation_is_asked_for_and_scripted(server: HiveServer, client: HttpClient) -> None:
    server.http.login.negotiate = {b"good": True, b"late": "Clock skew too great"}
    for login, words in (
        (None, "is empty"),
        (negotiate(b"unknown"), "is empty"),
        (negotiate(b"late"), "Clock skew too great"),
    ):
        with pytest.raises(requests.HTTPError, match="401") as caught:
            client.call("OpenSession", OPEN_SESSION, login)
        assert caught.value.response is not None
        assert caught.value.response.headers["WWW-Authenticate"] == "Negotiate"
        assert words in caught.value.response.text
    client.call("OpenSession", OPEN_SESSION, negotiate(b"good"))
    assert server.http.login.logins == 1


def test_another_path_is_refused(server: HiveServer, client: HttpClient) -> None:
    server.http.path = "elsewhere"
    with pytest.raises(requests.HTTPError, match="405"):
        client.call("OpenSession", OPEN_SESSION, LOGIN)


def test_a_connection_over_http_breaks_and_the_session_stays(
    server: HiveServer, client: HttpClient
) -> None:
    session = client.call("OpenSession", OPEN_SESSION, LOGIN)
    server.on("SELECT", "cut after")
    with pytest.raises(requests.ConnectionError):
        client.call("ExecuteStatement", execution(session, "SELECT 1"))
    client.session.close()
    assert server.statements == ["SELECT 1"]
    assert server.sessions == {session.sessionHandle.sessionId.guid}
    client.call("CloseSession", ttypes.TCloseSessionReq(session.sessionHandle))
    assert not server.sessions


def test_a_silent_server_over_http_answers_nothing(server: HiveServer, client: HttpClient) -> None:
    client.call("OpenSession", OPEN_SESSION, LOGIN)
    server.silent, client.timeout = True, 0.1
    with pytest.raises(requests.ReadTimeout):
        client.call("OpenSession", OPEN_SESSION)


def test_another_protocol_at_a_port_of_http_ends_the_connection(
    server: HiveServer, client: HttpClient
) -> None:
    assert client
    with pytest.raises(TTransportException, match="read 0 bytes"), binary_client(server.port):
        pass


def test_a_call_that_only_impala_knows_is_unknown(client: HttpClient) -> None:
    handle = ttypes.TOperationHandle(ttypes.THandleIdentifier(b"\xf8" * 16, b"\xf8" * 16), 0, False)
    with pytest.raises(TApplicationException, match="Unknown function"):
        client.call("CloseImpalaOperation", TCloseImpalaOperationReq(handle), LOGIN)


# -- TLS -----------------------------------------------------------------------------------------


def open_session(server: HiveServer, context: ssl.SSLContext) -> None:
    with binary_client(server.port, context) as client:
        assert client.OpenSession(OPEN_SESSION).sessionHandle


def test_both_transports_speak_tls(server: HiveServer, files: TlsFiles) -> None:
    server.tls = (files.cert, files.key, None)
    open_session(server, ssl.create_default_context(cafile=files.ca))
    server.transport = "http"
    client = HttpClient(server.port, "https")
    with client.session as session:
        session.verify = str(files.ca)
        assert client.call("OpenSession", OPEN_SESSION, LOGIN).sessionHandle


def test_the_certificates_are_wrong_as_their_names_say(server: HiveServer, files: TlsFiles) -> None:
    trusting = ssl.create_default_context(cafile=files.ca)
    server.tls = (files.wrong_cert, files.wrong_key, None)
    with pytest.raises(ssl.SSLCertVerificationError, match="mismatch"):
        open_session(server, trusting)
    server.tls = (files.expired_cert, files.expired_key, None)
    with pytest.raises(ssl.SSLCertVerificationError, match="expired"):
        open_session(server, trusting)
    server.tls = (files.cert, files.key, None)
    with pytest.raises(ssl.SSLCertVerificationError, match="issuer"):
        open_session(server, ssl.create_default_context())


def test_a_server_with_a_ca_wants_the_clients_certificate(
    server: HiveServer, files: TlsFiles
) -> None:
    server.tls = (files.cert, files.key, files.ca)
    context = ssl.create_default_context(cafile=files.ca)
    with pytest.raises(TTransportException) as caught:
        open_session(server, context)
    assert "certificate required" in str(caught.value.inner)
    context.load_cert_chain(files.client_cert, files.client_key)
    open_session(server, context)


# -- logins and sessions -------------------------------------------------------------------------


def test_sasl_answers_what_it_is_told_to(server: HiveServer) -> None:
    server.sasl_answer = (3, b"GSS initiate failed")
    with (
        pytest.raises(TTransportException, match="GSS initiate failed"),
        binary_client(server.port),
    ):
        pass
    server.sasl_answer = "close"
    with pytest.raises(TTransportException, match="read 0 bytes"), binary_client(server.port):
        pass


def test_sessions_are_refused_in_the_words_that_are_set(server: HiveServer) -> None:
    server.refuses_sessions = "Cannot open sessions on an inactive HS2 instance"
    with binary_client(server.port) as client:
        status = client.OpenSession(OPEN_SESSION).status
    assert "inactive HS2 instance" in status.errorMessage
    assert not server.sessions


def test_servers_share_tables_and_know_nothing_of_each_others_handles(tmp_path: Path) -> None:
    with (
        running_hives(tmp_path / "hive", 2) as (first, second),
        binary_client(first.port) as at_first,
        binary_client(second.port) as at_second,
    ):
        session = at_first.OpenSession(OPEN_SESSION)
        use = execution(session, "USE `mnaas`")
        operation = at_first.ExecuteStatement(use)
        assert at_first.GetOperationStatus(status_of(operation)).operationState == 2
        answers = [
            at_second.ExecuteStatement(use),
            at_second.GetOperationStatus(status_of(operation)),
            at_second.CancelOperation(ttypes.TCancelOperationReq(operation.operationHandle)),
            at_second.CloseSession(ttypes.TCloseSessionReq(session.sessionHandle)),
        ]
        assert first.tables is second.tables
    words = [answer.status.errorMessage.rpartition(": ")[2] for answer in answers]
    assert words == [
        "Invalid SessionHandle",
        "Invalid OperationHandle",
        "Invalid OperationHandle",
        "Session does not exist",
    ]


# -- the load balancer ---------------------------------------------------------------------------


def test_a_balancer_takes_turns_or_sticks(tmp_path: Path) -> None:
    with running_hives(tmp_path / "hive", 2) as servers:
        balancer = Balancer([server.port for server in servers])
        balancer.start()
        try:
            for stuck in (None, None, None, 1, 1, None):
                balancer.stick(stuck)
                with binary_client(balancer.port) as client:
                    client.OpenSession(OPEN_SESSION)
        finally:
            balancer.stop()
        assert balancer.passed == [0, 1, 0, 1, 1, 1]
        assert [len(server.sessions) for server in servers] == [2, 4]


def test_a_balancer_ends_connections_with_their_server(tmp_path: Path) -> None:
    with running_hives(tmp_path / "hive", 1) as (server,):
        balancer = Balancer([server.port])
        balancer.start()
        try:
            with binary_client(balancer.port) as client:
                server.stop()
                with pytest.raises((TTransportException, OSError)):
                    client.OpenSession(OPEN_SESSION)
            with pytest.raises((TTransportException, OSError)), binary_client(balancer.port):
                pass
        finally:
            balancer.stop()
