"""Takes TCP connections on loopback, in TLS or not, a thread each."""

from __future__ import annotations

import socket
import ssl
import threading
from contextlib import suppress
from typing import TYPE_CHECKING

from support.tls import server_context

if TYPE_CHECKING:
    from collections.abc import Callable

    from support.tls import Tls


class Listener:
    """Listens on a free port from `start` to `stop`; settings hold from the next connection on."""

    host = "127.0.0.1"

    def __init__(self, work: Callable[[socket.socket], None]) -> None:
        """`work` serves a connection; it is closed when that returns or raises an OSError."""
        self.port = 0
        self.tls: Tls | None = None
        self.silent = False  # takes connections, and answers nothing, not even TLS's handshake
        self._work = work
        self._listener: socket.socket | None = None
        self._acceptor: threading.Thread | None = None
        self._connections: set[socket.socket] = set()
        self._threads: list[threading.Thread] = []
        self._changing = threading.Lock()

    def start(self) -> None:
        """Listen; after `stop` on the same port again."""
        self._listener = listener = socket.create_server((self.host, self.port))
        self.port = listener.getsockname()[1]
        self._acceptor = threading.Thread(target=self._accept, args=[listener], daemon=True)
        self._acceptor.start()

    def stop(self) -> None:
        """Break all connections, and refuse new ones."""
        assert self._listener
        assert self._acceptor
        with self._listener, suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._acceptor.join()
        self.cut()
        while self._threads:
            self._threads.pop().join()

    def cut(self) -> None:
        """Break every connection now; new ones are welcome."""
        with self._changing:
            for each in self._connections:
                shut(each)

    def begin(self, work: Callable[..., None], *args: object) -> threading.Thread:
        """Start a thread that `stop` waits for."""
        thread = threading.Thread(target=work, args=args, daemon=True)
        self._threads.append(thread)
        thread.start()
        return thread

    def _accept(self, listener: socket.socket) -> None:
        with suppress(OSError):
            while True:
                connection = listener.accept()[0]
                with self._changing:
                    self._connections.add(connection)
                self.begin(self._serve, connection)

    def _serve(self, connection: socket.socket) -> None:
        with connection:
            context = server_context(self.tls) if self.tls else None
            with suppress(OSError):
                if self.silent:
                    drain(connection)
                elif context:
                    self._serve_secured(connection, context)
                else:
                    self._work(connection)
        with self._changing:
            self._connections.discard(connection)

    def _serve_secured(self, connection: socket.socket, context: ssl.SSLContext) -> None:
        with self._changing:
            secured = context.wrap_socket(
                connection, server_side=True, do_handshake_on_connect=False
            )
            self._connections.add(secured)
        try:
            with secured:
                if _shook_hands(secured):
                    self._work(secured)
        finally:
            with self._changing:
                self._connections.discard(secured)


def _shook_hands(connection: ssl.SSLSocket) -> bool:
    try:
        connection.do_handshake()
    except ssl.SSLError:
        # To close with bytes unread would lose the alert that tells the client why.
        socket.socket.shutdown(connection, socket.SHUT_WR)
        while socket.socket.recv(connection, 4096):
            pass
        return False
    return True


def drain(connection: socket.socket) -> None:
    """Wait until the client goes."""
    while connection.recv(4096):
        pass


def shut(connection: socket.socket) -> None:
    """End a connection that another thread may be reading from."""
    with suppress(OSError):
        # TLS's own method takes the object away that the other thread works with.
        socket.socket.shutdown(connection, socket.SHUT_RDWR)
