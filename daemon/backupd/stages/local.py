"""The local file: opened below its feed's directory, so that no other one is ever read."""

from __future__ import annotations

import errno
import os
from contextlib import ExitStack, asynccontextmanager, contextmanager
from typing import TYPE_CHECKING, Protocol, TypeVar

from backupd.core.calls import DoesNotAnswerError
from backupd.core.dependencies import feed_directory
from backupd.core.errors import DependencyDownError, LocalGoneError, TransientError
from backupd.core.moves import REPLACED, VANISHED
from backupd.core.names import escaped
from backupd.core.threads import NOTHING, DirectoryThreads
from backupd.localfs.files import NotRegularError, open_file
from backupd.localfs.roots import open_root, unavailable

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterator
    from contextlib import AbstractContextManager

    from backupd.core.records import Feed, FeedRoot, FileRecord, Task
    from backupd.localfs.directory import Directory
    from backupd.localfs.files import OpenFile

_NOTHING_THERE = {errno.ENOENT, errno.ENOTDIR}
_NOT_A_FILE = {errno.ELOOP, errno.ENXIO, errno.EISDIR, errno.ENODEV, errno.EXDEV}

T = TypeVar("T")

_SMALL = 64 * 1024  # bytes: of a file that takes no time to read or to compare


class Run(Protocol):
    """`FeedThreads.run`, or its sibling for small calls."""

    async def __call__(
        self, feed: Feed, call: Callable[[], T], slow: AbstractContextManager[None] = NOTHING, /
    ) -> T:
        """Call it."""
        ...


class FeedThreads:
    """Runs what blocks in the directories of feeds."""

    def __init__(self, name: str) -> None:
        self._threads = DirectoryThreads(name)

    async def run(
        self,
        feed: Feed,
        call: Callable[[], T],
        slow: AbstractContextManager[None] = NOTHING,
    ) -> T:
        """Call it; `slow` is entered while that takes long.

        Raises DependencyDownError where the feed's directory does not answer.
        """
        with _translated(feed):
            return await self._threads.run(feed.directory, call, slow)

    async def run_small(
        self,
        feed: Feed,
        call: Callable[[], T],
        slow: AbstractContextManager[None] = NOTHING,
    ) -> T:
        """The same, for what takes no time unless it hangs."""
        with _translated(feed):
            return await self._threads.run_small(feed.directory, call, slow)

    def by_size(self, size: int) -> Run:
        """Return how to run a step of reading a file of so many bytes."""
        return self.run_small if size <= _SMALL else self.run

    @asynccontextmanager
    async def opened(self, task: Task) -> AsyncIterator[OpenFile]:
        """Open the file as `open_local` does."""
        with ExitStack() as stack:
            yield await self.run_small(task.feed, lambda: stack.enter_context(open_local(task)))


@contextmanager
def _translated(feed: Feed) -> Iterator[None]:
    try:
        yield
    except DoesNotAnswerError as error:
        reason = unavailable(feed.directory, error)
        raise DependencyDownError(feed_directory(feed.name), reason) from error


@contextmanager
def open_feed(task: Task) -> Iterator[Directory]:
    """Open the directory of the file's feed.

    Raises DependencyDownError when it is not the one that it was, LocalGoneError when the feed has
    another one by now, to which the file does not belong.
    """
    feed, file = task.feed, task.file
    if not _is_below(file, task.root, feed.directory):
        raise LocalGoneError(
            f"the directory of feed {feed.name} is {feed.directory} now",
            hint="move the file there, where it is taken as a new one, or give the feed its old"
            " directory back",
        )
    try:
        directory = open_root(task.root)
    except OSError as error:
        reason = unavailable(feed.directory, error)
        raise DependencyDownError(feed_directory(feed.name), reason) from error
    with directory:
        yield directory


def _is_below(file: FileRecord, root: FeedRoot, directory: str) -> bool:
    """Return whether the file was seen in this directory, by whatever path the config named it."""
    above = file.path.removesuffix(f"/{file.relative_path}")
    return above == directory.rstrip("/") or os.path.realpath(above) == root.path


@contextmanager
def open_local(task: Task) -> Iterator[OpenFile]:
    """Open the file for reading. Raises what `open_feed` and `open_in` raise."""
    with open_feed(task) as root, open_in(root, task.file) as opened:
        yield opened


@contextmanager
def open_in(root: Directory, file: FileRecord) -> Iterator[OpenFile]:
    """Open a file of the feed whose directory is open.

    Raises LocalGoneError when it is not there, or no regular file, TransientError when it cannot be
    read just now.
    """
    with ExitStack() as stack:
        try:
            opened = stack.enter_context(open_file(root, file.relative_path))
        except OSError as error:
            raise _why_not(file, error) from error
        yield opened


def unreadable(file: FileRecord, error: OSError) -> TransientError:
    """Say what the operating system says."""
    hint = ""
    if error.errno in {errno.EACCES, errno.EPERM}:
        hint = f"give user {os.geteuid()} the right to read it, and its directories"
    return TransientError(
        f"cannot read {escaped(file.path)}: {os.strerror(error.errno or 0)}", hint=hint
    )


def _why_not(file: FileRecord, error: OSError) -> LocalGoneError | TransientError:
    if error.errno in _NOTHING_THERE:
        return LocalGoneError(
            f"it {VANISHED}",
            hint="have it delivered again; it is then taken by itself",
        )
    if isinstance(error, NotRegularError) or error.errno in _NOT_A_FILE:
        return LocalGoneError(REPLACED)
    return unreadable(file, error)


def refuse_other_content(file: FileRecord, sha256: str) -> None:
    """A file that was registered keeps its row: raise LocalGoneError for other content."""
    if file.sha256 != sha256:
        raise LocalGoneError(
            "it was changed after it was registered; the registered content is not there any more",
            hint="the changed file is taken as a new one",
        )
