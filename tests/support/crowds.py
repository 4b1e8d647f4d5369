"""Clients that come in crowds and do not go."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import socket
    from collections.abc import Callable, Iterator


@contextlib.contextmanager
def crowd(count: int, connect: Callable[[], socket.socket], says: bytes) -> Iterator[None]:
    """Connect, say the beginning of something, and stand around while the block lasts."""
    with contextlib.ExitStack() as stack:
        for _ in range(count):
            one = stack.enter_context(connect())
            with contextlib.suppress(OSError):  # it was sent away already
                one.sendall(says)
        yield
