"""The log of statements that outlives the process: in the ledger, for an adapter's thread."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    from collections.abc import Coroutine

    from backupd.core.rows import Statement
    from backupd.ledger import Ledger

T = TypeVar("T")


class LedgerStatements:
    """`core.ports.StatementLog`. Made in the event loop, which must outlive its callers' threads.

    Raises LedgerError when the ledger takes no more.
    """

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger
        self._loop = asyncio.get_running_loop()

    def write(self, statement: Statement) -> None:
        """Write it in place of the batch's last one."""
        self._wait(self._ledger.write_statement(statement))

    def possibly_running(self) -> list[Statement]:
        """Return those of all batches that may still run."""
        return self._wait(self._ledger.possibly_running_statements())

    def forget(self, batch_id: str) -> None:
        """Forget the batch's."""
        self._wait(self._ledger.forget_statement(batch_id))

    def _wait(self, asked: Coroutine[Any, Any, T]) -> T:
        return asyncio.run_coroutine_threadsafe(asked, self._loop).result()
