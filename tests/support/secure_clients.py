"""Clients of secured servers, independent of the product's: SPNEGO over HTTP, SASL for Thrift."""

from __future__ import annotations

import base64
import io
import ssl
import struct
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from pyhive import hive
from requests import Session
from requests.auth import AuthBase
from thrift.transport.TSocket import TSocket
from thrift.transport.TTransport import TTransportBase
from thrift_sasl import TSaslClientTransport

if TYPE_CHECKING:
    from pathlib import Path

    from requests import PreparedRequest

    from support.gss import Identity

_ANSWER_WITHIN = 120.0  # seconds
_THRIFT = "application/x-thrift"
_SPNEGO = "1.3.6.1.5.5.2"
_PLAIN, _CONFIDENTIAL = 1, 4  # SASL's layers, as bits; 2 guards against changes: RFC 4752


def web_session(ca_file: Path, identity: Identity) -> Session:
    """Return a session in which somebody asks secured servers, whatever the environment says."""
    session = Session()
    session.trust_env = False
    session.verify = str(ca_file)
    session.auth = _Negotiate(identity)
    return session


def binary_connection(port: int, ca_file: Path, identity: Identity) -> hive.Connection:
    """Connect by SASL in TLS."""
    socket = _TlsSocket("localhost", port, ca_file)
    transport = TSaslClientTransport(
        lambda: _SaslClient(identity, "hive", "localhost"), "GSSAPI", socket
    )
    return hive.Connection(thrift_transport=transport)


def http_connection(port: int, ca_file: Path, identity: Identity) -> hive.Connection:
    """Connect by https, with SPNEGO."""
    url = f"https://localhost:{port}/cliservice"
    return hive.Connection(thrift_transport=_HttpTransport(url, ca_file, identity))


class _Negotiate(AuthBase):
    """SPNEGO for requests: a handshake each time."""

    def __init__(self, identity: Identity) -> None:
        self._identity = identity

    def __call__(self, request: PreparedRequest) -> PreparedRequest:
        host = urlsplit(request.url or "").hostname
        token = self._identity.context("HTTP", str(host), _SPNEGO).step()
        request.headers["Authorization"] = f"Negotiate {base64.b64encode(token).decode()}"
        return request


class _SaslClient:
    """SASL's mechanism GSSAPI, with the methods that thrift_sasl calls."""

    def __init__(self, identity: Identity, service: str, host: str) -> None:
        self._context = identity.context(service, host)
        self._layer = 0
        self._frame = 0

    def start(self, mechanism: str) -> tuple[bool, str, bytes]:
        """Return the first token."""
        return True, mechanism, self._context.step()

    def step(self, challenge: str | bytes) -> tuple[bool, bytes]:
        """Answer a challenge: with tokens, in the end with the choice of a layer."""
        said = challenge.encode() if isinstance(challenge, str) else challenge
        if not self._context.complete:
            return True, self._context.step(said) or b""
        offered = self._context.unwrap(said).message
        self._layer = offered[0] & -offered[0]  # the lowest that is offered
        self._frame = int.from_bytes(offered[1:4], "big")
        # The layer, and how long a frame may be that is sent to us.
        chosen = struct.pack(">I", self._layer << 24 | (0 if self._layer == _PLAIN else 0xFFFF))
        return True, self._context.wrap(chosen, False).message

    def encode(self, data: bytes) -> tuple[bool, bytes]:
        """Wrap what is sent, in frames that the server takes."""
        if self._layer == _PLAIN:
            return True, data
        secret = self._layer == _CONFIDENTIAL
        size = self._context.get_wrap_size_limit(self._frame, secret)
        parts = (data[at : at + size] for at in range(0, len(data), size))
        frames = [self._context.wrap(part, secret).message for part in parts]
        return True, b"".join(struct.pack(">I", len(frame)) + frame for frame in frames)

    def decode(self, frame: bytes) -> tuple[bool, bytes]:
        """Unwrap a frame, whose length stands before it."""
        return True, self._context.unwrap(frame[4:]).message


class _TlsSocket(TSocket):  # type: ignore[misc]  # thrift has no types
    def __init__(self, host: str, port: int, ca_file: Path) -> None:
        super().__init__(host, port)
        self._context = ssl.create_default_context(cafile=ca_file)
        self.setTimeout(_ANSWER_WITHIN * 1000)

    def open(self) -> None:
        super().open()
        self.setHandle(self._context.wrap_socket(self.handle, server_hostname=self.host))


class _HttpTransport(TTransportBase):  # type: ignore[misc]  # thrift has no types
    """One POST for each flush; the answer is read from memory."""

    def __init__(self, url: str, ca_file: Path, identity: Identity) -> None:
        self._url = url
        self._session = web_session(ca_file, identity)
        self._session.headers.update({"Content-Type": _THRIFT, "Accept": _THRIFT})
        self._request, self._answer = bytearray(), io.BytesIO()

    def close(self) -> None:
        self._session.close()

    def read(self, size: int) -> bytes:
        return self._answer.read(size)

    def write(self, data: bytes) -> None:
        self._request += data

    def flush(self) -> None:
        sent = bytes(self._request)
        self._request.clear()
        answer = self._session.post(self._url, data=sent, timeout=_ANSWER_WITHIN)
        answer.raise_for_status()
        self._answer = io.BytesIO(answer.content)
