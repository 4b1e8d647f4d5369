"""The ledger for an adapter's thread: what it remembers of a place, and of statements."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, Any, TypeVar

from backupd.ledger import batches, history, places, replacements

if TYPE_CHECKING:
    from collections.abc import Collection, Coroutine, Mapping

    from backupd.core.compacting import Replacement
    from backupd.core.rows import RowKey, Statement
    from backupd.ledger import Ledger

T = TypeVar("T")

_WITNESSES = 20  # the last rows: one of them that is found will do


class _LedgerCalls:
    """Made in the event loop, which must outlive its callers' threads.

    Raises LedgerError when the ledger takes no more.
    """

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger
        self._loop = asyncio.get_running_loop()

    def complete_since(self) -> str:
        """Ask the ledger."""
        return self._wait(self._ledger.ask(history.complete_since))

    def _wait(self, asked: Coroutine[Any, Any, T]) -> T:
        return asyncio.run_coroutine_threadsafe(asked, self._loop).result()


class LedgerPlace(_LedgerCalls):
    """`core.ports.PlaceMemory`."""

    def __init__(self, ledger: Ledger, name: str) -> None:
        """`name`: archive | warehouse."""
        super().__init__(ledger)
        self._name = name

    def expected(self) -> str | None:
        """Return the mark that the ledger knows."""
        return self._wait(self._ledger.place(self._name))

    def remember(self, mark: str) -> None:
        """Write it into the ledger."""
        self._wait(self._ledger.remember_place(self._name, mark, time.time()))

    def remember_files(self, sums: Mapping[str, str]) -> None:
        """Write them into the ledger."""
        self._wait(self._ledger.remember_files(sums))

    def known_files(self, names: Collection[str]) -> dict[str, str]:
        """Ask the ledger."""
        return self._wait(self._ledger.ask(places.warehouse_sums, names))

    def forget_files(self, names: Collection[str]) -> None:
        """Remove them from the ledger."""
        self._wait(self._ledger.forget_files(names))

    def row_witnesses(self) -> list[RowKey]:
        """Return the last rows that the ledger knows to be in the table."""
        return self._wait(self._ledger.ask(places.row_witnesses, _WITNESSES))


class LedgerStatements(_LedgerCalls):
    """`core.ports.StatementLog`."""

    def write(self, statement: Statement) -> None:
        """Write it in place of the batch's last one."""
        self._wait(self._ledger.write_statement(statement))

    def possibly_running(self) -> list[Statement]:
        """Return those of all batches that may still run."""
        return self._wait(self._ledger.possibly_running_statements())

    def known_batches(self, batch_ids: Collection[str]) -> set[str]:
        """Ask the ledger."""
        return self._wait(self._ledger.ask(batches.known, batch_ids))

    def forget(self, batch_id: str) -> None:
        """Forget the batch's."""
        self._wait(self._ledger.forget_statement(batch_id))

    def note_servers(self, in_use: Mapping[str, str]) -> None:
        """Write them in place of those that were."""
        self._wait(self._ledger.note_servers(in_use))


class LedgerReplacements(_LedgerCalls):
    """`core.compacting.ReplacementLog`."""

    def __init__(self, ledger: Ledger, refreshes: str = "") -> None:
        """`refreshes` is the table of whose new files Impala is to be notified."""
        super().__init__(ledger)
        self._refreshes = refreshes

    def write(self, replacement: Replacement) -> None:
        """Write it into the ledger."""
        change = replacements.Change(now=replacement, refreshes=self._refreshes)
        self._wait(self._ledger.note_replacement(change))

    def all(self, table: str) -> list[Replacement]:
        """Ask the ledger."""
        return self._wait(self._ledger.ask(replacements.of_table, table))

    def forget(self, replacement_id: str) -> None:
        """Remove it from the ledger."""
        change = replacements.Change(forgotten=replacement_id)
        self._wait(self._ledger.note_replacement(change))

    def owes_refresh(self, table: str, date: str) -> bool:
        """Ask the ledger."""
        return self._wait(self._ledger.ask(replacements.owes_refresh, table, date))
