"""What is known of files, batches and receipts. Frozen: changed by `dataclasses.replace`.

Without slots: frozen classes with slots take several times as long to pickle, and files in ship go
from process to process.

All times are seconds since the epoch, UTC. Paths and names are `str` as `os.fsdecode` makes them
(bytes that are not UTF-8 stand as lone surrogates).
"""

from __future__ import annotations

import re
import secrets
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import Enum, StrEnum
from typing import TYPE_CHECKING, Any, NamedTuple

from backupd.core.times import has_date

if TYPE_CHECKING:
    import os
    from collections.abc import Iterator, Mapping

    from backupd.core.arrivals import Arrival
    from backupd.core.rows import RowCount, TouchedTable
    from backupd.core.stages import Awaits, Stage, Status


ID_FORM = re.compile(r"[0-9a-f]{20}")  # of what `new_id` returns
SHA256_FORM = re.compile(r"[0-9a-f]{64}")


def new_id(now: float) -> str:
    """Return a new id for a file or a batch: 20 hex digits, sorting by time, unique everywhere.

    11 digits of milliseconds since the epoch, then 9 random ones, so that two hosts which write
    to one production table (or a ledger that was restored) never give the same id twice.
    """
    return f"{first_id(now)}{secrets.randbits(36):09x}"


def first_id(now: float) -> str:
    """Return what no id that is given from `now` on sorts before."""
    return f"{int(max(now, 0.0) * 1000):011x}"


@dataclass(frozen=True)
class Identity:
    """Shows whether a file changed since it was looked at. Only a content hash shows "the same"."""

    dev: int
    ino: int
    size: int
    mtime_ns: int
    ctime_ns: int

    @classmethod
    def of(cls, stat: os.stat_result) -> Identity:
        """Take the identity out of a stat result."""
        return cls(stat.st_dev, stat.st_ino, stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns)


@dataclass(frozen=True, kw_only=True)
class CompanionRule:
    """How a feed's companion is named and read."""

    suffix: str  # replaces the data file's last extension, e.g. ".cksum"
    algorithm: str  # cksum | md5 | sha256
    required: bool


@dataclass(frozen=True, kw_only=True)
class Feed:
    """One file type of one customer."""

    file_type: str
    customer: str
    directory: str  # absolute
    pattern: str  # shell pattern that the file name matches, customer filled in
    timestamp_regex: str | None  # one group; None: the file's mtime is its timestamp
    timestamp_format: str
    header_lines: int
    recursive: bool
    archive_directory: str  # relative to the archive's root; "" is the root itself
    companion: CompanionRule | None

    @property
    def name(self) -> str:
        """`<file type>/<customer>`, the feed's name everywhere."""
        return f"{self.file_type}/{self.customer}"


