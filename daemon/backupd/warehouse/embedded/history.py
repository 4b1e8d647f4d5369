"""The embedded history: Parquet files in directories that any engine reads.

    <root>/history/done_date=YYYY-MM-DD/<host>-<batch id>.parquet

`root` is that of the embedded warehouse, known by its mark. A file is written whole under a hidden
name, flushed and renamed: a reader sees whole files alone, and which stories are there is seen by
the file's name. Each file's stories stand in the order of their ids.
"""

from __future__ import annotations

import asyncio
import heapq
import os
import re
import socket
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from functools import partial
from itertools import islice
from typing import TYPE_CHECKING, TypeVar

from backupd.core.dependencies import Dependency
from backupd.core.errors import DependencyDownError
from backupd.core.records import ID_FORM
from backupd.core.times import DATE_FORM
from backupd.localfs.whole import remove_leftovers, write_whole
from backupd.warehouse.embedded.roots import VisitedRoot, on_disk
from backupd.warehouse.history_parquet import encode_stories, wanted_stories
from backupd.warehouse.history_rows import PARTITION

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Generator, Iterator, Sequence
    from pathlib import Path

    from backupd.core.history import Past, Story
    from backupd.core.ports import PlaceMemory
    from backupd.localfs.directory import Directory

T = TypeVar("T")

HISTORY = "history"
_ANSWER_WITHIN = 120.0  # seconds; a disk that takes longer for a step is down
_CLOSE_WITHIN = 5.0  # seconds
_AT_ONCE = 500  # stories that are given out together
_PREFIX = f"{PARTITION}="
_NO_NAME = re.compile(r"[^A-Za-z0-9.-]")  # of a host, in a file's name


class EmbeddedHistory:
    """`core.history.History` in a directory of the embedded warehouse.

    One thread does all the work, one call at a time, beside the warehouse's.
    """

    def __init__(
        self, root: Path, memory: PlaceMemory | None = None, mark: str | None = None
    ) -> None:
        """Who writes has the `memory` of the warehouse's place; who only reads gives its mark."""
        self._path = root
        self._memory = memory
        self._mark = mark
        self._host = _NO_NAME.sub("_", socket.gethostname())
        self._thread = ThreadPoolExecutor(1, "history")

    async def write(self, batch_id: str, done_date: str, stories: Sequence[Story]) -> None:
        """Write one file, unless it is there."""
        await self._run(self._write, batch_id, done_date, stories)

    async def seen(self, batch_id: str, done_date: str) -> list[Story]:
        """Read the file of this id."""
        return await self._run(self._seen, batch_id, done_date)

    async def find(self, past: Past) -> AsyncIterator[Story]:
        """Look through the partitions that may have it, a part of a file at a time."""
        found = self._find(past)
        try:
            while some := await self._run(_some, found):
                for story in some:
                    yield story
        finally:
            await self._run(found.close)

    async def aclose(self) -> None:
        """Wait for the call at work, unless it hangs."""
        end = partial(self._thread.shutdown, cancel_futures=True)
        ended = asyncio.get_running_loop().run_in_executor(ThreadPoolExecutor(1), end)
        await asyncio.wait([ended], timeout=_CLOSE_WITHIN)

    # ------------------------------------------------------------------ in the thread

    @contextmanager
    def _opened(self) -> Iterator[Directory]:
        """Open the root, which must be there and bear the mark."""
        mark = self._mark if self._memory is None else self._memory.expected()
        if mark is None and self._memory is not None:
            raise _down(self._path, "was not used yet")
        with VisitedRoot(self._path, mark).open() as root:
            yield root

    def _write(self, batch_id: str, done_date: str, stories: Sequence[Story]) -> None:
        _refuse_strange(batch_id, done_date)
        name = f"{self._host}-{batch_id}.parquet"
        in_order = sorted(stories, key=lambda story: story.file.id)
        with self._opened() as root, root.make(HISTORY) as history:
            with history.make(f"{_PREFIX}{done_date}") as partition:
                remove_leftovers(partition, name)
                if not _file_of(batch_id, partition):
                    write_whole(partition, name, encode_stories(in_order), 0o644)
                partition.flush()
            history.flush()
            root.flush()

    def _seen(self, batch_id: str, done_date: str) -> list[Story]:
        _refuse_strange(batch_id, done_date)
        with self._opened() as root, self._partition(root, done_date) as partition:
            if partition is None or (name := _file_of(batch_id, partition)) is None:
                return []
            return list(self._stories(partition, done_date, name, None))

    def _find(self, past: Past) -> Generator[Story, None, None]:
        with self._opened() as root:
            for date in filter(past.may_be_of, self._dates(root)):
                yield from self._of_date(root, date, past)

    def _of_date(self, root: Directory, date: str, past: Past) -> Iterator[Story]:
        with self._partition(root, date) as partition:
            if partition is None:
                return
            if past.in_order:
                yield from self._in_order(partition, date, past)
                return
            for name in _files(partition):
                yield from self._stories(partition, date, name, past)

    def _in_order(self, partition: Directory, date: str, past: Past) -> Iterator[Story]:
        files = [self._stories(partition, date, name, past) for name in _files(partition)]
        with ExitStack() as stack:
            for file in files:
                stack.callback(file.close)
            yield from heapq.merge(*files, key=lambda story: story.file.id)

    def _dates(self, root: Directory) -> list[str]:
        if root.find(HISTORY) is None:
            return []
        with root.directory(HISTORY) as history:
            dates = (entry.name.removeprefix(_PREFIX) for entry in history.names())
            return sorted(date for date in dates if DATE_FORM.fullmatch(date))

    @contextmanager
    def _partition(self, root: Directory, date: str) -> Iterator[Directory | None]:
        name = f"{HISTORY}/{_PREFIX}{date}"
        if root.find(name) is None:
            yield None
            return
        with root.directory(name) as partition:
            yield partition

    def _stories(
        self, partition: Directory, date: str, name: str, past: Past | None
    ) -> Generator[Story, None, None]:
        path = f"{self._path}/{HISTORY}/{_PREFIX}{date}/{name}"
        with os.fdopen(partition.open(name), "rb") as file:
            yield from wanted_stories(file, path, past)

    # ------------------------------------------------------------------ above the thread

    async def _run(self, work: Callable[..., T], *args: object) -> T:
        """Run in the history's thread. Raises DependencyDownError when its disk is at fault."""
        down = partial(_down, self._path)
        return await on_disk(self._thread, partial(work, *args), _ANSWER_WITHIN, down)


def _refuse_strange(batch_id: str, done_date: str) -> None:
    if not (ID_FORM.fullmatch(batch_id) and DATE_FORM.fullmatch(done_date)):
        raise ValueError(f"{batch_id!r} of {done_date!r} is not a batch of the history")


def _files(partition: Directory) -> list[str]:
    """Return the names of the files that are whole."""
    names = (entry.name for entry in partition.names())
    return sorted(name for name in names if name.endswith(".parquet") and name[0] != ".")


def _file_of(batch_id: str, partition: Directory) -> str | None:
    """Return the name of this batch's file, under whichever name its host had then."""
    ending = f"-{batch_id}.parquet"
    return next((name for name in _files(partition) if name.endswith(ending)), None)


def _some(stories: Iterator[Story]) -> list[Story]:
    return list(islice(stories, _AT_ONCE))


def _down(path: Path, problem: str, hint: str = "") -> DependencyDownError:
    message = f"the history in the warehouse at {path} {problem}"
    return DependencyDownError(Dependency.HISTORY, message, hint=hint)
