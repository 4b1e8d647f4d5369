"""A warehouse in memory, with faults on demand."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

from backupd.core.errors import (
    DependencyDownError,
    PermanentError,
    RewindError,
    UnknownOutcomeError,
)
from backupd.core.ports import Probe
from backupd.core.rows import Compaction, RowKey
from backupd.core.stages import Stage

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Collection, Sequence

    from backupd.core.records import Batch
    from backupd.core.rows import ProductionRow


@dataclass
class FakeWarehouse:
    """`core.ports.Warehouse` and `Compacting`. Set a fault and the next calls meet it."""

    rejected: set[str] = field(default_factory=set)  # file ids that `load` refuses, for ever
    down_for: int = 0  # so many calls find the warehouse down
    answer_lost: Literal["", "before commit", "after commit"] = ""  # of the next merge

    staged: dict[str, list[ProductionRow]] = field(default_factory=dict)  # by batch id
    production: dict[str, list[ProductionRow]] = field(default_factory=dict)  # by batch id
    compacted: dict[str, set[str]] = field(default_factory=dict)  # batches, by date

    async def load(self, batch: Batch, rows: Sequence[ProductionRow]) -> str:
        self._answer()
        for row in rows:
            if row.file_id in self.rejected or not _is_text(row.file_name):
                raise PermanentError(f"no row can be made for {row.file_name!r}")
        self.staged[batch.id] = list(rows)
        return f"memory:{batch.id}"

    async def merge(self, batch: Batch, rows: Sequence[ProductionRow]) -> Counter[str]:
        self._answer()
        lost, self.answer_lost = self.answer_lost, ""
        if lost == "before commit":
            raise UnknownOutcomeError("the answer to the merge was lost")
        self._commit(batch.id, rows)
        if lost == "after commit":
            raise UnknownOutcomeError("the answer to the merge was lost")
        wanted = {row.file_id for row in rows}
        return Counter(key.file_id for key in self._keys() if key.file_id in wanted)

    async def find(self, keys: Collection[RowKey], *, by_others: bool = False) -> frozenset[str]:
        del by_others
        self._answer()
        return frozenset(key.file_id for key in self._keys() if key in set(keys))

    async def rows(self, dates: Collection[str]) -> AsyncIterator[RowKey]:
        self._answer()
        for key in self._keys():
            if key.file_date in dates:
                yield key

    async def file_sums(self, date: str) -> dict[str, str]:
        del date
        return {}

    async def discard(self, batch_id: str) -> None:
        self._answer()
        self.staged.pop(batch_id, None)

    async def sweep(self, live: Collection[str]) -> list[str]:
        self._answer()
        stale = [batch_id for batch_id in self.staged if batch_id not in live]
        for batch_id in stale:
            del self.staged[batch_id]
        return stale

    async def dates_to_compact(self, before: str) -> list[str]:
        self._answer()
        dates = {key.file_date for key in self._keys() if key.file_date < before}
        return sorted(date for date in dates if len(self._files(date)) > 1)

    async def compact(self, date: str) -> Compaction:
        self._answer()
        files = self._files(date)
        if len(files) > 1:
            self.compacted[date] = self.compacted.get(date, set()) | files
        return Compaction(date=date, files_before=len(files), files_after=len(self._files(date)))

    def statements(self, batch: Batch, rows: Sequence[ProductionRow]) -> list[str]:
        return [f"stage {len(rows)} rows of {batch.id}", f"merge {batch.id}"]

    def repairs(self, dates: Collection[str]) -> list[str]:
        return [f"leave one row each of {date}" for date in sorted(dates)]

    async def probe(self) -> list[Probe]:
        down = self.down_for > 0
        return [Probe("warehouse in memory", ok=not down, detail="down" if down else "answers")]

    async def aclose(self) -> None:
        pass

    def _answer(self) -> None:
        if self.down_for > 0:
            self.down_for -= 1
            raise DependencyDownError("warehouse", "the warehouse is down", hint="wait")

    def _commit(self, batch_id: str, rows: Sequence[ProductionRow]) -> None:
        staged = self.staged.pop(batch_id, None)
        if batch_id in self.production or not rows:
            return
        there = {key.file_id for key in self._keys()}
        if any(row.file_id not in there for row in rows if row not in (staged or [])):
            raise RewindError(Stage.LOAD, f"batch {batch_id} is neither staged nor merged")
        if staged is not None:
            self.production[batch_id] = staged

    def _files(self, date: str) -> set[str]:
        """The batches that have a file of their own, and "compacted" for those that share one."""
        shared = self.compacted.get(date, set())
        batches = {id_ for id_, rows in self.production.items() if date in _dates(rows)}
        return (batches - shared) | {"compacted" for _ in shared}

    def _keys(self) -> list[RowKey]:
        return [
            RowKey(row.file_id, row.file_date) for rows in self.production.values() for row in rows
        ]


def _dates(rows: Sequence[ProductionRow]) -> set[str]:
    return {row.file_date for row in rows}


def _is_text(name: str) -> bool:
    try:
        name.encode()
    except UnicodeEncodeError:
        return False
    return True
