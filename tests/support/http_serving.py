"""HTTP on one connection: a function makes the answers."""

from __future__ import annotations

from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler
from typing import TYPE_CHECKING
from urllib.parse import parse_qsl, unquote, urlsplit

if TYPE_CHECKING:
    import socket
    from collections.abc import Callable, Mapping
    from email.message import Message

    Respond = Callable[["Request"], "Answer | None"]


@dataclass(frozen=True)
class Request:
    """What a client sent, decoded."""

    method: str
    path: str
    query: Mapping[str, str]
    headers: Message[str, str]
    body: bytes


@dataclass(frozen=True)
class Answer:
    """What it gets."""

    status: int
    body: bytes = b""
    headers: Mapping[str, str] = field(default_factory=dict)


def converse(connection: socket.socket, respond: Respond) -> None:
    """Answer requests until the client goes.

    `respond` returns None to answer nothing any more, and raises ConnectionAbortedError to break
    the connection.
    """
    _Handler(connection, respond)


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"  # connections are kept
    wbufsize = -1  # an answer is sent as one: its second half would wait for the first one's ACK

    def __init__(self, connection: socket.socket, respond: Respond) -> None:
        self._respond = respond
        super().__init__(connection, ("", 0), None)  # type: ignore[arg-type]  # nobody asks for it

    def handle(self) -> None:
        first = self.rfile.peek(1)  # type: ignore[attr-defined]  # it is a BufferedReader
        if first[:1].isalpha():  # others speak another protocol: a real server ends that at once
            super().handle()

    def __getattr__(self, name: str) -> Callable[[], None]:
        """Take every method."""
        if name.startswith("do_"):
            return self._do
        raise AttributeError(name)

    def log_message(self, *_: object) -> None:
        pass

    def _do(self) -> None:
        answer = self._respond(self._request())
        if answer is None:
            while self.rfile.read(4096):
                pass
            raise ConnectionAbortedError
        self.send_response(answer.status)
        for name, value in answer.headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(answer.body)))
        self.end_headers()
        self.wfile.write(answer.body)

    def _request(self) -> Request:
        parts = urlsplit(self.path)
        length = int(self.headers.get("Content-Length", 0))
        body = self.rfile.read(length)
        if len(body) < length:
            raise ConnectionAbortedError
        query = dict(parse_qsl(parts.query, keep_blank_values=True))
        return Request(self.command, unquote(parts.path), query, self.headers, body)
