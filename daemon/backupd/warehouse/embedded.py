"""The embedded warehouse: Parquet files in directories that any engine reads.

    <root>/staging/<batch id>/file_date=YYYY-MM-DD/<batch id>.parquet
    <root>/production/file_date=YYYY-MM-DD/<batch id>.parquet

`file_date` goes by the name that the config gives that column. A file is written and flushed in
staging and comes into production by a rename, so that a reader of production sees whole files
alone. A batch makes one file a date and its name is the batch's id: what is in production already
is seen by its name, and a merge that was cut short goes on where it stopped.
"""

from __future__ import annotations

import asyncio
import errno
import os
import re
import tempfile
import time
from collections import Counter, defaultdict
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import TYPE_CHECKING, TypeVar

from backupd.core.errors import (
    BackupdError,
    DependencyDownError,
    RewindError,
    TransientError,
)
from backupd.core.ports import Probe, RowKey
from backupd.core.stages import Stage
from backupd.warehouse.columns import PARTITION
from backupd.warehouse.disk import (
    entries,
    make_directory,
    remove_tree,
    sync_directory,
    write_file,
)
from backupd.warehouse.parquet import encode, file_ids
from backupd.warehouse.partitions import by_date, probe_row

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Collection, Sequence
    from pathlib import Path

    from backupd.config.sections import WarehouseSection
    from backupd.core.records import Batch, ProductionRow

T = TypeVar("T")

ANSWER_WITHIN = 120.0  # seconds; a disk that takes longer for a step is down
_ID = re.compile(r"[0-9a-f]{20}")  # core.records.new_id
_HINTS = {
    errno.ENOSPC: "free some space there",
    errno.EDQUOT: "free some space there, or raise the quota",
    errno.EROFS: "mount its file system for writing",
    errno.EIO: "look at the kernel's messages about its disk",
    errno.EXDEV: "keep staging and production on one file system",
    errno.EACCES: "let the user that runs backupd write there",
    errno.EPERM: "let the user that runs backupd write there",
}


