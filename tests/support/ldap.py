"""A directory that knows who may log in, and no more of LDAP than the simple bind."""

from __future__ import annotations

import socketserver
import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

_BIND, _BOUND = 0x60, 0x61  # the operations' tags
_SUCCESS, _INVALID_CREDENTIALS = 0, 49


class _Directory(socketserver.ThreadingTCPServer):
    def __init__(self, passwords: Mapping[str, str]) -> None:
        super().__init__(("127.0.0.1", 0), _Conversation)
        self.passwords = passwords


class _Conversation(socketserver.StreamRequestHandler):
    server: _Directory

    def handle(self) -> None:
        while self.rfile.read(1):
            number, operation, rest = _parts(self.rfile.read(self._length()))
            if operation != _BIND:
                return
            code = _SUCCESS if self._may(rest) else _INVALID_CREDENTIALS
            result = bytes([_BOUND, 7, 0x0A, 1, code, 4, 0, 4, 0])
            answer = bytes([2, len(number)]) + number + result
            self.wfile.write(bytes([0x30, len(answer)]) + answer)

    def _length(self) -> int:
        (first,) = self.rfile.read(1)
        return first if first < 0x80 else int.from_bytes(self.rfile.read(first - 0x80), "big")

    def _may(self, bind: bytes) -> bool:
        name_at = 3  # behind the protocol's version
        name_ends = name_at + 2 + bind[name_at + 1]
        name = bind[name_at + 2 : name_ends].decode()
        return self.server.passwords.get(name) == bind[name_ends + 2 :].decode()


def _parts(message: bytes) -> tuple[bytes, int, bytes]:
    """Split a message into its number and its operation's tag and content."""
    number = message[2 : 2 + message[1]]
    operation = message[2 + len(number) :]
    skipped = 2 if operation[1] < 0x80 else 2 + operation[1] - 0x80
    return number, operation[0], operation[skipped:]


@contextmanager
def running_directory(passwords: Mapping[str, str]) -> Iterator[int]:
    """Answer on a free port; `passwords` are by distinguished name."""
    with _Directory(passwords) as directory:
        thread = threading.Thread(target=directory.serve_forever, daemon=True)
        thread.start()
        yield directory.server_address[1]
        directory.shutdown()
        thread.join()
