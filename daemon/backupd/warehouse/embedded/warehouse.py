"""The embedded warehouse: Parquet files in directories that any engine reads.

    <root>/staging/<batch id>/file_date=YYYY-MM-DD/<batch id>.parquet
    <root>/production/file_date=YYYY-MM-DD/<batch id>.parquet
    <root>/production/file_date=YYYY-MM-DD/compacted-<id>.parquet
    <root>/replaced/<id>/
    <root>/.backupd-id

`file_date` goes by the name that the config gives that column. A file is written and flushed in
staging and comes into production by a rename, so that a reader of production sees whole files
alone. A batch makes one file a date and its name is the batch's id: what is in production already
is seen by its name, and a merge that was cut short goes on where it stopped. Compaction (see
`compaction`) puts one file in place of a date's many: what is in such a file is seen by its rows.
"""

from __future__ import annotations

import asyncio
import hashlib
import os
import secrets
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from functools import partial
from itertools import islice
from typing import TYPE_CHECKING, TypeVar

from backupd.core.dependencies import Dependency
from backupd.core.errors import (
    BackupdError,
    DependencyDownError,
    RewindError,
    TransientError,
)
from backupd.core.places import mark_state
from backupd.core.ports import Probe
from backupd.core.records import ID_FORM
from backupd.core.rows import RowKey
from backupd.core.stages import Stage
from backupd.core.times import DATE_FORM
from backupd.localfs.directory import CREATE
from backupd.localfs.whole import write_whole
from backupd.warehouse.columns import by_date, probe_row
from backupd.warehouse.embedded.compaction import advance, compact, remove_replaced
from backupd.warehouse.embedded.partitions import PRODUCTION, Partitions
from backupd.warehouse.embedded.roots import (
    OwnRoot,
    Root,
    VisitedRoot,
    mark_of,
    move,
    on_disk,
    remove_tree,
    sorted_names,
)
from backupd.warehouse.parquet import encode

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Collection, Iterator, Sequence

    from backupd.config.sections import WarehouseSection
    from backupd.core.ports import PlaceMemory
    from backupd.core.records import Batch
    from backupd.core.rows import Compaction, ProductionRow
    from backupd.localfs.directory import Directory
    from backupd.warehouse.embedded.compaction import Steps

T = TypeVar("T")

ANSWER_WITHIN = 120.0  # seconds; a disk that takes longer for a step is down
CLOSE_WITHIN = 5.0  # seconds
_AT_ONCE = 10_000  # ids of a file that are given out together
_STAGING = "staging"
_CREATE_TO_READ = CREATE & ~os.O_WRONLY | os.O_RDWR
_READ_BACK = "written, read back, removed"
_NOT_READ_BACK = "what was written is not what is read back"


