"""What a ZooKeeper says of the HiveServer2s that have registered with it."""

from __future__ import annotations

import re
import socket

_ANSWER_WITHIN = 10.0  # seconds


def registered(port: int) -> set[int]:
    """Return their ports; a killed one is there until its session times out."""
    said = b""
    with socket.create_connection(("127.0.0.1", port), _ANSWER_WITHIN) as connection:
        connection.sendall(b"dump")  # lists who is there, and what goes when they do
        while part := connection.recv(1 << 16):
            said += part
    return set(map(int, re.findall(r"serverUri=[^;]+:(\d+);", said.decode())))
