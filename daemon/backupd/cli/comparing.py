"""Compares what the ledger says with what the warehouse, the archive and this host hold."""

from __future__ import annotations

import asyncio
import os
from array import array
from bisect import bisect_left, bisect_right
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING

from backupd.core.errors import PermanentError, TransientError
from backupd.core.history import Past
from backupd.core.names import escaped
from backupd.core.records import Identity
from backupd.core.stages import Status
from backupd.ledger import files as ledger_files
from backupd.ledger import places, remembered, stories
from backupd.stages import key_of

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterable, Iterator, Mapping, Sequence

    from backupd.core.history import History
    from backupd.core.ports import Archive, Warehouse
    from backupd.core.records import FileRecord, Receipt
    from backupd.core.rows import RowKey
    from backupd.ledger import LedgerReader

_CHECKSUMS = 32  # at once: an archive answers many together faster than one by one
_PART = 5_000  # rows of a date that are looked up in the ledger at once
_ASKED = 100_000  # rows that are looked up in the history at once: it is read anew for each look
_DATES = 4  # whose rows are kept in memory: files come roughly in the order of their dates
_UNKNOWN = "a row in production under {} of a file that the ledger does not know"


@dataclass(frozen=True, slots=True, kw_only=True)
class Difference:
    """One thing that is not as the ledger says. `file` is None where the ledger has none."""

    kind: str  # as the help of `reconcile` lists them
    id: str
    file: FileRecord | None
    detail: str


class Comparison:
    """Takes the ledger's files a page at a time and yields what differs.

    The ledger is read before the warehouse, and what the ledger lacks is asked for once more after
    it, so that a daemon at work makes no differences.
    """

    def __init__(
        self,
        reader: LedgerReader,
        warehouse: Warehouse,
        archive: Archive,
        past: History | None = None,
        *,
        all_feeds: bool,
    ) -> None:
        """`all_feeds`: also report rows that nobody knows here; no feed can claim them.

        `past`: where to look for those of files that left the ledger.
        """
        self._reader = reader
        self._past = past
        self._warehouse = warehouse
        self._archive = archive
        self._all_feeds = all_feeds
        self._seen_dates: set[str] = set()
        self._unread_dates: set[str] = set()
        self._rows: dict[str, Tally] = {}
        self._strange: list[tuple[str, str]] = []  # date and id of rows that the ledger lacks
        self._turns = asyncio.Semaphore(_CHECKSUMS)

    async def page(
        self, files: Sequence[FileRecord], receipts: Mapping[str, Receipt] | None = None
    ) -> AsyncIterator[Difference]:
        """Yield what differs of these files, and of the dates that they are the first of.

        Rows that are not known are told by `unknown`, at the latest after the last page.
        Their receipts are in the ledger, or given by file id.
        """
        registered = [file for file in files if file.row_seen_at is not None]
        for date, those in _by_date(registered).items():
            async for difference in self._rows_of(date, those):
                yield difference
        if receipts is None:
            receipts = self._reader.ask(stories.receipts_of, [file.id for file in files])
        for difference in await self._copies(files, receipts):
            yield difference
        for difference in await asyncio.to_thread(lambda: list(_left(files))):
            yield difference

    # -- rows ------------------------------------------------------------------------------------

    async def _rows_of(self, date: str, files: Sequence[FileRecord]) -> AsyncIterator[Difference]:
        if date not in self._rows and date not in self._unread_dates:
            async for difference in self._first_look(date):
                yield difference
        if date in self._unread_dates:
            return
        rows = self._rows[date]
        missing = [file for file in files if not rows[file.row_id]]
        # Looked for anew: the rows of this date may have been read before the file was merged.
        there = await self._warehouse.find([key_of(file) for file in missing])
        for file in missing:
            if file.row_id not in there:
                detail = f"no row in production under {date}"
                yield Difference(kind="row-missing", id=file.id, file=file, detail=detail)
        for file in files:
            if rows[file.row_id] > 1:
                detail = f"{rows[file.row_id]} rows in production under {date}"
                yield Difference(kind="row-doubled", id=file.id, file=file, detail=detail)

    async def _first_look(self, date: str) -> AsyncIterator[Difference]:
        """Yield what is wrong with a date, whichever files are asked for; count its rows."""
        is_new = date not in self._seen_dates
        self._seen_dates.add(date)
        if is_new:
            async for difference in self._damaged(date):
                yield difference
        try:
            async for difference in self._load(date, tells_unknown=is_new and self._all_feeds):
                yield difference
        except TransientError as error:
            self._unread_dates.add(date)
            yield Difference(kind="rows-unread", id=date, file=None, detail=str(error))

    async def _damaged(self, date: str) -> AsyncIterator[Difference]:
        """Yield the files of the table that are not as they were written."""
        found = await self._warehouse.file_sums(date)
        written = self._reader.ask(places.warehouse_sums, list(found))
        for name, sha256 in found.items():
            if sha256 != written.get(name, sha256):  # older versions kept no sums
                detail = f"{name} has the SHA-256 {sha256}, it was written with {written[name]}"
                batch_id = name.rpartition("/")[2].removesuffix(".parquet")
                yield Difference(kind="rows-damaged", id=batch_id, file=None, detail=detail)

    async def _load(self, date: str, *, tells_unknown: bool) -> AsyncIterator[Difference]:
        """Count the rows of a date, and note those that the ledger does not know."""
        while len(self._rows) >= _DATES:
            del self._rows[next(iter(self._rows))]
        rows = Tally()
        async for ids in _in_parts(self._warehouse.rows([date])):
            rows.add(ids)
            if tells_unknown:
                self._note_strange(date, ids)
            if len(self._strange) >= _ASKED:
                for difference in await self.unknown():
                    yield difference
        rows.sort()
        self._rows[date] = rows

    def _note_strange(self, date: str, ids: Sequence[str]) -> None:
        known = self._reader.ask(ledger_files.known_row_ids, ids)
        rest = set(ids) - known
        known |= set(self._reader.ask(remembered.known, filter(remembered.is_key, rest)))
        self._strange += [(date, row_id) for row_id in ids if row_id not in known]

    async def unknown(self) -> list[Difference]:
        """Return the rows of the dates so far that neither ledger nor history knows, once each."""
        strange, self._strange = self._strange, []
        in_history = await self._in_history({row_id for _, row_id in strange})
        return [
            Difference(kind="row-unknown", id=row_id, file=None, detail=_UNKNOWN.format(date))
            for date, row_id in strange
            if row_id not in in_history
        ]

    async def _in_history(self, ids: set[str]) -> set[str]:
        if self._past is None or not ids:
            return set()
        return {story.file.row_id or "" async for story in self._past.find(Past(row_ids=ids))}

    # -- archive -----------------------------------------------------------------------------------

    async def _copies(
        self, files: Sequence[FileRecord], receipts: Mapping[str, Receipt]
    ) -> list[Difference]:
        try:
            async with asyncio.TaskGroup() as group:
                tasks = [
                    group.create_task(self._copy(file, receipts[file.id]))
                    for file in files
                    if file.id in receipts
                ]
        except ExceptionGroup as errors:  # the archive is down: the first of them says it all
            raise errors.exceptions[0] from None
        return [difference for task in tasks if (difference := task.result())]

    async def _copy(self, file: FileRecord, receipt: Receipt) -> Difference | None:
        name = escaped(receipt.archive_name)
        async with self._turns:
            try:
                found = await self._archive.checksum(receipt.archive_name)
            except (TransientError, PermanentError) as error:
                detail = f"{name} could not be looked at: {error}"
                return Difference(kind="copy-unchecked", id=file.id, file=file, detail=detail)
        if found is None:
            detail = f"{name} is not in the archive"
            return Difference(kind="copy-missing", id=file.id, file=file, detail=detail)
        if found.sha256 != receipt.remote_sha256:
            what = found.sha256 or found.how
            detail = f"{name} is {what}, its receipt says {receipt.remote_sha256}"
            return Difference(kind="copy-differs", id=file.id, file=file, detail=detail)
        return None


