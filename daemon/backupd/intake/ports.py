"""What intake asks of the ledger."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from backupd.core.records import Seen, Sighting

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Collection, Mapping, Sequence

    from backupd.core.records import (
        DoneFile,
        FeedMount,
        FileRecord,
        Identity,
        Known,
        Move,
        Renaming,
    )

__all__ = ["IntakeLedger", "Seen", "Sighting"]


class IntakeLedger(Protocol):
    """The ledger as intake sees it. Every call raises LedgerError when it cannot be trusted."""

    @property
    def wake_settle(self) -> asyncio.Event:
        """Set when a file in settle may have become due. Intake clears it, then looks."""
        ...

    async def known(self, paths: Sequence[str]) -> dict[str, Known]:
        """Return, of these paths, those that have any row: what is known of them.

        It is asked before a file is looked at, and the answer's `last_id` goes into its sighting.
        """
        ...

    async def see(self, sightings: Sequence[Sighting]) -> list[Seen]:
        """Make rows, waiting in settle and due at once, for what is new; answer for each of them.

        A path that is known and not done is left alone. Where a done or parked file's path holds
        another identity, the old row lets go of the path and a new one is made. LOOK_AGAIN: the
        path has a newer row than the sighting knew, or its file was removed meanwhile; nothing was
        made of it, and it is to be asked for and looked at again. May be repeated.
        """
        ...

    async def by_identity(
        self, identities: Sequence[Identity]
    ) -> dict[tuple[Identity, str], FileRecord]:
        """Return the files below feeds' directories last seen as these, by identity and name."""
        ...

    async def rename(self, renamings: Sequence[Renaming]) -> list[bool]:
        """Give files the paths that they have now, and take back those that were missed.

        False where the row is another one by now, or the path is that of another file.
        """
        ...

    async def file(self, file_id: str) -> FileRecord | None:
        """Return a file by its id; None: no such file is known."""
        ...

    async def due_settle(
        self, now: float, limit: int, without: Collection[str] = ()
    ) -> list[FileRecord]:
        """Return files that wait in settle and are due, the longest due first.

        `without`: those of these feeds are left out.
        """
        ...

    async def next_settle_at(self, without: Collection[str] = ()) -> float | None:
        """Return when the next file that waits in settle is due; None when none waits."""
        ...

    async def move(self, moves: Sequence[Move]) -> list[bool]:
        """Apply moves by compare-and-swap; False for one that lost the race."""
        ...

    async def wake_companions(self, paths: Sequence[str], now: float) -> None:
        """Make the files that wait in settle and expect their companion at these paths due now."""
        ...

    async def late_companions(self, stems: Mapping[str, str]) -> dict[str, DoneFile]:
        """Return which of these companions no file needs any more, with the last that did.

        `stems` maps the paths of companions to what they share with the path of their file: all
        but the last extension.
        """
        ...

    async def feed_mounts(self) -> dict[str, FeedMount]:
        """Return where each feed was last seen."""
        ...

    async def remember_root(self, feed: str, root: FeedMount) -> None:
        """Note where a feed's directory was seen."""
        ...
