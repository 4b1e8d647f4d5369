"""The embedded warehouse: Parquet files in directories that any engine reads.

    <root>/staging/<batch id>/file_date=YYYY-MM-DD/<batch id>.parquet
    <root>/production/file_date=YYYY-MM-DD/<batch id>.parquet
    <root>/.backupd-id

`file_date` goes by the name that the config gives that column. A file is written and flushed in
staging and comes into production by a rename, so that a reader of production sees whole files
alone. A batch makes one file a date and its name is the batch's id: what is in production already
is seen by its name, and a merge that was cut short goes on where it stopped.
"""

from __future__ import annotations

import asyncio
import errno
import hashlib
import os
import secrets
import time
from collections import Counter, defaultdict
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial
from itertools import islice
from pathlib import PurePath
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
from backupd.localfs.directory import CREATE
from backupd.localfs.whole import write_whole
from backupd.warehouse.columns import PARTITION, by_date, probe_row
from backupd.warehouse.embedded.roots import (
    OwnRoot,
    Root,
    VisitedRoot,
    mark_of,
    move,
    remove_tree,
    sorted_names,
)
from backupd.warehouse.parquet import encode, file_ids

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Collection, Iterable, Iterator, Sequence

    from backupd.config.sections import WarehouseSection
    from backupd.core.ports import PlaceMemory
    from backupd.core.records import Batch
    from backupd.core.rows import ProductionRow
    from backupd.localfs.directory import Directory

T = TypeVar("T")

