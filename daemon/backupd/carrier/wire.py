"""What the two processes say to each other: pickled frames over a socket pair.

A frame holds several messages: what they have in common, a feed or a class, is named in it once.

Pickle is for one's own words only: the socket has no name, and nobody else can come to it.
"""

from __future__ import annotations

import asyncio
import pickle
import struct
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from backupd.core.records import Result, Task
from backupd.core.snapshots import Shipped

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence

    from backupd.config.sections import ArchiveSection
    from backupd.core.places import Witness
    from backupd.core.snapshots import Home
    from backupd.stages import CleanupRules, ShipRules

_LENGTH = struct.Struct("!I")


@dataclass(frozen=True, kw_only=True, slots=True)
class CarrierConfig:
    """What the carrier has to know of the config."""

    archive: ArchiveSection
    ship: ShipRules
    cleanup: CleanupRules
    directories: Sequence[str] = ()  # of the feeds, in the archive


@dataclass(frozen=True, kw_only=True, slots=True)
class Identify:
    """Ask whether the archive is the place that the ledger means: see `Archive.identify`."""

    expected: str | None
    witnesses: Sequence[Witness]


@dataclass(frozen=True, kw_only=True, slots=True)
class Demand:
    """Ask whether files are taken again in a directory of the archive: see `Scope.demand`."""

    directory: str


@dataclass(frozen=True, kw_only=True, slots=True)
class LookForSnapshots:
    """Ask which snapshots of the ledger are there: see `core.snapshots.Shelf.names`."""

    home: Home


@dataclass(frozen=True, kw_only=True, slots=True)
class ShipSnapshot:
    """Ask for a snapshot to be shipped: see `core.snapshots.Shelf.add`."""

    home: Home
    path: str
    name: str
    kept: int


Asked = Task | Identify | Demand | LookForSnapshots | ShipSnapshot
# Of a file; the mark of a place; the names of snapshots; one that was shipped.
Outcome = Result | str | list[str] | Shipped


class Outbox:
    """Sends messages: all of one turn of the event loop at once."""

    def __init__(self, writer: asyncio.StreamWriter) -> None:
        self._writer = writer
        self._messages: list[object] = []

    def put(self, message: object) -> None:
        """Have it sent. Nothing is raised when the other process is gone: it is read of."""
        if not self._messages:
            asyncio.get_running_loop().call_soon(self._send)
        self._messages.append(message)

    def _send(self) -> None:
        messages, self._messages = self._messages, []
        body = pickle.dumps(messages, pickle.HIGHEST_PROTOCOL)
        self._writer.write(_LENGTH.pack(len(body)) + body)


async def received(reader: asyncio.StreamReader) -> AsyncIterator[Any]:
    """Yield each message, until the other process is gone."""
    with suppress(asyncio.IncompleteReadError, ConnectionError):
        while True:
            (length,) = _LENGTH.unpack(await reader.readexactly(_LENGTH.size))
            for message in pickle.loads(await reader.readexactly(length)):  # noqa: S301 - our own
                yield message
