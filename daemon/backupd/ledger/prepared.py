"""The ledger's most frequent statements, prepared once."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from sqlalchemy.dialects import sqlite

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import sqlalchemy as sa

_DIALECT = sqlite.dialect()


class Prepared:
    """A statement whose text is made once, and whose values go to the driver as they are.

    For SQLAlchemy to look at the values of each row takes longer than SQLite takes to write it. A
    value has to be what SQLite takes: None, a number, a text or bytes.
    """

    def __init__(self, statement: sa.Select[Any] | sa.Insert | sa.Update) -> None:
        compiled = statement.compile(dialect=_DIALECT)
        self._text = str(compiled)
        self._names: Sequence[str] = compiled.positiontup or ()
        self._fixed = {name: value for name, value in compiled.params.items() if value is not None}

    def run(
        self, connection: sa.Connection, values: Mapping[str, Any]
    ) -> sa.CursorResult[*tuple[Any, ...]]:
        """Execute it once."""
        return connection.exec_driver_sql(self._text, self._in_order(values))

    def run_all(
        self, connection: sa.Connection, rows: Sequence[Mapping[str, Any]]
    ) -> sa.CursorResult[*tuple[Any, ...]]:
        """Execute it for every row, of which there is at least one."""
        return connection.exec_driver_sql(self._text, [self._in_order(row) for row in rows])

    def _in_order(self, values: Mapping[str, Any]) -> tuple[Any, ...]:
        known = {**self._fixed, **values} if self._fixed else values
        return tuple(map(known.__getitem__, self._names))