ANSWER_WITHIN = 120.0  # seconds; a disk that takes longer for a step is down
CLOSE_WITHIN = 5.0  # seconds
_AT_ONCE = 10_000  # ids of a file that are given out together
_STAGING, _PRODUCTION = "staging", "production"
_CREATE_TO_READ = CREATE & ~os.O_WRONLY | os.O_RDWR
_READ_BACK = "written, read back, removed"
_NOT_READ_BACK = "what was written is not what is read back"
_HINTS = {
    errno.ENOSPC: "free some space there",
    errno.EDQUOT: "free some space there, or raise the quota",
    errno.EROFS: "mount its file system for writing",
    errno.EIO: "look at the kernel's messages about its disk",
    errno.EXDEV: "keep staging and production on one file system",
    errno.EACCES: "let the user that runs backupd write there",
    errno.EPERM: "let the user that runs backupd write there",
    errno.ELOOP: "put a directory there in place of the symbolic link",
    errno.ENOTDIR: "put a directory there in place of what stands in its way",
}


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

        With `by_others` through those files alone that the ledger does not know.
        """
        return await self._run(self._find, keys, by_others)

    async def rows(self, dates: Collection[str]) -> AsyncIterator[RowKey]:
        """Yield every row of these partitions, a part of a file at a time."""
        for date in sorted(set(dates)):
            for name in await self._run(self._files, date):
                ids = self._ids_of(name)
                while part := await self._run(_some, ids):
                    for file_id in part:
                        yield RowKey(file_id, date)

    async def file_sums(self, date: str) -> dict[str, str]:
        """Read each file of the partition."""
        names = await self._run(self._files, date)
        return {
            name.removeprefix(f"{_PRODUCTION}/"): await self._run(self._sum, name) for name in names
        }

    async def discard(self, batch_id: str) -> None:
        """Remove the batch's staging directory."""
        await self._run(self._discard, batch_id)

    async def sweep(self, live: Collection[str]) -> list[str]:
        """Remove the staging directories of batches that are not `live`, and no others."""
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
            await self._probe(f"{self._path}/{_PRODUCTION}", self._try_production),
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
                for name in (_STAGING, _PRODUCTION):
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
                    with staged.make(self._partition(date)) as partition:
                        content = encode(rows_of_date, self._columns)
                        write_whole(partition, f"{batch_id}.parquet", content)
                    name = f"{self._partition(date)}/{batch_id}.parquet"
                    sums[name] = hashlib.sha256(content).hexdigest()
        if self._memory is not None:
            self._memory.remember_files(sums)
        return f"{self._path}/{_STAGING}/{batch_id}"

    def _merge(self, batch_id: str, rows: Sequence[ProductionRow]) -> Counter[str]:
        with self._opened() as root:
            dates = by_date(rows)
            published = {date: self._publish(root, batch_id, date) for date in dates}
            lacking = [row for date, name in published.items() if not name for row in dates[date]]
            self._demand(root, batch_id, lacking)
            names = filter(None, published.values())
            seen = Counter(file_id for name in names for file_id in self._ids(root, name))
            self._discard_in(root, batch_id)
        return seen

    def _demand(self, root: Directory, batch_id: str, rows: Sequence[ProductionRow]) -> None:
        """Make sure that these rows are in production, whoever made them."""
        found = self._found_in(root, [RowKey(row.file_id, row.file_date) for row in rows])
        if any(row.file_id not in found for row in rows):
            raise RewindError(Stage.LOAD, f"batch {batch_id} is neither staged nor merged")

    def _publish(self, root: Directory, batch_id: str, date: str) -> str:
        """Bring one date of a batch into production, unless it is there.

        Returns its name; "" where nothing of this date is staged or merged.
        """
        partition, name = self._partition(date), f"{batch_id}.parquet"
        staged, published = f"{_STAGING}/{batch_id}/{partition}", f"{_PRODUCTION}/{partition}"
        with root.directory(_PRODUCTION) as production:
            if root.find(f"{published}/{name}") is None:
                if root.find(f"{staged}/{name}") is None:
                    return ""
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
                return self._found_in(root, keys, by_others=by_others)
            except TransientError as error:
                if not by_others:
                    raise
                # It may hold any row: none can be made until that is known.
                hint = "look who wrote it: repair it, or move it out of the table"
                raise DependencyDownError(Dependency.WAREHOUSE, str(error), hint=hint) from error

    def _found_in(
        self, root: Directory, keys: Iterable[RowKey], *, by_others: bool = False
    ) -> frozenset[str]:
        wanted: dict[str, list[RowKey]] = defaultdict(list)
        for key in keys:
            wanted[key.file_date].append(key)
        found: set[str] = set()
        for date, of_date in wanted.items():
            missing = {key.file_id for key in of_date}
            names = self._files_in(root, date)
            if by_others:
                names = self._unknown(names)
            for name in _likely_first(names, of_date):
                if not missing:
                    break
                if by_others and self._is_strange(root, name):
                    continue
                there = missing.intersection(self._ids(root, name))
                missing -= there
                found |= there
        return frozenset(found)

    def _is_strange(self, root: Directory, name: str) -> bool:
        """Return whether a file is neither named as a batch's nor can be read: no row is in it."""
        if ID_FORM.fullmatch(PurePath(name).stem):
            return False
        try:
            for _ in self._ids(root, name):
                return False
        except TransientError:
            return True
        return False

    def _unknown(self, names: list[str]) -> list[str]:
        """Return those that the ledger does not know, if there is one."""
        if self._memory is None:
            return names
        inside = {name: name.removeprefix(f"{_PRODUCTION}/") for name in names}
        known = self._memory.known_files(inside.values())
        return [name for name in names if inside[name] not in known]

    def _has_one_of(self, root: Directory, keys: Sequence[RowKey]) -> bool:
        try:
            return any(self._found_in(root, [key]) for key in keys)
        except FileNotFoundError:  # not even the directory of the table
            return False

    def _files(self, date: str) -> list[str]:
        with self._opened() as root:
            return self._files_in(root, date)

    def _files_in(self, root: Directory, date: str) -> list[str]:
        """Return the Parquet files of one partition, oldest batch first."""
        partition = self._partition(date)
        with root.directory(_PRODUCTION) as production:
            names = sorted_names(production, partition)
        return [f"{_PRODUCTION}/{partition}/{name}" for name in names if name.endswith(".parquet")]

    def _sum(self, name: str) -> str:
        with self._opened() as root, os.fdopen(root.open(name), "rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()

    def _ids_of(self, name: str) -> Iterator[str]:
        with self._opened() as root:
            yield from self._ids(root, name)

    def _ids(self, root: Directory, name: str) -> Iterator[str]:
        with os.fdopen(root.open(name), "rb") as file:
            yield from file_ids(file, self._columns["file_id"], f"{self._path}/{name}")

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
            gone = [name for name in stale if self._discard_in(root, name)]
        return [f"{self._path}/{_STAGING}/{name}" for name in gone]

    def _partition(self, date: str) -> str:
        return f"{self._columns[PARTITION]}={date}"

    def _try_place(self) -> str:
        with self._opened() as root:
            return mark_state(mark_of(root), self._mark)

    def _try_staging(self) -> str:
        now = time.time()
        row = probe_row(now)  # its id is like a batch's, so that `sweep` finds what a kill leaves
        written = (
            f"{_STAGING}/{row.batch_id}/{self._partition(row.file_date)}/{row.batch_id}.parquet"
        )
        with self._opened() as root:
            try:
                self._load(row.batch_id, [row])
                if list(self._ids(root, written)) != [row.file_id]:
                    raise TransientError(_NOT_READ_BACK)
            finally:
                self._discard_in(root, row.batch_id)
        return _READ_BACK

    def _try_production(self) -> str:
        """Write where readers look, without a name that they could see."""
        name = f".backupd-probe-{secrets.token_hex(4)}.tmp"
        with self._opened() as root, root.directory(_PRODUCTION) as production:
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
        loop = asyncio.get_running_loop()
        try:
            async with asyncio.timeout(ANSWER_WITHIN):
                return await loop.run_in_executor(self._thread, partial(work, *args))
        except TimeoutError as error:
            message = f"the warehouse at {self._path} did not answer in {ANSWER_WITHIN:.0f} s"
            hint = "look whether its disk hangs"
            raise DependencyDownError(Dependency.WAREHOUSE, message, hint=hint) from error
        except OSError as error:
            message = f"the warehouse at {self._path} cannot be used: {error}"
            hint = _HINTS.get(error.errno or 0, "see that its file system is mounted and has it")
            raise DependencyDownError(Dependency.WAREHOUSE, message, hint=hint) from error


def _some(ids: Iterator[str]) -> list[str]:
    return list(islice(ids, _AT_ONCE))


def _likely_first(names: list[str], keys: Iterable[RowKey]) -> list[str]:
    """Put those files first that the batches of these keys have made."""
    likely = {f"{key.batch_id}.parquet" for key in keys}
    return sorted(names, key=lambda name: name.rpartition("/")[2] not in likely)
