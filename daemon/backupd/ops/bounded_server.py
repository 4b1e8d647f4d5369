"""A server that no crowd can fill: bounded in connections, in the length of a request, in time.

One request a connection, one answer, then it is closed.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

import structlog

if TYPE_CHECKING:
    import socket

log = structlog.get_logger()

_QUEUE = 1024  # connections; the kernel may allow fewer


@dataclass(frozen=True, slots=True, kw_only=True)
class Bounds:
    """`end` ends a request of at most `longest` bytes.

    `patience` (seconds) is how long a client may take to ask, and again to take its answer.
    """

    end: bytes
    longest: int
    connections: int
    patience: float = 10.0


class Answers(Protocol):
    """What is said to those who ask."""

    async def answer(self, request: bytes, peer: socket.socket) -> bytes:
        """Return the answer to a whole request."""
        ...

    def refusal(self, why: str) -> bytes:
        """Return the answer to a request that was not heard to its end."""
        ...


class BoundedServer:
    """Serves in the event loop.

    When all connections are taken, the one that has been idle for longest makes way for a new one:
    whoever asks at once is served, however many others stand around. Idle is who has not asked
    yet, or does not take the answer.
    """

    def __init__(self, bounds: Bounds, answers: Answers) -> None:
        self._bounds = bounds
        self._answers = answers
        self._idle: dict[asyncio.StreamWriter, asyncio.Task[None]] = {}  # in order of time
        self._answering: dict[asyncio.StreamWriter, asyncio.Task[None]] = {}

    async def listen(self, bound: socket.socket) -> None:
        """Serve on a bound socket, which is its own from now on."""
        self._server = await asyncio.start_server(
            self._connected,
            sock=bound,
            limit=self._bounds.longest,
            backlog=self._bounds.connections,  # as many are accepted in one turn of the loop,
        )
        bound.listen(_QUEUE)  # and all others wait in the kernel: a second try costs seconds

    async def close(self) -> None:
        """Listen no more. What was heard to its end is answered, within the patience."""
        self._server.close()
        while self._idle:
            self._drop_oldest()
        if self._answering:
            _, late = await asyncio.wait(self._answering.values(), timeout=self._bounds.patience)
            for task in late:
                task.cancel()

    def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if len(self._idle) + len(self._answering) >= self._bounds.connections:
            if not self._idle:
                writer.transport.abort()
                return
            self._drop_oldest()
        self._idle[writer] = asyncio.get_running_loop().create_task(self._serve(reader, writer))

    def _drop_oldest(self) -> None:
        writer = next(iter(self._idle))
        writer.transport.abort()
        self._idle.pop(writer).cancel()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            writer.write(await self._answered(reader, writer))
            writer.close()
            async with asyncio.timeout(self._bounds.patience):
                await writer.wait_closed()
        except (TimeoutError, OSError, EOFError):
            pass  # too slow, or gone: no client is left to answer
        except Exception:
            log.exception("a request could not be answered")
        finally:
            self._idle.pop(writer, None)
            writer.transport.abort()

    async def _answered(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bytes:
        try:
            async with asyncio.timeout(self._bounds.patience):
                request = await reader.readuntil(self._bounds.end)
        except asyncio.LimitOverrunError:
            return self._answers.refusal(f"longer than {self._bounds.longest} bytes")
        self._answering[writer] = self._idle.pop(writer)
        try:
            return await self._answers.answer(request, writer.get_extra_info("socket"))
        finally:
            self._idle[writer] = self._answering.pop(writer)
