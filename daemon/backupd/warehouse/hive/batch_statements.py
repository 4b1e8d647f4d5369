"""Runs the statements of batches: each is written into the log of statements before it begins."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

from backupd.core.errors import BackupdError
from backupd.core.rows import Statement

if TYPE_CHECKING:
    from backupd.core.ports import StatementLog
    from backupd.warehouse.hive.connection import Connection, Row


@dataclass(frozen=True, slots=True)
class BatchStatements:
    """Over one connection. Blocks. `patience` is how long a statement may take, in seconds."""

    connection: Connection
    log: StatementLog
    patience: float

    def run(self, batch_id: str, text: str) -> list[Row]:
        """Run one that may come to its end whenever it likes: repeating it changes nothing."""
        self.log.write(Statement(batch_id=batch_id, text=text, began_at=time.time()))
        return self.connection.run(text)

    def run_alone(self, batch_id: str, text: str) -> None:
        """Run one that must never run twice at a time.

        What the server knows it by is written down before it is sent. Where it fails, whatever the
        reason, `settle` finds out later whether it has ended.
        """
        began_at = time.time()

        def identify(session: str, operation: str) -> None:
            self.log.write(
                Statement(
                    batch_id=batch_id,
                    text=text,
                    began_at=began_at,
                    session=session,
                    operation=operation,
                )
            )

        try:
            self.connection.run(text, identify)
        except BackupdError:
            self.connection.close()
            raise
        self.log.write(Statement(batch_id=batch_id, text=text, began_at=began_at))

    def settle(self) -> None:
        """Make sure that no earlier statement that must run alone is still running.

        Raises DependencyDownError while that is unknown.
        """
        for each in self.log.possibly_running():
            left = each.began_at + self.patience - time.time()
            within = min(max(left, 0.0), self.patience)  # the clock may have been set
            self.connection.end(each.session, each.operation, within)
            self.log.forget(each.batch_id)

    def over(self, batch_id: str) -> None:
        """Note that a load or merge came to its end."""
        self.log.forget(batch_id)


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
