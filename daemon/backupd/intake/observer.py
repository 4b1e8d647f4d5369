"""The observer: inotify by watchdog, as hints where to look. The scan is the truth.

It stands on watchdog's inotify reader and leaves out the emitters and the dispatcher above it:
those cost a thread a feed, queue without bound (a burst would fill the memory), and hold every
event back for half a second after a file was moved out of the directory, waiting for a partner.
Sub-directories are watched by the scan, just before it lists them, so that none is missed.
"""

from __future__ import annotations

import ctypes
import os
import tempfile
import threading
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import structlog
from watchdog.observers.inotify_c import (
    InotifyConstants,
    InotifyEvent,
    InotifyFD,
    Mask,
    WatchDescriptor,
    inotify_add_watch,
    inotify_rm_watch,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    from backupd.localfs.directory import Directory

log = structlog.get_logger()

# No event for what is opened or read: our own reading would flood us. A directory's end (unmount,
# removal) comes unasked, as the end of its watch.
_MASK = Mask(
    InotifyConstants.IN_CREATE
    | InotifyConstants.IN_MOVED_TO
    | InotifyConstants.IN_CLOSE_WRITE
    | InotifyConstants.IN_ONLYDIR
)
_SIGN_MASK = Mask(
    InotifyConstants.IN_OPEN | InotifyConstants.IN_ONLYDIR | InotifyConstants.IN_ONESHOT
)
_JOIN_SECONDS = 5.0


class Observer:
    """Watches directories, each by itself, and adds what happens in them to `hints`."""

    def __init__(self, hints: PendingHints) -> None:
        """Raise OSError (EMFILE) when there are no more inotify instances to be had."""
        self._hints = hints
        self._reader = _Reader(self._on_event)
        self._watched: dict[str, _Directory] = {}
        self._by_descriptor: dict[WatchDescriptor, _Directory] = {}
        self._signs: dict[WatchDescriptor, threading.Event] = {}
        # Two scans may come to the same directory at once, and an event before a watch is noted.
        self._lock = threading.Lock()
        self._own: tempfile.TemporaryDirectory[str] | None = None
        self._reader.start()

    def is_alive(self) -> bool:
        """Return whether the thread that reads events still lives."""
        return self._reader.is_alive()

    def watch(self, path: str, directory: Directory) -> bool:
        """Watch an open directory, unless this very one is watched already: then return False.

        `path` is what it is called in hints. Raises OSError: ENOSPC when no more watches are to be
        had, else as the directory is.
        """
        found = directory.stat()
        with self._lock:
            if self.watches(path, found.st_dev, found.st_ino):
                return False
            self._forget(path)
            # By its descriptor: the path may lead elsewhere by now.
            wd = self._reader.add(f"/proc/self/fd/{directory.descriptor}", _MASK)
            known = self._by_descriptor.setdefault(wd, _Directory(wd, found.st_dev, found.st_ino))
            known.paths += (path,)
            self._watched[path] = known
        return True

    def watches(self, path: str, dev: int, ino: int) -> bool:
        """Return whether this very directory is watched under this path."""
        known = self._watched.get(path)
        return known is not None and (known.dev, known.ino) == (dev, ino)

    def forget_gone(self) -> None:
        """Give back the watches of directories that are no longer where they were."""
        gone = [path for path in list(self._watched) if not self._is_in_place(path)]
        with self._lock:
            for path in gone:
                self._forget(path)

    def give_sign(self) -> threading.Event:
        """Return an event that is set once the thread has read what happens in a place of our own.

        Raises OSError where that cannot be watched.
        """
        if self._own is None:
            self._own = tempfile.TemporaryDirectory(prefix="backupd-")
        path = self._own.name
        with self._lock:
            sign = threading.Event()
            self._signs[self._reader.add(path, _SIGN_MASK)] = sign
        os.close(os.open(path, os.O_RDONLY | os.O_DIRECTORY))
        return sign

    def stop(self) -> None:
        """End the thread and give the watches back."""
        self._reader.stop()
        self._reader.join(_JOIN_SECONDS)
        if self._own is not None:
            self._own.cleanup()

    def _is_in_place(self, path: str) -> bool:
        """Return whether the directory that is watched, and no other, still stands at its path."""
        try:
            found = Path(path).stat()
        except OSError:
            return False
        return self.watches(path, found.st_dev, found.st_ino)

    def _forget(self, path: str) -> None:
        known = self._watched.pop(path, None)
        if known is None:
            return
        known.paths = tuple(each for each in known.paths if each != path)
        if not known.paths:
            del self._by_descriptor[known.wd]
            self._reader.remove(known.wd)

    # ------------------------------------------------------------------ in the reader's thread

    def _on_event(self, event: InotifyEvent) -> None:
        """An exception here would end the thread, and with it all sight: so none gets out."""
        try:
            self._take(event)
        except Exception:
            log.exception("an event could not be handled, looking everywhere")
            self._hints.request_rescan()

    def _take(self, event: InotifyEvent) -> None:
        if event.is_queue_overflow:  # the kernel dropped events, of whatever directory
            self._signs.clear()  # they are asked for again
            self._hints.request_rescan()
            return
        for path in self._paths_of(event):
            name = os.fsdecode(event.name)
            if event.is_directory:
                self._hints.add_tree(f"{path}/{name}")
            else:
                self._hints.add(path, name)

    def _paths_of(self, event: InotifyEvent) -> tuple[str, ...]:
        """Return the directories in whose names something happened."""
        with self._lock:
            if sign := self._signs.pop(event.wd, None):
                sign.set()
            if event.is_ignored:
                self._end(event.wd)
            known = self._by_descriptor.get(event.wd)
            # Without a name it is the directory itself: the check each second sees to it. Hidden
            # files are never taken; our own removals come by here too.
            if known is None or not event.name or event.name.startswith(b"."):
                return ()
            return known.paths

    def _end(self, wd: WatchDescriptor) -> None:
        """The directory was removed or unmounted. Should it come back, it is watched anew."""
        known = self._by_descriptor.pop(wd, None)
        for path in known.paths if known else ():
            self._watched.pop(path, None)


class _Directory:
    """One watched directory. There may be very many, so it is small.

    One that was renamed is watched under two paths for a while, by one descriptor.
    """

    __slots__ = ("dev", "ino", "paths", "wd")

    def __init__(self, wd: WatchDescriptor, dev: int, ino: int) -> None:
        self.wd = wd
        self.dev = dev
        self.ino = ino
        self.paths: tuple[str, ...] = ()


class _Reader(InotifyFD):
    """watchdog's thread that reads events. What it would keep of each watch is left out."""

    def __init__(self, take: Callable[[InotifyEvent], None]) -> None:
        super().__init__()
        self._take = take

    def handle_event(self, event: InotifyEvent) -> None:
        self._take(event)

    def add(self, path: str, mask: Mask) -> WatchDescriptor:
        """Watch a directory, or find that it is watched. Raises OSError."""
        wd = inotify_add_watch(self._inotify_fd, os.fsencode(path), mask)
        if wd < 0:
            error = ctypes.get_errno()
            raise OSError(error, os.strerror(error), path)
        return wd

    def remove(self, wd: WatchDescriptor) -> None:
        """Watch it no more. One that is gone has taken its watch along."""
        inotify_rm_watch(self._inotify_fd, wd)


MOST_PENDING = 50_000  # names held at once, a few MiB; beyond, one rescan stands for them all


@dataclass(slots=True)
class Hints:
    """Names that may have changed, by directory; `rescan`: more changed than was noted."""

    names: dict[str, set[str]] = field(default_factory=dict)
    trees: set[str] = field(default_factory=set)  # new directories, with all that is below them
    count: int = 0
    rescan: bool = False


class PendingHints:
    """Gathers hints until they are taken. Any thread may add; memory is bounded.

    `wake` is called, in the adding thread, when the first hint after a `take` arrives.
    """

    def __init__(self, wake: Callable[[], None]) -> None:
        self._wake = wake
        self._lock = threading.Lock()
        self._hints = Hints()
        self._empty = True

    def add(self, directory: str, name: str) -> None:
        """Something happened to this name."""
        with self._lock:
            self._put(self._hints.names.setdefault(directory, set()), name)

    def add_tree(self, directory: str) -> None:
        """A directory appeared."""
        with self._lock:
            self._put(self._hints.trees, directory)

    def request_rescan(self) -> None:
        """Events were lost: only looking everywhere finds what they were about."""
        with self._lock:
            self._hints.rescan = True
            self._wake_once()

    def take(self) -> Hints:
        """Return what was gathered, and start anew."""
        with self._lock:
            taken, self._hints = self._hints, Hints()
            self._empty = True
            return taken

    def _put(self, names: set[str], what: str) -> None:
        if self._hints.count >= MOST_PENDING:
            self._hints.rescan = True
        elif what not in names:
            names.add(what)
            self._hints.count += 1
        self._wake_once()

    def _wake_once(self) -> None:
        if self._empty:
            self._empty = False
            self._wake()
