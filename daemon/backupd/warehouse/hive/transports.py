"""How a server of HiveServer2's protocol is spoken to: by a socket or HTTP, with TLS or without."""

from __future__ import annotations

import ssl
from io import BytesIO
from typing import TYPE_CHECKING, Protocol
from urllib.parse import urlunsplit

import requests
from pyhive.sasl_compat import PureSASLClient
from requests.auth import HTTPBasicAuth
from thrift.transport.TSocket import TSocket
from thrift.transport.TTransport import (
    TBufferedTransport,
    TTransportBase,
    TTransportException,
)
from thrift_sasl import TSaslClientTransport

from backupd.warehouse.hive.kerberos import Negotiate
from backupd.warehouse.hive.sasl import GssapiClient

if TYPE_CHECKING:
    from backupd.config.sections import LoginSection, TlsSection
    from backupd.config.urls import Address
    from backupd.warehouse.hive.kerberos import Kerberos

_CONNECT_WITHIN = 10.0  # seconds
_HTTP_HEADERS = {
    "Content-Type": "application/x-thrift",
    "Accept": "application/x-thrift",
    "X-XSRF-HEADER": "true",  # hive.server2.xsrf.filter.enabled asks for it
}


class Transport(Protocol):
    """What the drivers speak over. Not open yet."""

    thrift: TTransportBase

    def wait_at_most(self, seconds: float) -> None:
        """Set how long an answer may take from now on, or to connect."""
        ...

    def drop(self) -> None:
        """Close the connection without a word: after a failure even `close` raises."""
        ...


def transport_to(
    address: Address, login: LoginSection, kerberos: Kerberos | None
) -> SocketTransport | HttpTransport:
    """Return the transport to a server that the config asks for. Nothing is connected to yet."""
    kind = HttpTransport if login.transport == "http" else SocketTransport
    return kind(address, login, kerberos)


def tls_context(section: TlsSection) -> ssl.SSLContext:
    """Return how servers are verified: always, their names too, TLS 1.2 or later."""
    context = ssl.create_default_context(cafile=section.ca_file and str(section.ca_file))
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    if section.cert_file and section.key_file:
        context.load_cert_chain(section.cert_file, section.key_file)
    return context


class SocketTransport:
    """`Transport` over a socket, with SASL unless the server wants none."""

    def __init__(self, address: Address, login: LoginSection, kerberos: Kerberos | None) -> None:
        host, port = address
        self._socket = _Socket(host, port, login.tls)
        self.thrift = self._over_socket(host, login, kerberos)

    def wait_at_most(self, seconds: float) -> None:
        """Set how long an answer may take: see `Transport`."""
        self._socket.setTimeout(seconds * 1000)

    def drop(self) -> None:
        """Close the socket."""
        self._socket.close()

    def _over_socket(
        self, host: str, login: LoginSection, kerberos: Kerberos | None
    ) -> TTransportBase:
        if login.auth == "NOSASL":
            return TBufferedTransport(self._socket)
        if kerberos:
            service, named = login.kerberos_service_name, login.kerberos_host or host
            return TSaslClientTransport(
                lambda: GssapiClient(kerberos, service, named), "GSSAPI", self._socket
            )
        return TSaslClientTransport(lambda: _plain(host, login), "PLAIN", self._socket)


def _plain(host: str, login: LoginSection) -> PureSASLClient:
    # With NONE the server believes any password, as long as there is one.
    return PureSASLClient(host, username=login.username, password=login.password or "x")


class _Socket(TSocket):  # type: ignore[misc]  # thrift has no types
    """Thrift's, with TLS that tells its own errors."""

    def __init__(self, host: str, port: int, tls: TlsSection | None) -> None:
        super().__init__(host, port, socket_keepalive=True)
        self._tls = tls

    def open(self) -> None:
        """Connect, and shake hands, each within the time that an answer may take."""
        super().open()
        if self._tls is None:
            return
        try:
            context = tls_context(self._tls)
            # Of a connection that was reset meanwhile, wrap_socket would leave the socket open.
            self.handle.getpeername()
            self.setHandle(context.wrap_socket(self.handle, server_hostname=self.host))
        except BaseException:
            self.close()
            raise


class HttpTransport(TTransportBase):  # type: ignore[misc]  # thrift has no types
    """`Transport` by HTTP: what is written is sent as one POST, whose answer is read."""

    def __init__(self, address: Address, login: LoginSection, kerberos: Kerberos | None) -> None:
        host, port = address
        scheme = "https" if login.tls else "http"
        named = f"[{host}]" if ":" in host else host
        self._url = urlunsplit((scheme, f"{named}:{port}", f"/{login.http_path}", "", ""))
        self._session = new_session(login.tls)
        self._session.headers.update(_HTTP_HEADERS)
        if kerberos:
            service, host = login.kerberos_service_name, login.kerberos_host
            self._session.auth = Negotiate(kerberos, service, host)
        else:
            password = login.password or "x"
            self._session.auth = HTTPBasicAuth(login.username.encode(), password.encode())
        self.thrift = self
        self._patience = _CONNECT_WITHIN
        self._asked, self._answered = BytesIO(), BytesIO()

    def wait_at_most(self, seconds: float) -> None:
        """Set how long an answer may take: see `Transport`."""
        self._patience = seconds

    def drop(self) -> None:
        """Close the connections, forget the cookies."""
        self._session.close()

    # ------------------------------------------------------------------ as thrift wants it

    def isOpen(self) -> bool:  # noqa: N802 - thrift's name
        """Return whether it can be used: each message opens a connection where there is none."""
        return True

    def open(self) -> None:
        """Do nothing: see `isOpen`."""

    def close(self) -> None:
        """Drop it."""
        self.drop()

    def read(self, size: int) -> bytes:
        """Return what is left of the answer."""
        return self._answered.read(size)

    def write(self, data: bytes) -> None:
        """Put it into the next message."""
        self._asked.write(data)

    def flush(self) -> None:
        """Send the message and take its answer. Raises OSError or TTransportException."""
        message, self._asked = self._asked.getvalue(), BytesIO()
        timeout = (min(self._patience, _CONNECT_WITHIN), self._patience)
        answer = self._session.post(self._url, data=message, timeout=timeout, allow_redirects=False)
        if answer.status_code != requests.codes.ok:
            words = f"HTTP {answer.status_code} {answer.reason}: {answer.text.strip()}"
            raise TTransportException(TTransportException.UNKNOWN, words)
        self._answered = BytesIO(answer.content)


def new_session(tls: TlsSection | None) -> requests.Session:
    """Return an HTTP session that nothing in the environment changes: no proxy, CA or password."""
    session = requests.Session()
    session.trust_env = False
    if tls:
        session.verify = _authorities(tls)
    if tls and tls.cert_file and tls.key_file:
        session.cert = (str(tls.cert_file), str(tls.key_file))
    return session


def _authorities(tls: TlsSection) -> str:
    """Return the file or directory with the CA certificates: requests has others of its own."""
    system = ssl.get_default_verify_paths()
    return str(tls.ca_file or system.cafile or system.capath or system.openssl_capath)
