"""The ports: what the pipeline asks of a warehouse and of an archive.

Every method raises `TransientError`, `PermanentError`, `DependencyDownError` or
`UnknownOutcomeError` (see `errors`) and nothing else of its library's. All are async; blocking
drivers live in threads inside the adapters. Every call ends within a bound.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from backupd.core.records import Result, Task, VerifiedBy

if TYPE_CHECKING:
    from collections import Counter
    from collections.abc import AsyncGenerator, AsyncIterator, Collection, Mapping, Sequence
    from contextlib import AbstractAsyncContextManager

    from backupd.core.places import Witness
    from backupd.core.records import Batch, Identity
    from backupd.core.rows import ProductionRow, RowKey, Statement


@dataclass(frozen=True, slots=True)
class Checksum:
    """What the archive holds under a name. `how` says how it is known.

    `sha256` is "" where something stands there that is no regular file: a link is never followed,
    and nothing is read.
    """

    sha256: str
    how: VerifiedBy


NOT_A_FILE = Checksum("", VerifiedBy.READBACK)
Work = Callable[[Task], Awaitable[Result]]  # what a stage does with one file


@dataclass(frozen=True, slots=True)
class Published:
    """How a file got its final name: by `rename`, `link` or `claim`, none of which replaces.

    `flushed`: the archive confirmed that the content is on its disk.
    """

    flushed: bool
    named_by: str


@dataclass(frozen=True, slots=True)
class Probe:
    """One line of `check --probe`: what was tried, how it went, what to do about a failure."""

    subject: str
    ok: bool
    detail: str
    hint: str = ""


class Warehouse(Protocol):
    """The partitioned production table, and the staging in front of it.

    One batch is loaded, then merged; both may be repeated any number of times with the same rows
    and the production table then holds each of them once.
    """

    async def load(self, batch: Batch, rows: Sequence[ProductionRow]) -> str:
        """Stage the rows under the batch's id, replacing what an earlier try staged.

        Nothing shows in the production table yet. Returns where they are staged, for people.
        Raises PermanentError when a row is not acceptable (the batch is split to find it).
        """
        ...

    async def merge(self, batch: Batch, rows: Sequence[ProductionRow]) -> Counter[str]:
        """Bring what `load` staged into production; return how many rows each file id has there.

        `rows` are those of the whole batch, also those that `load` was not given because they were
        in production: these may be missing in the answer. A file id with more than one row is a
        fault to report. Merging a merged batch changes nothing. Raises RewindError to `load` when a
        row is neither staged nor in production. A PermanentError promises that nothing of the batch
        is in production.
        """
        ...

    async def find(self, keys: Collection[RowKey], *, by_others: bool = False) -> frozenset[str]:
        """Return the ids among `keys` that have a row in production (whatever batch made it).

        With `by_others`, before a load, those may be left out whose files the ledger would know, or
        that `merge` will notice by itself.
        """
        ...

    def rows(self, dates: Collection[str]) -> AsyncIterator[RowKey]:
        """Yield every row of these partitions, doubled ones as often as they are there."""
        ...

    async def file_sums(self, date: str) -> dict[str, str]:
        """Return the SHA-256 of each file of a partition, by name; none where the disk keeps them.

        They are those that `PlaceMemory.remember_files` was given, unless something was damaged.
        """
        ...

    async def discard(self, batch_id: str) -> None:
        """Remove what is staged for a batch. Nothing staged is no error; production stays."""
        ...

    async def sweep(self, live: Collection[str]) -> list[str]:
        """Remove our leftovers of batches that are not `live`; return what was removed."""
        ...

    def statements(self, batch: Batch, rows: Sequence[ProductionRow]) -> list[str]:
        """Return the statements that a load and merge of this batch runs; none: an empty list."""
        ...

    def repairs(self, dates: Collection[str]) -> list[str]:
        """Return the statements that leave one row of each file in these partitions.

        For people, and for when no batch is merged meanwhile; an empty list where files are moved.
        """
        ...

    async def probe(self) -> list[Probe]:
        """Try it for real: write, read back, remove. Failures are reported in the answer."""
        ...

    async def aclose(self) -> None:
        """Let go of connections and threads."""
        ...


class StatementLog(Protocol):
    """Remembers the statement that each batch came to last, over the death of the process.

    Its methods block until it is durable: they are for the threads of adapters.
    """

    def write(self, statement: Statement) -> None:
        """Remember it in place of the batch's last one."""
        ...

    def possibly_running(self) -> list[Statement]:
        """Return those of all batches that may still run: they have a session."""
        ...

    def known_batches(self, batch_ids: Collection[str]) -> set[str]:
        """Return those that are batches of this ledger."""
        ...

    def complete_since(self) -> str:
        """Return the id from which on all files of every batch are known.

        Files of older batches may have been forgotten, though the batch is known.
        """
        ...

    def forget(self, batch_id: str) -> None:
        """Forget the batch's: its end is known."""
        ...

    def note_servers(self, in_use: Mapping[str, str]) -> None:
        """Remember which servers are in use, host:port by what they are, for people."""
        ...


class PlaceMemory(Protocol):
    """Remembers a place's mark (see `core.places`), and what is in it, over the process's death.

    Its methods block: they are for the threads of adapters.
    """

    def expected(self) -> str | None:
        """Return the mark that the place must bear; None: it was never used."""
        ...

    def remember(self, mark: str) -> None:
        """Have it durable that the place bears this mark."""
        ...

    def remember_files(self, sums: Mapping[str, str]) -> None:
        """Have the SHA-256 of files durable, by their names in the table."""
        ...

    def known_files(self, names: Collection[str]) -> dict[str, str]:
        """Return what `remember_files` was given of these names, the SHA-256 by name."""
        ...

    def complete_since(self) -> str:
        """Return the id from which on all files of every batch are known.

        Whose rows are in what older batches have written may have been forgotten.
        """
        ...

    def forget_files(self, names: Collection[str]) -> None:
        """Forget files that are in the table no more."""
        ...

    def row_witnesses(self) -> list[RowKey]:
        """Return rows that must be in the table, if it is the one that the ledger means."""
        ...


