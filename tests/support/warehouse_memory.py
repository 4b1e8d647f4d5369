"""What a ledger would remember of the embedded warehouse."""

from __future__ import annotations

from typing import TYPE_CHECKING

from backupd.core.rows import RowKey

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence

    from backupd.core.rows import ProductionRow


class Memory:
    """`core.ports.PlaceMemory`."""

    def __init__(self, mark: str | None = None, rows: Sequence[ProductionRow] = ()) -> None:
        self.mark = mark
        self.rows = [RowKey(row.file_id, row.file_date) for row in rows]
        self.sums: dict[str, str] = {}
        self.since = ""

    def expected(self) -> str | None:
        return self.mark

    def remember(self, mark: str) -> None:
        self.mark = mark

    def remember_files(self, sums: Mapping[str, str]) -> None:
        self.sums.update(sums)

    def known_files(self, names: Collection[str]) -> dict[str, str]:
        return {name: self.sums[name] for name in names if name in self.sums}

    def complete_since(self) -> str:
        return self.since

    def forget_files(self, names: Collection[str]) -> None:
        for name in names:
            del self.sums[name]

    def row_witnesses(self) -> list[RowKey]:
        return self.rows
