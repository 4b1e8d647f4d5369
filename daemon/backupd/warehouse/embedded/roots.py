"""The embedded warehouse's root: opened only if it is the one that is meant.

A disk that is not mounted leaves an empty directory, which looks like a table without rows and
takes whatever is written to it. So the root has a mark (`core.places`), which each opening reads.
"""

from __future__ import annotations

import asyncio
import errno
import os
import shutil
from typing import TYPE_CHECKING, Protocol, TypeVar

from backupd.core.dependencies import Dependency
from backupd.core.errors import BackupdError, DependencyDownError
from backupd.core.places import MARK_FILE, mark_in, mark_state, mark_text, new_mark
from backupd.core.ports import Probe
from backupd.localfs import syscalls
from backupd.localfs.claims import ClaimedError, Claims
from backupd.localfs.directory import Directory
from backupd.localfs.whole import directory_at, read_mark, write_whole

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from concurrent.futures import ThreadPoolExecutor
    from pathlib import Path

    from backupd.core.ports import PlaceMemory
    from backupd.core.rows import RowKey

    HasRow = Callable[[Directory, Sequence[RowKey]], bool]

T = TypeVar("T")

_HINTS = {  # what to do about its disk, by errno
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


async def on_disk(
    thread: ThreadPoolExecutor,
    work: Callable[[], T],
    within: float,
    down: Callable[[str, str], DependencyDownError],
) -> T:
    """Run in a thread what a disk has so many seconds for.

    Raises what `down` makes of the problem and of what to do about it, where the disk is at fault.
    """
    try:
        async with asyncio.timeout(within):
            return await asyncio.get_running_loop().run_in_executor(thread, work)
    except TimeoutError as error:
        raise down(f"did not answer in {within:.0f} s", "look whether its disk hangs") from error
    except OSError as error:
        hint = _HINTS.get(error.errno or 0, "see that its file system is mounted and has it")
        raise down(f"cannot be used: {error}", hint) from error


class Root(Protocol):
    """How the root is opened."""

    def open(self) -> Directory:
        """Open it. Raises DependencyDownError where it is not the one, OSError."""
        ...

    def close(self) -> None:
        """Let others use it."""
        ...


class VisitedRoot:
    """For who only looks: commands beside the daemon. With a mark, it must bear that one."""

    def __init__(self, path: Path, mark: str | None) -> None:
        self._path = path
        self._mark = mark

    def open(self) -> Directory:
        """Open it; without a mark to look for it is made where it is missing."""
        if self._mark is None:
            return made(self._path)
        root = existing(self._path)
        if mark_of(root) != self._mark:
            root.close()
            raise _another(self._path)
        return root

    def close(self) -> None:
        """Do nothing."""


class OwnRoot:
    """For the one who writes there: marks it at the first use, and keeps a second daemon off."""

    def __init__(self, path: Path, memory: PlaceMemory, has_row: HasRow) -> None:
        """`has_row` returns whether any of these rows is in the table below an open root."""
        self._path = path
        self._memory = memory
        self._has_row = has_row
        self._claims = Claims()
        self._expected: str | None = None

    def open(self) -> Directory:
        """Open it, made and marked at the first use."""
        self._expected = self._expected or self._memory.expected()
        if self._expected is None:
            return self._first()
        root = existing(self._path)
        try:
            self._compare(root)
            self._claim(root)
        except BaseException:
            root.close()
            raise
        return root

    def close(self) -> None:
        """Let others use it."""
        self._claims.close()

    def _compare(self, root: Directory) -> None:
        found = mark_of(root)
        if found != self._expected:  # a person may have said meanwhile that this one is meant
            self._expected = self._memory.expected()
        if found != self._expected:
            raise _another(self._path)

    def _first(self) -> Directory:
        keys = self._memory.row_witnesses()
        root = existing(self._path) if keys else made(self._path)
        try:
            self._claim(root)
            self._verify(root, keys)
            self._expected = taken_over(root)
            self._memory.remember(self._expected)
        except BaseException:
            root.close()
            raise
        return root

    def _verify(self, root: Directory, keys: Sequence[RowKey]) -> None:
        """Make sure that a ledger with a past finds some of it here."""
        if keys and not self._has_row(root, keys):
            raise _down(self._path, "has none of the last rows that the ledger knows")

    def _claim(self, root: Directory) -> None:
        found = root.stat()
        try:
            self._claims.add(found.st_dev, found.st_ino, Dependency.WAREHOUSE)
        except ClaimedError as error:
            message = f"another backupd (pid {error.pid}) uses the warehouse at {self._path}"
            raise DependencyDownError(Dependency.WAREHOUSE, message, hint=error.hint) from error


def existing(path: Path) -> Directory:
    """Open a root that must be there. DependencyDownError where it is not."""
    try:
        return Directory.at(os.path.realpath(path))
    except FileNotFoundError as error:
        raise _down(path, "is not there") from error


def made(path: Path) -> Directory:
    """Open a root, made where it is missing; the directory above it must be there."""
    above, _, name = os.path.realpath(path).rpartition("/")
    with directory_at(above) as parent:
        return parent.make(name)


def mark_of(root: Directory) -> str | None:
    """Return a root's mark; None: it has none. "" for a file that holds no mark of ours."""
    text = read_mark(root)
    return None if text is None else mark_in(text) or ""


def taken_over(root: Directory) -> str:
    """Return the mark of a root; one that has none gets one. FileExistsError for a strange file."""
    found = mark_of(root)
    if found == "":
        raise FileExistsError(f"its {MARK_FILE} holds no mark: look at it, and move it away")
    if found is None:
        found = new_mark()
        write_whole(root, MARK_FILE, mark_text(found), 0o644)
    return found


def marked(path: Path) -> str:
    """Return the mark of a root that must be there; one that has none gets one.

    For a person, who says that it is the right one. Raises BackupdError.
    """
    try:
        with Directory.at(os.path.realpath(path)) as root:
            return taken_over(root)
    except OSError as error:
        raise BackupdError(
            f"the warehouse at {path} cannot be marked: {error}",
            hint="mount its disk, or make the directory for the user that runs backupd",
        ) from error


def look(path: Path, expected: str | None) -> Probe:
    """Return how a root that should bear this mark is marked. Nothing is made or written."""
    try:
        with existing(path) as root:
            found = mark_of(root)
    except (OSError, DependencyDownError) as error:
        return Probe("warehouse place", ok=False, detail=str(error))
    if expected is not None and found != expected:
        return Probe("warehouse place", ok=False, detail=str(_another(path)))
    return Probe("warehouse place", ok=True, detail=mark_state(found, expected))


def _another(path: Path) -> DependencyDownError:
    return _down(path, f"lacks the mark {MARK_FILE} that this ledger knows")


def _down(path: Path, problem: str) -> DependencyDownError:
    message = f"the warehouse at {path} {problem}"
    hint = (
        f"findmnt -T {path} tells whether its disk is mounted; if this is the right place all the"
        " same, run backupd check --new-place"
    )
    return DependencyDownError(Dependency.WAREHOUSE, message, hint=hint)


def move(source: Directory, target: Directory, name: str) -> None:
    """Rename a file from one directory into another, whose names the caller flushes."""
    os.rename(name, name, src_dir_fd=source.descriptor, dst_dir_fd=target.descriptor)


def exchange(one: Directory, other: Directory, name: str) -> None:
    """Let what has this name in two directories change places, at once. The caller flushes."""
    syscalls.exchange(one.descriptor, name, other.descriptor, name)


def remove_tree(directory: Directory, name: str) -> bool:
    """Remove a directory with all in it; return whether there was one. No link is followed."""
    try:
        shutil.rmtree(name, dir_fd=directory.descriptor)
    except FileNotFoundError:
        return False
    return True


def sorted_names(directory: Directory, name: str) -> list[str]:
    """Return what lies in a directory below an open one; no directory: nothing.

    An unreadable one raises OSError, where it must not show as empty.
    """
    try:
        with directory.directory(name) as below:
            return sorted(entry.name for entry in below.names())
    except FileNotFoundError:
        return []