class EmbeddedWarehouse:
    """`core.ports.Warehouse` on a local directory, `section.embedded_root`.

    The directory above it must exist. One thread does all the work, one call at a time: a call that
    was given up goes on to its end before the next one looks at what it left.
    """

    def __init__(
        self,
        section: WarehouseSection,
        memory: PlaceMemory | None = None,
        mark: str | None = None,
    ) -> None:
        """With a `memory` it is this process's own; without, it is visited, and bears this `mark`.

        A visitor without a mark goes by the directory's name alone.
        """
        self._path = section.embedded_root
        self._memory = memory
        self._mark = mark
        self._root: Root = VisitedRoot(self._path, mark)
        if memory is not None:
            self._root = OwnRoot(self._path, memory, self._has_one_of)
        self._columns = section.columns
        self._partitions = Partitions(self._path, section.columns)
        self._thread = ThreadPoolExecutor(1, "warehouse")
        self._is_own = memory is not None
        self._prepared: tuple[int, int] | None = None  # device and inode of the root

    async def load(self, batch: Batch, rows: Sequence[ProductionRow]) -> str:
        """Write the batch's files in staging, in place of what an earlier try left there."""
        return await self._run(self._load, batch.id, rows)

    async def merge(self, batch: Batch, rows: Sequence[ProductionRow]) -> Counter[str]:
        """Rename what is staged into production, read it back, clear the staging directory."""
        return await self._run(self._merge, batch.id, rows)

    async def find(self, keys: Collection[RowKey], *, by_others: bool = False) -> frozenset[str]:
        """Look through the partitions that `keys` name, and no others.

        With `by_others` through those files alone of whose rows the ledger may lack some.
        """
        return await self._run(self._find, keys, by_others)

    async def rows(self, dates: Collection[str]) -> AsyncIterator[RowKey]:
        """Yield every row of these partitions, a part of a file at a time."""
        for date in sorted(set(dates)):
            ids = self._ids_of(date)
            while part := await self._run(_some, ids):
                for file_id in part:
                    yield RowKey(file_id, date)

    async def file_sums(self, date: str) -> dict[str, str]:
        """Read each file of the partition."""
        sums, found = self._sums_of(date), dict[str, str]()
        while one := await self._run(next, sums, None):
            found.update([one])
        return found

    async def dates_to_compact(self, before: str) -> list[str]:
        """Look at all partitions before a date."""
        return await self._run(self._crowded, before)

    async def compact(self, date: str) -> Compaction:
        """Write one file with the rows of all, beside them, and put it in their place.

        Raises ValueError also where this is a visitor, who changes nothing.
        """
        steps = self._compaction(date)
        try:
            while (outcome := await self._run(advance, steps)) is None:
                pass
        finally:
            with suppress(RuntimeError):  # closed meanwhile: the next start removes what is left
                self._thread.submit(steps.close)
        return outcome

    async def discard(self, batch_id: str) -> None:
        """Remove the batch's staging directory."""
        await self._run(self._discard, batch_id)

    async def sweep(self, live: Collection[str]) -> list[str]:
        """Remove the staging directories of batches that are not `live`, and no others.

        With them goes what compaction replaced a day ago.
        """
        return await self._run(self._sweep, frozenset(live))

    # The port's arguments: an adapter that runs statements needs them.
    def statements(self, batch: Batch, rows: Sequence[ProductionRow]) -> list[str]:  # noqa: ARG002
        """Return nothing: files are moved, no statement is run."""
        return []

    def repairs(self, dates: Collection[str]) -> list[str]:  # noqa: ARG002
        """Return nothing: no batch makes a row twice here, and files are removed by hand."""
        return []

    async def probe(self) -> list[Probe]:
        """Write a row in staging and a file in production, read both back, remove them."""
        place = await self._probe("place", self._try_place)
        if not place.ok:
            return [place]
        return [
            place,
            await self._probe(f"{self._path}/{_STAGING}", self._try_staging),
            await self._probe(f"{self._path}/{PRODUCTION}", self._try_production),
        ]

    async def aclose(self) -> None:
        """Wait for the call at work, unless it hangs; those behind it are not begun."""
        ended = asyncio.get_running_loop().run_in_executor(ThreadPoolExecutor(1), self._end)
        await asyncio.wait([ended], timeout=CLOSE_WITHIN)

    def _end(self) -> None:
        """Keep others out until no call is at work any more, however long that takes."""
        self._thread.shutdown(cancel_futures=True)
        self._root.close()

    # ------------------------------------------------------------------ in the thread

    @contextmanager
    def _opened(self) -> Iterator[Directory]:
        """Open the root, and make once what a new warehouse lacks.

        What is missing later was unmounted: made anew, it would hide every row that is there. But
        another directory that bears the mark is a place that a person has moved it to.
        """
        with self._root.open() as root:
            about = root.stat()
            where = about.st_dev, about.st_ino
            if self._prepared is None or (self._is_own and self._prepared != where):
                for name in (_STAGING, PRODUCTION):
                    root.make(name).close()
                root.flush()
                self._prepared = where
            yield root

    def _load(self, batch_id: str, rows: Sequence[ProductionRow]) -> str:
        sums: dict[str, str] = {}
        with self._opened() as root, root.directory(_STAGING) as staging:
            remove_tree(staging, batch_id)
            with staging.make(batch_id) as staged:
                for date, rows_of_date in by_date(rows).items():
                    there = self._partitions.compacted(root, date, rows_of_date)
                    lacking = [row for row in rows_of_date if row.file_id not in there]
                    if not lacking:
                        continue
                    with staged.make(self._partitions.name(date)) as partition:
                        content = encode(lacking, self._columns)
                        write_whole(partition, f"{batch_id}.parquet", content)
                    name = f"{self._partitions.name(date)}/{batch_id}.parquet"
                    sums[name] = hashlib.sha256(content).hexdigest()
        if self._memory is not None and sums:
            self._memory.remember_files(sums)
        return f"{self._path}/{_STAGING}/{batch_id}"

    def _merge(self, batch_id: str, rows: Sequence[ProductionRow]) -> Counter[str]:
        seen: Counter[str] = Counter()
        with self._opened() as root:
            lacking: list[ProductionRow] = []
            for date, rows_of_date in by_date(rows).items():
                there = self._partitions.compacted(root, date, rows_of_date)
                name = self._publish(root, batch_id, rows_of_date, there)
                if name:
                    seen.update(self._partitions.ids(root, name))
                seen += there
                lacking += [row for row in rows_of_date if not name and row.file_id not in there]
            self._demand(root, batch_id, lacking)
            self._discard_in(root, batch_id)
        return seen

    def _demand(self, root: Directory, batch_id: str, rows: Sequence[ProductionRow]) -> None:
        """Make sure that these rows are in production, whoever made them."""
        keys = [RowKey(row.file_id, row.file_date) for row in rows]
        found = self._partitions.found(root, keys)
        if any(row.file_id not in found for row in rows):
            raise RewindError(Stage.LOAD, f"batch {batch_id} is neither staged nor merged")

    def _publish(
        self, root: Directory, batch_id: str, rows: Sequence[ProductionRow], there: Counter[str]
    ) -> str:
        """Bring one date of a batch into production, unless it is there.

        `there` are those of its rows that are in a file made of others. Returns the file's name; ""
        where nothing of this date is to be moved.
        """
        partition, name = self._partitions.name(rows[0].file_date), f"{batch_id}.parquet"
        staged, published = f"{_STAGING}/{batch_id}/{partition}", f"{PRODUCTION}/{partition}"
        with root.directory(PRODUCTION) as production:
            if root.find(f"{published}/{name}") is None:
                if len(there) == len(rows) or root.find(f"{staged}/{name}") is None:
                    return ""
                if there and there.keys() & set(self._partitions.ids(root, f"{staged}/{name}")):
                    raise RewindError(Stage.LOAD, f"rows of batch {batch_id} were compacted")
                with root.directory(staged) as source, production.make(partition) as target:
                    move(source, target, name)
            # Even when it was there: the try that moved it may have ended before it came to this.
            with production.directory(partition) as target:
                target.flush()
            production.flush()
        return f"{published}/{name}"

    def _find(self, keys: Collection[RowKey], by_others: bool) -> frozenset[str]:
        with self._opened() as root:
            try:
                return self._partitions.found(root, keys, self._memory if by_others else None)
            except TransientError as error:
                if not by_others:
                    raise
                # It may hold any row: none can be made until that is known.
                hint = "look who wrote it: repair it, or move it out of the table"
                raise DependencyDownError(Dependency.WAREHOUSE, str(error), hint=hint) from error

    def _has_one_of(self, root: Directory, keys: Sequence[RowKey]) -> bool:
        try:
            return any(self._partitions.found(root, [key]) for key in keys)
        except FileNotFoundError:  # not even the directory of the table
            return False

    def _sums_of(self, date: str) -> Iterator[tuple[str, str]]:
        with self._opened() as root:
            yield from self._partitions.sums(root, date)

    def _ids_of(self, date: str) -> Iterator[str]:
        with self._opened() as root:
            yield from self._partitions.all_ids(root, date)

    def _crowded(self, before: str) -> list[str]:
        with self._opened() as root:
            return self._partitions.crowded(root, before)

    def _compaction(self, date: str) -> Steps:
        if self._memory is None or not DATE_FORM.fullmatch(date):
            raise ValueError(f"{date!r} is not a date to compact here")
        with self._opened() as root:
            return (yield from compact(root, self._partitions.name(date), date, self._memory))

    def _discard(self, batch_id: str) -> None:
        with self._opened() as root:
            self._discard_in(root, batch_id)

    def _discard_in(self, root: Directory, batch_id: str) -> bool:
        # What is removed with all in it must never be another directory than a batch's.
        if not ID_FORM.fullmatch(batch_id):
            raise ValueError(f"{batch_id!r} is not a valid batch id")
        with root.directory(_STAGING) as staging:
            return remove_tree(staging, batch_id)

    def _sweep(self, live: frozenset[str]) -> list[str]:
        with self._opened() as root:
            found = sorted_names(root, _STAGING)
            stale = [name for name in found if ID_FORM.fullmatch(name) and name not in live]
            gone = [f"{_STAGING}/{name}" for name in stale if self._discard_in(root, name)]
            gone += remove_replaced(root, time.time())
        return [f"{self._path}/{name}" for name in gone]

    def _try_place(self) -> str:
        with self._opened() as root:
            return mark_state(mark_of(root), self._mark)

    def _try_staging(self) -> str:
        now = time.time()
        row = probe_row(now)  # its id is like a batch's, so that `sweep` finds what a kill leaves
        partition = self._partitions.name(row.file_date)
        written = f"{_STAGING}/{row.batch_id}/{partition}/{row.batch_id}.parquet"
        with self._opened() as root:
            try:
                self._load(row.batch_id, [row])
                if list(self._partitions.ids(root, written)) != [row.file_id]:
                    raise TransientError(_NOT_READ_BACK)
            finally:
                self._discard_in(root, row.batch_id)
        return _READ_BACK

    def _try_production(self) -> str:
        """Write where readers look, without a name that they could see."""
        name = f".backupd-probe-{secrets.token_hex(4)}.tmp"
        with self._opened() as root, root.directory(PRODUCTION) as production:
            descriptor = production.open(name, _CREATE_TO_READ)
            with os.fdopen(descriptor, "wb+") as file:
                production.unlink(name)
                file.write(b"probe")
                file.flush()
                os.fsync(descriptor)
                file.seek(0)
                if file.read() != b"probe":
                    raise TransientError(_NOT_READ_BACK)
        return _READ_BACK

    # ------------------------------------------------------------------ above the thread

    async def _probe(self, what: str, attempt: Callable[[], str]) -> Probe:
        subject = f"warehouse {what}"
        try:
            detail = await self._run(attempt)
        except BackupdError as error:
            return Probe(subject, ok=False, detail=str(error), hint=error.hint)
        return Probe(subject, ok=True, detail=detail)

    async def _run(self, work: Callable[..., T], *args: object) -> T:
        """Run in the warehouse's thread. Raises DependencyDownError when its disk is at fault."""
        return await on_disk(self._thread, partial(work, *args), ANSWER_WITHIN, self._down)

    def _down(self, problem: str, hint: str) -> DependencyDownError:
        message = f"the warehouse at {self._path} {problem}"
        return DependencyDownError(Dependency.WAREHOUSE, message, hint=hint)


def _some(ids: Iterator[str]) -> list[str]:
    return list(islice(ids, _AT_ONCE))
