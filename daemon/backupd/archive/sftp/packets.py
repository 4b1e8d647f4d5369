"""Fewer packets than asyncssh sends by itself: with many small files they are much of the work."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from asyncssh.constants import MSG_CHANNEL_DATA, MSG_IGNORE
from asyncssh.packet import String

if TYPE_CHECKING:
    import asyncssh
    from asyncssh.packet import SSHPacketLogger

_CHANNEL = 4  # bytes of a packet of data: the channel's number, then the data's length, then data
_HEAD = 8
_MOST = 16 * 1024  # bytes of data put together: every server takes twice as many (RFC 4253, 6.1)


class FewerPackets:
    """Sends what a channel is given in one turn of the event loop as one packet, and none empty.

    What is asked of a server at one time then costs it, and us, one encryption and one system call,
    and it answers in the same way. The empty ones asyncssh sends before each packet, against an
    attack on CBC (RFC 4251, 9.3.1), which it does not offer by itself.
    """

    def __init__(self, connection: asyncssh.SSHClientConnection) -> None:
        """Take the connection's packets from here on."""
        self._send = connection.send_packet
        self._channel = b""
        self._gathered: list[bytes] = []
        self._size = 0
        self._handler: SSHPacketLogger | None = None
        connection.send_packet = self.send_packet  # type: ignore[method-assign]  # it has no switch

    def send_packet(
        self, pkttype: int, *args: bytes, handler: SSHPacketLogger | None = None
    ) -> None:
        """Send it, behind what came before."""
        if pkttype == MSG_IGNORE:
            return
        if pkttype == MSG_CHANNEL_DATA and len(args[0]) <= _MOST:
            self._gather(args[0], handler)
            return
        self._flush()
        self._send(pkttype, *args, handler=handler)

    def _gather(self, payload: bytes, handler: SSHPacketLogger | None) -> None:
        channel, data = payload[:_CHANNEL], payload[_HEAD:]
        if channel != self._channel or self._size + len(data) > _MOST:
            self._flush()
        if not self._gathered:
            asyncio.get_running_loop().call_soon(self._flush)
        self._channel, self._handler = channel, handler
        self._gathered.append(data)
        self._size += len(data)

    def _flush(self) -> None:
        if not self._gathered:
            return
        data, self._gathered, self._size = b"".join(self._gathered), [], 0
        self._send(MSG_CHANNEL_DATA, self._channel + String(data), handler=self._handler)
