"""Rows of the production table: what stands in them, what is under way, and what is still owed."""

from __future__ import annotations

import hashlib
import os
import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from backupd.core.records import FileRecord

# Matches ids from `row_id`, and the 20-digit ids of older versions, which were the ledger's.
ROW_ID_FORM = re.compile(r"[0-9a-f]{32}|[0-9a-f]{20}")
_ROW_ID_LENGTH = 32  # hex digits: two of 10 billion files share one once in 10**19 times


def row_id(file: FileRecord, sha256: str) -> str:
    """Return the id of a file's row: the same by any daemon, on any host, with any ledger.

    What a file got once it keeps.
    """
    if file.row_id is not None and file.sha256 == sha256:
        return file.row_id
    return made_row_id(file, sha256)


def made_row_id(file: FileRecord, sha256: str) -> str:
    """Return the id that a row of this file would get now, whatever it has.

    It is made from the file type, the customer, the name below the feed's directory and the
    content, and from nothing else.
    """
    name = os.fsencode(file.relative_path)
    parts = (file.file_type.encode(), file.customer.encode(), name, sha256.encode())
    return hashlib.sha256(b"\0".join(parts)).hexdigest()[:_ROW_ID_LENGTH]  # no part holds a NUL


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
class Compaction:
    """What became of a date's files in production.

    `left` says why they were left as they are; "" where there is one file now. `rows` and
    `size_bytes` are of the file that was made; None where none was.
    """

    date: str
    files_before: int
    files_after: int
    rows: int | None = None
    size_bytes: int | None = None
    left: str = ""


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
