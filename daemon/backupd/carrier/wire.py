"""What the two processes say to each other: pickled frames over a socket pair.

Pickle is for one's own words only: the socket has no name, and nobody else can come to it.
"""

from __future__ import annotations

import asyncio
import pickle
import struct
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from backupd.config.sections import ArchiveSection
    from backupd.stages import ShipRules

_LENGTH = struct.Struct("!I")


@dataclass(frozen=True, kw_only=True, slots=True)
class Orders:
    """What the carrier has to know of the config."""

    archive: ArchiveSection
    ship: ShipRules
    delete: bool


def frame(message: object) -> bytes:
    """Return a message as it goes over the socket."""
    body = pickle.dumps(message, pickle.HIGHEST_PROTOCOL)
    return _LENGTH.pack(len(body)) + body


async def receive(reader: asyncio.StreamReader) -> Any:  # noqa: ANN401 - whatever was sent
    """Return the next message. Raises EOFError when the other process is gone."""
    try:
        (length,) = _LENGTH.unpack(await reader.readexactly(_LENGTH.size))
        return pickle.loads(await reader.readexactly(length))  # noqa: S301 - our own words
    except (asyncio.IncompleteReadError, ConnectionError) as error:
        raise EOFError from error
