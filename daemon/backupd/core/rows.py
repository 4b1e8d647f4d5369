"""Rows of the production table: what stands in them, what is under way, and what is still owed."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(frozen=True, kw_only=True)
class ProductionRow:
    """One file's row in the production table, in the order of the contract's columns."""

    file_id: str
    file_type: str
    customer: str
    file_name: str
    file_timestamp: float  # seconds since the epoch, UTC
    record_count: int
    size_bytes: int
    sha256: str
    companion_name: str | None
    first_seen_at: float
    batch_id: str
    file_date: str  # YYYY-MM-DD of file_timestamp: the partition


@dataclass(frozen=True, slots=True)
class RowKey:
    """Where a file's row is to be found: its id and its partition.

    `batch_id`, where it is known, is the batch that should have made the row: it is looked there
    first. It makes no other key.
    """

    file_id: str
    file_date: str
    batch_id: str | None = field(default=None, compare=False)


@dataclass(frozen=True, kw_only=True, slots=True)
class Statement:
    """The statement that a batch came to last, written down before it began.

    `session` and `operation` are what the `server` (host:port) knows it by, as the warehouse writes
    them: there while nobody knows whether it still runs, and "" where that makes no difference. The
    operation is known only once the server has answered.
    """

    batch_id: str
    text: str
    began_at: float
    server: str = ""
    session: str = ""
    operation: str = ""


@dataclass(frozen=True, kw_only=True, slots=True)
class RowCount:
    """Whether a file was seen with more than one row, and when its rows are counted again."""

    key: RowKey
    doubled: bool
    due_at: float | None  # None: no more


@dataclass(frozen=True, kw_only=True, slots=True)
class TouchedTable:
    """A table into which a batch was merged."""

    name: str  # quoted as it stands in statements
    dates: tuple[str, ...]  # of the partitions that have new rows, YYYY-MM-DD


@dataclass(frozen=True, kw_only=True)
class OwedRefresh:
    """Merges into a table that Impala has not been notified of yet."""

    name: str  # of the table, quoted as it stands in statements
    since: float
    merges: int
    dates: tuple[str, ...]  # of the partitions that have new rows, YYYY-MM-DD
