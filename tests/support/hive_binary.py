"""HiveServer2's binary transport: SASL's handshake, then calls in frames; or without SASL."""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, Literal

from thrift.transport.TSocket import TSocket
from thrift.transport.TTransport import TBufferedTransport, TFramedTransport, TTransportBase

from support.hive_calls import HiveProtocol, processor
from support.listener import drain

if TYPE_CHECKING:
    import socket

    from support.hive_server import HiveServer

SaslAnswer = tuple[int, bytes] | Literal["close"]  # status and words
BAD, COMPLETE = 3, 5


def converse_binary(server: HiveServer, connection: socket.socket) -> None:
    """Log a client in and answer its calls until it goes."""
    carrier = TSocket()
    carrier.setHandle(connection)
    transport: TTransportBase = TBufferedTransport(carrier)
    if server.sasl:
        if not _admits(server, connection):
            drain(connection)
            return
        transport = TFramedTransport(carrier)
    protocol, calls = HiveProtocol(transport), processor(server)
    while True:
        calls.process(protocol, protocol)


def _admits(server: HiveServer, connection: socket.socket) -> bool:
    mechanism, token = _message(connection), _message(connection)
    answer = server.sasl_answer or _verdict(server, mechanism, token)
    if answer == "close":
        raise EOFError
    status, words = answer
    connection.sendall(struct.pack(">BI", status, len(words)) + words)
    return status == COMPLETE


def _verdict(server: HiveServer, mechanism: bytes, token: bytes) -> SaslAnswer:
    if mechanism != b"PLAIN":
        return BAD, b"Unsupported mechanism type " + mechanism
    _, user, password = token.decode().split("\0")
    if server.passwords is not None and server.passwords.get(user) != password:
        return BAD, b"Error validating the login"
    return COMPLETE, b""


def _message(connection: socket.socket) -> bytes:
    status, length = struct.unpack(">BI", _exactly(connection, 5))
    if status > COMPLETE:  # no SASL: it would wait for what never comes
        raise EOFError
    return _exactly(connection, length)


def _exactly(connection: socket.socket, count: int) -> bytes:
    data = b""
    while len(data) < count:
        more = connection.recv(count - len(data))
        if not more:
            raise EOFError
        data += more
    return data
