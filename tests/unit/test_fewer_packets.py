"""What goes out in one turn of the event loop shares a packet, in the order of sending."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, cast

from asyncssh.constants import MSG_CHANNEL_DATA, MSG_CHANNEL_EOF, MSG_IGNORE, MSG_KEXINIT
from asyncssh.packet import String, UInt32
from hypothesis import given
from hypothesis import strategies as st

from backupd.archive.sftp.packets import FewerPackets

if TYPE_CHECKING:
    from collections.abc import Sequence

    import asyncssh

MOST = 16 * 1024


class Connection:
    """Notes what is sent."""

    def __init__(self) -> None:
        self.sent: list[tuple[int, bytes]] = []

    def send_packet(self, pkttype: int, *args: bytes, **_: object) -> None:
        self.sent.append((pkttype, b"".join(args)))


def connected() -> Connection:
    connection = Connection()
    FewerPackets(cast("asyncssh.SSHClientConnection", connection))
    return connection


async def turn_ends() -> None:
    await asyncio.sleep(0)  # the event loop goes round once


def data(text: bytes, channel: int = 0) -> bytes:
    return UInt32(channel) + String(text)


async def test_requests_of_one_turn_share_a_packet() -> None:
    connection = connected()
    for request in (b"one", b"two", b"three"):
        connection.send_packet(MSG_CHANNEL_DATA, data(request))
    assert connection.sent == []
    await turn_ends()
    assert connection.sent == [(MSG_CHANNEL_DATA, data(b"onetwothree"))]
    connection.send_packet(MSG_CHANNEL_DATA, data(b"four"))
    await turn_ends()
    assert connection.sent[1:] == [(MSG_CHANNEL_DATA, data(b"four"))]


async def test_the_end_of_a_channel_comes_behind_its_data() -> None:
    connection = connected()
    connection.send_packet(MSG_CHANNEL_DATA, data(b"last"))
    connection.send_packet(MSG_CHANNEL_EOF, UInt32(0))
    expected = [(MSG_CHANNEL_DATA, data(b"last")), (MSG_CHANNEL_EOF, UInt32(0))]
    assert connection.sent == expected
    await turn_ends()
    assert connection.sent == expected


async def test_no_empty_packet_is_sent() -> None:
    connection = connected()
    connection.send_packet(MSG_IGNORE, String(b""))
    await turn_ends()
    assert connection.sent == []


async def test_keys_are_exchanged_while_data_goes_out() -> None:
    """asyncssh begins that within the sending of a packet, which then has to wait."""

    class Rekeying(Connection):
        def send_packet(self, pkttype: int, *args: bytes, **_: object) -> None:
            if pkttype == MSG_CHANNEL_DATA and not self.sent:
                outside.send_packet(MSG_KEXINIT, b"")
            super().send_packet(pkttype, *args)

    outside = Rekeying()
    inside = outside.send_packet
    FewerPackets(cast("asyncssh.SSHClientConnection", outside))
    assert outside.send_packet != inside
    outside.send_packet(MSG_CHANNEL_DATA, data(b"some"))
    await turn_ends()
    assert outside.sent == [(MSG_KEXINIT, b""), (MSG_CHANNEL_DATA, data(b"some"))]


@given(
    st.lists(
        st.tuples(
            st.integers(0, 2),
            st.integers(0, 40_000) | st.sampled_from([MOST - 8, MOST]),
            st.booleans(),
        ),
        max_size=30,
    )
)
def test_each_channel_gets_its_bytes_in_order(packets: Sequence[tuple[int, int, bool]]) -> None:
    connection = connected()
    given_by_channel: dict[int, bytes] = {}

    async def send_all() -> None:
        for number, (channel, size, at_its_end) in enumerate(packets):
            block = bytes([number]) * size
            given_by_channel[channel] = given_by_channel.get(channel, b"") + block
            connection.send_packet(MSG_CHANNEL_DATA, data(block, channel))
            if at_its_end:
                await turn_ends()
        await turn_ends()

    asyncio.run(send_all())
    got: dict[int, bytes] = {}
    for _, payload in connection.sent:
        channel = int.from_bytes(payload[:4], "big")
        assert int.from_bytes(payload[4:8], "big") == len(payload) - 8
        assert len(payload) - 8 <= max(MOST, *(size for _, size, _ in packets))
        got[channel] = got.get(channel, b"") + payload[8:]
    assert got == given_by_channel
    assert len(connection.sent) <= len(packets)