@dataclass(frozen=True, kw_only=True)
class FileRecord:
    """One backup file as the ledger knows it."""

    id: str
    feed: str
    file_type: str
    customer: str
    path: str  # absolute
    relative_path: str  # below the feed's directory; the file's name in the feed
    stage: Stage
    status: Status
    reason: str  # why it waits or is parked, in plain words; "" while all is well
    attempts: int  # claims that count against retry.attempts, in this stage
    interruptions: int  # times the process ended while this file was running, in this stage
    claims: int  # all claims in this stage: names temporary files
    next_attempt_at: float
    # "" while time alone decides; else what must happen first, or what it waits for by hand:
    awaits: Awaits
    stage_since: float  # when it entered this stage
    first_seen_at: float
    done_at: float | None
    identity: Identity  # as last looked at (settle), then as hashed (from manifest on)
    unchanged_since: float  # since when the identity has been this one
    local: bool  # the local file is believed to be there; one row a path may say so
    companion_path: str | None  # where its companion is expected; None without a companion rule
    companion_text: str | None  # what the companion said when it agreed
    disagreement: str | None  # what was compared when its companion last disagreed
    size_bytes: int | None  # from here on known after manifest
    record_count: int | None
    sha256: str | None  # of the file as found
    file_timestamp: float | None
    batch_id: str | None
    row_seen_at: float | None  # when its row was seen in the production table
    duplicate_of: str | None  # id of the first file with this name and content
    archive_name: str | None  # relative to the archive's root
    trouble: str = ""  # why it was parked, without what is its own, until it goes on: its incident
    proven_at: float | None = None  # when row and copy were last seen, and nothing came in between
    row_id: str | None = None  # its row's `file_id` in production; known after manifest

    @property
    def file_name(self) -> str:
        """The last part of the path."""
        return self.path.rpartition("/")[2]

    @property
    def relative_companion(self) -> str | None:
        """Where its companion is expected, below the feed's directory."""
        if self.companion_path is None:
            return None
        above, slash, _ = self.relative_path.rpartition("/")
        return f"{above}{slash}{self.companion_path.rpartition('/')[2]}"

    @property
    def is_closed(self) -> bool:
        """Whether it was closed without going through every stage; `reason` says why."""
        return self.done_at is not None and self.reason != ""

    @property
    def file_date(self) -> str | None:
        """The day of `file_timestamp` as YYYY-MM-DD: the partition of its row."""
        if self.file_timestamp is None or not has_date(self.file_timestamp):
            return None
        return datetime.fromtimestamp(self.file_timestamp, UTC).date().isoformat()


@dataclass(frozen=True, kw_only=True)
class Sighting:
    """A file seen in a feed's directory, before anything is known of it."""

    feed: Feed
    path: str
    relative_path: str
    identity: Identity
    companion_path: str | None
    seen_at: float
    reason: str = "seen just now"  # why it waits
    look_at: float | None = None  # when it is to be looked at next; None: at once
    knew: str | None = None  # `Known.last_id` before the file was looked at; None: no row


@dataclass(frozen=True, kw_only=True)
class Renaming:
    """A known file that is at another path, or was missed there and is back."""

    file: FileRecord  # as the ledger has it
    path: str
    relative_path: str
    companion_path: str | None
    at: float


class Known(NamedTuple):
    """What the ledger holds of a path."""

    last_id: str  # names its newest row and whether that is local: only to be compared
    identity: Identity | None  # of the local file there; None: no row is local
    stays: bool = False  # that one is done, or held by hand


class DoneFile(NamedTuple):
    """What is known of a file that is done, and gone from its feed."""

    feed: str
    size_bytes: int | None
    sha256: str | None


class Seen(Enum):
    """What became of a sighting."""

    NEW = "a row was made for it"
    KNOWN = "it has a row"
    LOOK_AGAIN = "something happened to its path after the ledger was asked of it"


@dataclass(frozen=True, kw_only=True)
class Batch:
    """A fixed set of files that is loaded and merged as one. `members` never change."""

    id: str
    stage: Stage  # load or merge
    status: Status  # done: merged, or split into smaller ones (`reason` says which)
    reason: str
    attempts: int
    interruptions: int
    claims: int
    next_attempt_at: float
    created_at: float
    done_at: float | None
    staged_at: str  # where its rows are staged, "" before load
    members: tuple[str, ...]  # file ids, in order


class VerifiedBy(StrEnum):
    """How it is known what the archive holds."""

    REMOTE_SHA256 = "remote-sha256"  # the archive's host took the sum
    READBACK = "readback"  # the copy was read back
    SAME_CONTENT = "same-content"  # it was there already, looked at in one of these ways


