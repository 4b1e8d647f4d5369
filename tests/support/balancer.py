"""A TCP load balancer on loopback, in front of several servers."""

from __future__ import annotations

import socket
from contextlib import suppress
from typing import TYPE_CHECKING

from support.listener import Listener, shut

if TYPE_CHECKING:
    from collections.abc import Sequence


class Balancer(Listener):
    """Passes each new connection on to the next of its backends, or to one that it sticks to."""

    def __init__(self, ports: Sequence[int]) -> None:
        """`ports` are the backends', on loopback. A dead one ends the client's connection."""
        super().__init__(self._pass_on)
        self.passed: list[int] = []  # the backend of each connection so far, by its number
        self._ports = ports
        self._next = 0
        self._stuck: int | None = None

    def stick(self, number: int | None) -> None:
        """Send new connections to this backend alone; None: to each in its turn again."""
        self._stuck = number

    def _pass_on(self, connection: socket.socket) -> None:
        number = self._chosen()
        self.passed.append(number)
        with socket.create_connection((self.host, self._ports[number])) as backend:
            back = self.begin(_pump, backend, connection)
            _pump(connection, backend)
            back.join()

    def _chosen(self) -> int:
        if self._stuck is not None:
            return self._stuck
        chosen = self._next
        self._next = (chosen + 1) % len(self._ports)
        return chosen


def _pump(source: socket.socket, target: socket.socket) -> None:
    with suppress(OSError):
        while data := source.recv(64 * 1024):
            target.sendall(data)
    shut(source)
    shut(target)