async def _in_parts(rows: AsyncIterator[RowKey]) -> AsyncIterator[list[str]]:
    """Yield the rows' ids, some at a time."""
    ids: list[str] = []
    async for key in rows:
        ids.append(key.file_id)
        if len(ids) == _PART:
            yield ids
            ids = []
    yield ids


def _by_date(files: Sequence[FileRecord]) -> dict[str, list[FileRecord]]:
    dates: dict[str, list[FileRecord]] = {}
    for file in files:
        dates.setdefault(file.file_date or "", []).append(file)
    return dates


def _left(files: Sequence[FileRecord]) -> Iterator[Difference]:
    """Yield the files that were deleted and are still there, not newer ones of the same name."""
    for file in files:
        if file.status is not Status.DONE or file.local:
            continue
        with suppress(OSError):
            if Identity.of(os.lstat(file.path)) == file.identity:
                detail = "deleted by the ledger's account, yet still there"
                yield Difference(kind="local-left", id=file.id, file=file, detail=detail)


_TALLY_PARTS = 256  # so that little is sorted at once: that takes several times its own memory


class Tally:
    """How often each id came.

    Ids are kept as their hashes of 64 bits, which are others in each process: that any two of two
    million ids share one happens once in ten million times.
    """

    def __init__(self) -> None:
        self._parts = [array("q") for _ in range(_TALLY_PARTS)]

    def add(self, ids: Iterable[str]) -> None:
        """Count these too. `sort` before any is asked for."""
        for hashed in map(hash, ids):
            self._parts[hashed % _TALLY_PARTS].append(hashed)

    def sort(self) -> None:
        """Make ready to be asked."""
        for place, part in enumerate(self._parts):
            self._parts[place] = array("q", sorted(part))

    def __getitem__(self, id_: str | None) -> int:
        """Return how often this id came."""
        hashed = hash(id_)
        part = self._parts[hashed % _TALLY_PARTS]
        return bisect_right(part, hashed) - bisect_left(part, hashed)
