"""Runs the statements of batches: each is written into the log of statements before it begins."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

from backupd.core.errors import BackupdError
from backupd.core.rows import Statement
from backupd.warehouse.hive.errors import StatementEndedError

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

    from backupd.core.ports import StatementLog
    from backupd.warehouse.hive.connection import Connection, Row
    from backupd.warehouse.hive.earlier_statements import EarlierStatements


@dataclass(frozen=True, slots=True)
class BatchStatements:
    """Over one connection. Blocks. `patience` is how long a statement may take, in seconds."""

    connection: Connection
    earlier: EarlierStatements
    log: StatementLog
    patience: float

    def run(self, batch_id: str, text: str) -> list[Row]:
        """Run one that may come to its end whenever it likes: repeating it changes nothing.

        One that must run alone stays in the log until its end is known.
        """
        if not self._may_run(batch_id):
            self.log.write(Statement(batch_id=batch_id, text=text, began_at=time.time()))
        return self.connection.run(text)

    def run_alone(self, batch_id: str, text: str) -> None:
        """Run one that must never run twice at a time.

        What the server knows it by is written down before it is sent. Where it fails, whatever the
        reason, `settle` finds out later whether it has ended.
        """
        began_at = time.time()

        def identify(server: str, session: str, operation: str) -> None:
            self.log.write(
                Statement(
                    batch_id=batch_id,
                    text=text,
                    began_at=began_at,
                    server=server,
                    session=session,
                    operation=operation,
                )
            )

        ended = Statement(batch_id=batch_id, text=text, began_at=began_at)
        try:
            self.connection.run(text, identify)
        except StatementEndedError:
            self.log.write(ended)
            raise
        except BackupdError:
            self.connection.close()
            raise
        self.log.write(ended)

    def settle(self, batch_id: str | None = None) -> None:
        """Make sure that no earlier statement that must run alone is still running.

        With `batch_id` only that batch's. Raises DependencyDownError while that is unknown.
        """
        for each in self.log.possibly_running():
            if batch_id in (None, each.batch_id):
                left = each.began_at + self.patience - time.time()
                within = min(max(left, 0.0), self.patience)  # the clock may have been set
                self.earlier.end(each, within)
                self.log.forget(each.batch_id)

    def over(self, batch_id: str) -> None:
        """Note that a load or merge came to its end; what may still run stays known."""
        if not self._may_run(batch_id):
            self.log.forget(batch_id)

    def _may_run(self, batch_id: str) -> bool:
        return any(each.batch_id == batch_id for each in self.log.possibly_running())


class StatementMemory:
    """`core.ports.StatementLog` without a ledger."""

    def __init__(self) -> None:
        self._last: dict[str, Statement] = {}
        self._batches: set[str] = set()
        self.since = ""

    def write(self, statement: Statement) -> None:
        """Remember it in place of the batch's last one."""
        self._last[statement.batch_id] = statement
        self._batches.add(statement.batch_id)

    def possibly_running(self) -> list[Statement]:
        """Return those that may still run."""
        return [statement for statement in self._last.values() if statement.session]

    def known_batches(self, batch_ids: Collection[str]) -> set[str]:
        """Return those of which it was given a statement."""
        return self._batches.intersection(batch_ids)

    def complete_since(self) -> str:
        """Return what it was told, at first that nothing was forgotten."""
        return self.since

    def forget(self, batch_id: str) -> None:
        """Forget the batch's."""
        self._last.pop(batch_id, None)

    def note_servers(self, in_use: Mapping[str, str]) -> None:
        """Nobody asks for them."""
