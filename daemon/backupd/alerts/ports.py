"""What alerts ask of the ledger; what they look at all the time, only after a change."""

from __future__ import annotations

from typing import TYPE_CHECKING, Generic, Protocol, TypeVar

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

    from backupd.core.incidents import Case, Incident, Notice, Troubles


T = TypeVar("T")


class AlertLedger(Protocol):
    """The ledger as alerts see it. Every call raises LedgerError when it cannot be trusted."""

    @property
    def commits(self) -> int:
        """Transactions so far."""
        ...

    async def troubles(self) -> Troubles:
        """Return open incidents and troubled files."""
        ...

    async def cases(self) -> list[Case]:
        """Return the incidents that are open, or of whose end someone is still to be notified."""
        ...

    async def last_mail(self) -> Notice | None:
        """Return the newest notice by mail that was sent, or may have been."""
        ...

    async def note_incidents(self, noted: Sequence[Incident]) -> None:
        """Write incidents, or newer words in the open ones of the same causes."""
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


class UntilChanged(Generic[T]):
    """An answer of the ledger, asked for again only when something was written since."""

    def __init__(self, ledger: AlertLedger, ask: Callable[[], Awaitable[T]]) -> None:
        self._ledger = ledger
        self._ask = ask
        self._answer: tuple[int, T] | None = None

    async def get(self) -> T:
        """Return what holds now."""
        commits = self._ledger.commits
        if self._answer is None or self._answer[0] != commits:
            self._answer = commits, await self._ask()
        return self._answer[1]
