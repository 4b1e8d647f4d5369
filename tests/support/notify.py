"""What listens to sd_notify(3) in systemd's place."""

from __future__ import annotations

import contextlib
import socket
from typing import TYPE_CHECKING

from support.daemon import until

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    import pytest


class Listener:
    """A socket as $NOTIFY_SOCKET names it, and what was told on it so far."""

    def __init__(self, path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """Name it in this process's environment, for as long as the test takes."""
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK)
        self._socket.bind(str(path))
        self._told: list[str] = []
        monkeypatch.setenv("NOTIFY_SOCKET", str(path))

    def told(self) -> list[str]:
        """Return all assignments so far, in order."""
        with contextlib.suppress(BlockingIOError):
            while True:
                self._told += self._socket.recv(65536).decode().splitlines()
        return self._told

    def hears(self, assignment: str) -> None:
        """Wait until it was told."""
        until(lambda: assignment in self.told(), lambda: str(self.told()))

    def close(self) -> None:
        """Listen no more."""
        self._socket.close()


@contextlib.contextmanager
def listening(path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Listener]:
    """Listen for as long as the block takes."""
    listener = Listener(path, monkeypatch)
    try:
        yield listener
    finally:
        listener.close()
