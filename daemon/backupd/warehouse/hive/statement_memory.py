"""Remembers statements for as long as the process lives: for who runs none that must outlive it."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from backupd.core.rows import Statement


class StatementMemory:
    """`core.ports.StatementLog` without a ledger."""

    def __init__(self) -> None:
        self._last: dict[str, Statement] = {}

    def write(self, statement: Statement) -> None:
        """Remember it in place of the batch's last one."""
        self._last[statement.batch_id] = statement

    def possibly_running(self) -> list[Statement]:
        """Return those that may still run."""
        return [statement for statement in self._last.values() if statement.session]

    def forget(self, batch_id: str) -> None:
        """Forget the batch's."""
        self._last.pop(batch_id, None)
