"""Compaction: the rows of a date's many files go into one. The ports, and what is remembered."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Protocol, runtime_checkable

if TYPE_CHECKING:
    from backupd.core.rows import Compaction


@runtime_checkable
class Compacting(Protocol):
    """A warehouse whose dates can be compacted: the rows of many files go into one.

    Whoever lists a partition sees either the files that were there or the new one, so that no row
    is seen twice, or missed by who opens what it has listed. Loads and merges may go on meanwhile,
    of the same date too.
    """

    async def dates_to_compact(self, before: str) -> list[str]:
        """Return the dates before this one whose partition has more than one file."""
        ...

    async def compact(self, date: str) -> Compaction:
        """Have the rows of a date in one file, in their order, if each of its files is ours.

        May be repeated at will, and cancelled or killed at any moment. Raises ValueError for what
        is not a date.
        """
        ...


@runtime_checkable
class CompactedByItself(Compacting, Protocol):
    """One that the daemon compacts unasked, and in which compaction has work left afterwards."""

    async def dates_to_compact(self, before: str, more_than: int = 1) -> list[str]:
        """Return the dates before this one whose partition has more than so many files."""
        ...

    async def finish_compactions(self) -> list[str]:
        """Go on with what was cut short, remove what was replaced a day ago.

        Returns what a person should know of, each in a sentence. May be repeated at will.
        """
        ...


class Step(StrEnum):
    """How far a replacement has come. Beside each: what it means after a restart."""

    MAKING = "making"  # the partition is as it was: what was made is abandoned
    SWITCHING = "switching"  # nobody knows: where the partition lies tells, once no statement runs
    REPLACED = "replaced"  # the old directory is to be removed a day later
    ABANDONED = "abandoned"  # the new directory is to be removed a day later
    DONE = "done"  # the old directory is gone: kept so that the new file is known as ours


@dataclass(frozen=True, kw_only=True, slots=True)
class Replacement:
    """A partition's new directory in place of its old one. Locations are as Hive writes them."""

    id: str
    table: str  # quoted as it stands in statements
    file_date: str
    old: str
    new: str
    files: tuple[str, ...]  # the names in the old directory whose rows are in the new file
    step: Step
    since: float  # when it came to that step (epoch seconds)


class ReplacementLog(Protocol):
    """Remembers replacements over the death of the process.

    Its methods block until it is durable: they are for the threads of adapters.
    """

    def write(self, replacement: Replacement) -> None:
        """Remember it as it is now; once it is REPLACED, Impala is owed a REFRESH of the date."""
        ...

    def all(self, table: str) -> list[Replacement]:
        """Return those of a table, the oldest first."""
        ...

    def forget(self, replacement_id: str) -> None:
        """Forget one."""
        ...

    def owes_refresh(self, table: str, date: str) -> bool:
        """Return whether Impala may still read what a date had before."""
        ...