class Refresher(Protocol):
    """A reader of the production table with a cache of its own: it must be notified of new rows."""

    @property
    def table(self) -> str:
        """The production table's name, quoted as it stands in statements."""
        ...

    async def refresh(self, table: str, dates: Sequence[str]) -> None:
        """Have it look again, at the partitions of these dates or at more.

        May be repeated at will. Raises DependencyDownError, of Impala.
        """
        ...

    async def aclose(self) -> None:
        """Let go of connections and threads."""
        ...


class Totals(Protocol):
    """What went through a stream: of the bytes read, and of those given out."""

    @property
    def sha256(self) -> str:
        """SHA-256 of the bytes read."""
        ...

    @property
    def sent_bytes(self) -> int:
        """Bytes given out."""
        ...

    @property
    def sent_sha256(self) -> str:
        """SHA-256 of the bytes given out."""
        ...


class Stream(Protocol):
    """The single pass over an open file: read, hash, compress, hash again."""

    @property
    def totals(self) -> Totals:
        """The sums, once `blocks` has come to its end."""
        ...

    def blocks(self) -> AsyncGenerator[bytes]:
        """Yield what is to be sent. Close it (`contextlib.aclosing`) before the file is closed."""
        ...


RunStep = Callable[[Callable[[], bytes]], Awaitable[bytes]]
"""Makes a call that blocks, in a thread."""


class OpenStream(Protocol):
    """Makes a stream of an open file."""

    def __call__(self, fd: int, run: RunStep, *, compress: bool) -> Stream:
        """`compress` as gzip, or give out the bytes as they are."""
        ...


class Upload(Protocol):
    """A file on its way into the archive, under its temporary name."""

    @property
    def part_name(self) -> str:
        """The temporary name, without its directory."""
        ...

    async def write(self, block: bytes) -> None:
        """Append a block. May return before the block arrived; an error may show later."""
        ...

    async def publish(self) -> Published:
        """Wait for all blocks, flush to disk, give the final name, never over another file.

        The new name itself is only on the disk after `Archive.flush`. Raises NameTakenError when
        the final name exists; UnknownOutcomeError when the answer was lost.
        """
        ...


class Archive(Protocol):
    """Where files are shipped. Names are relative to its root, parts separated by `/`.

    No symbolic link below the root is followed: one on the way to a file is a RefusedError, one
    in the place of a file is not a file.

    Once the archive was identified, everything is done only in the place that bears the mark.
    Nothing is reported missing where the mark is missing: DependencyDownError is raised then.
    """

    async def identify(self, expected: str | None, witnesses: Sequence[Witness]) -> str:
        """Make sure that this is the place that the ledger means; return its mark.

        Without an `expected` mark the one that is there is taken over, a missing one written; where
        there are witnesses, only after one of them was found. Raises DependencyDownError when this
        is another place.
        """
        ...

    async def mark(self) -> str:
        """Return the mark that is there; write one where none is. For `check --new-place`."""
        ...

    async def size(self, name: str) -> int | None:
        """Return the size in bytes of what stands under the final name.

        None: nothing there; -1: something that is not a regular file, as a directory. Where there
        are none, whatever has names below it counts as one.
        """
        ...

    async def checksum(self, name: str) -> Checksum | None:
        """Return the SHA-256 of what the archive holds under a name; None: nothing there."""
        ...

    async def flush(self, name: str) -> bool:
        """Have the name itself on the archive's disk, so that a power cut does not forget it.

        Looks at the archive's mark once more: what was published is in the place that is meant.
        Returns whether the archive confirmed it. Many at once cost little more than one.
        """
        ...

    def contents(self, name: str) -> AsyncGenerator[bytes]:
        """Read back what stands under a name. PermanentError when no file does."""
        ...

    async def is_same_file(self, name: str, identity: Identity) -> bool:
        """Return whether a name is another name of this local file, as far as can be known."""
        ...

    def upload(
        self, name: str, part_id: str, expected_bytes: int
    ) -> AbstractAsyncContextManager[Upload]:
        """Begin a file: directories are made, free space is asked for where it can be known.

        The temporary name is `.<file name>.<part_id>.part` in the same directory, shortened where
        it would be too long; `part_id` begins with the file's id, up to a `.`. Left without
        `publish`, the temporary file is removed where possible.
        Raises RefusedError when there is no room for `expected_bytes`.
        """
        ...

    async def discard_parts(self, name: str, part_ids: Collection[str]) -> None:
        """Remove temporary files that earlier tries left. Not there is no error."""
        ...

    async def names(self, directory: str) -> list[str]:
        """Return the names of all that stands in a directory; none where it is missing.

        For small directories of our own: all of it is read.
        """
        ...

    async def remove_snapshot(self, name: str) -> None:
        """Remove a snapshot of a ledger. Not there is no error.

        PermanentError for any other name (`core.snapshots`): no other file is ever removed.
        """
        ...

    async def probe(
        self,
        directories: Collection[str],
        expected: str | None = None,
        shows_up: Callable[[str], str | None] | None = None,
    ) -> list[Probe]:
        """Try it for real in each directory: write, read back, remove.

        `expected` is the mark that it must bear; None where the ledger knows none. `shows_up` says
        in which feed's directory a file of this name is; None: in none.
        """
        ...

    async def aclose(self) -> None:
        """Close connections."""
        ...
