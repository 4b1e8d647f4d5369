"""What alerts ask of the ledger."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Sequence

    from backupd.core.incidents import Case, Incident, Notice, Outage, Troubles


class AlertLedger(Protocol):
    """The ledger as alerts see it. Every call raises LedgerError when it cannot be trusted."""

    async def troubles(self) -> Troubles:
        """Return open incidents and troubled files."""
        ...

    async def cases(self) -> list[Case]:
        """Return the incidents that are open, or of whose end someone is still to be notified."""
        ...

    async def last_mail(self) -> Notice | None:
        """Return the newest notice by mail that was sent, or may have been."""
        ...

    async def open_incidents(self, opened: Sequence[Incident]) -> None:
        """Write incidents; one whose cause has an open one already is left out."""
        ...

    async def note_incident(self, incident: Incident) -> None:
        """Write an incident, or newer words in the open one of its cause."""
        ...

    async def note_outage(self, outage: Outage) -> None:
        """Write that something is down: a new incident, or newer words in the open one."""
        ...

    async def close_incidents(self, causes: Sequence[str], now: float) -> None:
        """Close the open incidents of these causes."""
        ...

    async def note_notices(self, notices: Sequence[Notice]) -> None:
        """Write durably who is being notified, or the outcome."""
        ...

    async def mark_interrupted_notices_unknown(self, detail: str) -> None:
        """Make those notices unknown that were being sent when the last process ended."""
        ...