@dataclass(frozen=True, kw_only=True)
class Receipt:
    """Proof that a file is in the archive."""

    file_id: str
    archive_name: str  # relative to the archive's root
    sha256: str  # of the local file, from the very bytes that were sent
    sent_sha256: str  # of what was sent, or would have been (compressed, or as it is)
    remote_sha256: str  # of what the archive holds, as it answered
    sent_bytes: int  # in the archive
    verified_by: VerifiedBy
    flushed: bool  # the archive confirmed that it is on its disk
    shipped_at: float
    verified_at: float
    named_by: str = (
        ""  # how its name was taken without replacing: rename | link | claim; "" unknown
    )

    @property
    def evidence(self) -> str:
        """How its copy was verified, in words for people."""
        if self.verified_by is VerifiedBy.SAME_CONTENT:
            return "found there with the same content"
        return f"verified by {self.verified_by}"

    def flaws(self, sha256: str | None) -> Iterator[str]:
        """Yield why it is no proof that a file of this content is in the archive."""
        if self.sha256 != sha256:
            yield "its receipt is for other content than the file was registered with"
        # The same text may be compressed otherwise: then its content was compared.
        was_found = bool(self.remote_sha256) and self.verified_by is VerifiedBy.SAME_CONTENT
        if self.remote_sha256 != self.sent_sha256 and not was_found:
            yield "what the archive holds is not what was sent"


@dataclass(frozen=True, kw_only=True)
class Event:
    """One line of a file's history."""

    file_id: str
    at: float
    stage: Stage
    status: Status
    detail: str


@dataclass(frozen=True, kw_only=True)
class Move:
    """One compare-and-swap in the ledger: applied only if the file still stands where it stood.

    `changes` maps fields of FileRecord to their new values. `stage` and `status` are where the
    file stands afterwards, and so what its history says, with `detail`.
    """

    file: FileRecord
    stage: Stage
    status: Status
    changes: Mapping[str, Any]
    at: float
    detail: str
    receipt: Receipt | None = None  # written with the move
    arrival: Arrival | None = None  # counted with the move, unless it is a duplicate's


@dataclass(frozen=True, kw_only=True)
class BatchMove:
    """The same for a batch and, with it, all its members: applied whole or not at all.

    `changes` are for the batch, `file_changes` for every member, `parts` the member lists of the
    smaller batches that take its place when it is split.
    """

    batch: Batch
    stage: Stage
    status: Status
    file_stage: Stage
    file_status: Status
    changes: Mapping[str, Any]
    file_changes: Mapping[str, Any]
    at: float
    detail: str
    parts: tuple[tuple[str, ...], ...] = ()
    refresh: TouchedTable | None = None  # of whose new rows Impala is to be notified
    row_counts: tuple[RowCount, ...] = ()  # of members whose rows are to be counted again


@dataclass(frozen=True, kw_only=True)
class FeedRoot:
    """A feed's directory as it was found: links in its path followed, and which one it is."""

    path: str
    dev: int
    ino: int


NO_ROOT = FeedRoot(path="/nonexistent", dev=0, ino=0)
"""The directory of a feed that has none just now: it cannot be opened."""


@dataclass(frozen=True, kw_only=True)
class FeedMount:
    """Where a feed's directory was seen last. What older versions wrote has the mount alone."""

    mount: str  # the mount point that it stood on
    directory: str | None = None  # as the config named it then
    real_path: str | None = None  # where that was, links followed
    has_files: bool = False  # some of the feed's files are believed to be there, and are not done


@dataclass(frozen=True, kw_only=True)
class Task:
    """A claimed file and what its stage needs to know beside it."""

    file: FileRecord
    feed: Feed
    root: FeedRoot  # the feed's directory; no other one is ever opened
    is_proven: bool = False  # row and copy were seen just now; else both are looked at again
    receipt: Receipt | None = None  # of the file; of the first one for a duplicate
    original: FileRecord | None = None  # the first file, for a duplicate
    is_repeat: bool = False  # in the same try, after a run of the stage that was refused

    @property
    def is_first(self) -> bool:
        """Whether the stage was not run on it before: it may have ended anywhere."""
        return self.file.claims == 1 and not self.is_repeat

    @property
    def holder(self) -> FileRecord:
        """The file whose row and copy are the proof: the first one, for a duplicate."""
        return self.original or self.file


@dataclass(frozen=True, kw_only=True)
class Result:
    """What a stage has to say when it worked: new values for the file, and one line of history."""

    changes: Mapping[str, Any]
    detail: str
    receipt: Receipt | None = None
    leaned_on: tuple[str, ...] = ()  # dependencies that were seen to work, beside the stage's own
