"""A TCP proxy on loopback that cuts, holds or slows what passes through it."""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

READ = 64 * 1024


class Proxy:
    """Passes bytes on to one address. Faults may be set and taken back at any moment."""

    host = "127.0.0.1"

    def __init__(self, host: str, port: int) -> None:
        """`host` and `port` are where the bytes go."""
        self.port = 0
        self.cut_after: int | None = None  # bytes sent by clients; None: never
        self.bytes_per_second: float | None = None  # from clients, all together; None: no limit
        self.connections = 0  # accepted so far
        self._passed = 0
        self._target = (host, port)
        self._flowing = asyncio.Event()
        self._flowing.set()
        self._writers: set[asyncio.StreamWriter] = set()
        self._pumps: set[asyncio.Task[None]] = set()
        self._server: asyncio.Server | None = None

    async def start(self) -> None:
        """Listen on a free port."""
        self._server = await asyncio.start_server(self._accept, self.host)
        self.port = self._server.sockets[0].getsockname()[1]

    async def stop(self) -> None:
        """Close the listener and all connections."""
        assert self._server
        self._server.close()
        self.cut()
        for pump in self._pumps:
            pump.cancel()
        await asyncio.gather(*self._pumps, return_exceptions=True)

    def cut(self) -> None:
        """Break every connection now; new ones are welcome."""
        for writer in self._writers:
            writer.transport.abort()
        self._writers.clear()

    def cut_after_more(self, count: int) -> None:
        """Break every connection, once, when clients have sent `count` more bytes."""
        self.cut_after = self._passed + count

    def hold(self) -> None:
        """Pass nothing on in either direction; connections stay."""
        self._flowing.clear()

    def resume(self) -> None:
        """Pass on again, what was held first."""
        self._flowing.set()

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        try:
            far_reader, far_writer = await asyncio.open_connection(*self._target)
        except OSError:
            writer.transport.abort()
            return
        self._writers |= {writer, far_writer}
        for pump in (
            self._pump(reader, far_writer, counted=True),
            self._pump(far_reader, writer, counted=False),
        ):
            task = asyncio.create_task(pump)
            self._pumps.add(task)
            task.add_done_callback(self._pumps.discard)

    async def _pump(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, *, counted: bool
    ) -> None:
        with contextlib.suppress(ConnectionError):
            while data := await reader.read(READ):
                await self._flowing.wait()
                if counted and await self._count(len(data)):
                    self.cut()
                    return
                writer.write(data)
                await writer.drain()
        writer.close()

    async def _count(self, count: int) -> bool:
        """Count what clients sent; return whether it is time to cut."""
        self._passed += count
        if self.bytes_per_second:
            await asyncio.sleep(count / self.bytes_per_second)
        if self.cut_after is None or self._passed < self.cut_after:
            return False
        self.cut_after = None
        return True


@contextlib.asynccontextmanager
async def running_proxy(host: str, port: int) -> AsyncIterator[Proxy]:
    """Start a proxy in front of an address, stop it in the end."""
    proxy = Proxy(host, port)
    await proxy.start()
    try:
        yield proxy
    finally:
        await proxy.stop()