class EmbeddedWarehouse:
    """`core.ports.Warehouse` on a local directory, `section.embedded_root`.

    The directory above it must exist. One thread does all the work, one call at a time: a call that
    was given up goes on to its end before the next one looks at what it left.
    """

    def __init__(self, section: WarehouseSection) -> None:
        self._root = section.embedded_root
        self._staging = self._root / "staging"
        self._production = self._root / "production"
        self._columns = section.columns
        self._partition = section.columns[PARTITION]
        self._thread = ThreadPoolExecutor(1, "warehouse")
        self._prepared = False

    async def load(self, batch: Batch, rows: Sequence[ProductionRow]) -> str:
        """Write the batch's files in staging, in place of what an earlier try left there."""
        return await self._run(self._load, batch.id, rows)

    async def merge(self, batch: Batch, rows: Sequence[ProductionRow]) -> Counter[str]:
        """Rename what is staged into production, read it back, clear the staging directory."""
        return await self._run(self._merge, batch.id, rows)

    async def find(self, keys: Collection[RowKey]) -> frozenset[str]:
        """Look through the partitions that `keys` name, and no others."""
        return await self._run(self._find, keys)

    async def rows(self, dates: Collection[str]) -> AsyncIterator[RowKey]:
        """Yield every row of these partitions, a file at a time."""
        for date in sorted(set(dates)):
            for path in await self._run(self._files, date):
                for file_id in await self._run(self._ids, path):
                    yield RowKey(file_id, date)

    async def discard(self, batch_id: str) -> None:
        """Remove the batch's staging directory."""
        await self._run(remove_tree, self._staged(batch_id))

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
        return [
            await self._probe(self._staging, self._try_staging),
            await self._probe(self._production, self._try_production),
        ]

    async def aclose(self) -> None:
        """Wait for the call at work; those behind it are not begun."""
        await asyncio.to_thread(self._thread.shutdown, cancel_futures=True)

    # ------------------------------------------------------------------ in the thread

    def _load(self, batch_id: str, rows: Sequence[ProductionRow]) -> str:
        self._prepare()
        staged = self._staged(batch_id)
        remove_tree(staged)
        make_directory(staged)
        for date, rows_of_date in by_date(rows).items():
            path = staged / self._file_of(batch_id, date)
            make_directory(path.parent)
            write_file(path, encode(rows_of_date, self._columns))
        return str(staged)

    def _merge(self, batch_id: str, rows: Sequence[ProductionRow]) -> Counter[str]:
        self._prepare()
        published = [self._publish(batch_id, date) for date in by_date(rows)]
        seen = Counter(file_id for path in published for file_id in self._ids(path))
        remove_tree(self._staged(batch_id))
        return seen

    def _publish(self, batch_id: str, date: str) -> Path:
        """Bring one date of a batch into production, unless it is there; return where it is."""
        name = self._file_of(batch_id, date)
        source, target = self._staged(batch_id) / name, self._production / name
        if not target.exists():
            if not source.exists():
                raise RewindError(Stage.LOAD, f"batch {batch_id} is neither staged nor merged")
            make_directory(target.parent)
            source.rename(target)
        # Even when it was there: the try that renamed it may have ended before it came to this.
        sync_directory(target.parent)
        sync_directory(self._production)
        return target

    def _find(self, keys: Collection[RowKey]) -> frozenset[str]:
        wanted: dict[str, set[str]] = defaultdict(set)
        for key in keys:
            wanted[key.file_date].add(key.file_id)
        found: set[str] = set()
        for date, ids in wanted.items():
            for path in self._files(date):
                found |= ids.intersection(self._ids(path))
        return frozenset(found)

    def _files(self, date: str) -> list[Path]:
        """Return the Parquet files of one partition, oldest batch first."""
        self._prepare()
        partition = self._production / f"{self._partition}={date}"
        return [path for path in entries(partition) if path.suffix == ".parquet"]

    def _ids(self, path: Path) -> list[str]:
        return list(file_ids(path, self._columns["file_id"]))

    def _sweep(self, live: frozenset[str]) -> list[str]:
        stale = [
            path
            for path in entries(self._staging)
            if _ID.fullmatch(path.name) and path.name not in live
        ]
        return [str(path) for path in stale if remove_tree(path)]

    def _prepare(self) -> None:
        """Make what a new warehouse lacks, once.

        What is missing later was unmounted: made anew, it would hide every row that is there.
        """
        if self._prepared:
            self._production.stat()
            return
        for directory in (self._root, self._staging, self._production):
            make_directory(directory)
        self._prepared = True

    def _file_of(self, batch_id: str, date: str) -> str:
        """Return where a batch's rows of a date lie: in production, as in its staging directory."""
        return f"{self._partition}={date}/{batch_id}.parquet"

    def _staged(self, batch_id: str) -> Path:
        # This directory is removed with all in it: it must never be another one than a batch's.
        if not _ID.fullmatch(batch_id):
            raise ValueError(f"{batch_id!r} is no batch id")
        return self._staging / batch_id

    def _try_staging(self) -> None:
        self._prepare()
        now = time.time()
        row = probe_row(now)  # its id is like a batch's, so that `sweep` finds what a kill leaves
        staged = self._staged(row.batch_id)
        try:
            self._load(row.batch_id, [row])
            if self._ids(staged / self._file_of(row.batch_id, row.file_date)) != [row.file_id]:
                raise TransientError("what was written is not what is read back")
        finally:
            remove_tree(staged)

    def _try_production(self) -> None:
        """Write where readers look, without a name that they could see."""
        with tempfile.TemporaryFile(dir=self._production) as file:
            file.write(b"probe")
            file.flush()
            os.fsync(file.fileno())
            file.seek(0)
            if file.read() != b"probe":
                raise TransientError("what was written is not what is read back")

    # ------------------------------------------------------------------ above the thread

    async def _probe(self, directory: Path, attempt: Callable[[], None]) -> Probe:
        subject = f"warehouse {directory}"
        try:
            await self._run(attempt)
        except BackupdError as error:
            return Probe(subject, ok=False, detail=str(error), hint=error.hint)
        return Probe(subject, ok=True, detail="written, read back, removed")

    async def _run(self, work: Callable[..., T], *args: object) -> T:
        """Run in the warehouse's thread; tell every fault of the disk as the warehouse's."""
        loop = asyncio.get_running_loop()
        try:
            async with asyncio.timeout(ANSWER_WITHIN):
                return await loop.run_in_executor(self._thread, partial(work, *args))
        except TimeoutError as error:
            message = f"the warehouse at {self._root} did not answer in {ANSWER_WITHIN:.0f} s"
            hint = "look whether its disk hangs"
            raise DependencyDownError("warehouse", message, hint=hint) from error
        except OSError as error:
            message = f"the warehouse at {self._root} cannot be used: {error}"
            hint = _HINTS.get(error.errno or 0, "see that its file system is mounted and has it")
            raise DependencyDownError("warehouse", message, hint=hint) from error
