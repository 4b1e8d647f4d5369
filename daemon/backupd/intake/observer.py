"""The observer: inotify by watchdog, as hints where to look. The scan is the truth.

It stands on watchdog's inotify reader and leaves out the emitters and the dispatcher above it:
those cost a thread a feed, queue without bound (a burst would fill the memory), and hold every
event back for half a second after a file was moved out of the directory, waiting for a partner.
Sub-directories are watched by the scan, just before it lists them, so that none is missed.
"""

from __future__ import annotations

import errno
import itertools
import os
import tempfile
import threading
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import structlog
from watchdog.observers.inotify_c import (
    CallbackId,
    InotifyConstants,
    InotifyEvent,
    InotifyFD,
    Mask,
    WatchDescriptor,
)

from backupd.core.names import escaped

if TYPE_CHECKING:
    from backupd.intake.hints import PendingHints
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
_ids = itertools.count()


class Observer:
    """Watches directories, each by itself, and adds what happens in them to `hints`."""

    def __init__(self, hints: PendingHints) -> None:
        """Raise OSError (EMFILE) when there are no more inotify instances to be had."""
        self._hints = hints
        self._reader = InotifyFD()
        self._watched: dict[str, _Directory] = {}
        self._lock = threading.Lock()  # two scans may come to the same directory at once
        self._own: tempfile.TemporaryDirectory[str] | None = None
        self._reader.start()

    def is_alive(self) -> bool:
        """Tell whether the thread that reads events still lives."""
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
            watched = _Directory(path, (found.st_dev, found.st_ino), self._hints, self._watched)
            # By its descriptor: the path may lead elsewhere by now.
            self._add(watched, f"/proc/self/fd/{directory.descriptor}")
        return True

    def watches(self, path: str, dev: int, ino: int) -> bool:
        """Tell whether this very directory is watched under this path."""
        known = self._watched.get(path)
        return known is not None and known.inode == (dev, ino)

    def forget_gone(self) -> None:
        """Give back the watches of directories that are no longer where they were."""
        gone = [path for path, known in list(self._watched.items()) if not known.in_place()]
        with self._lock:
            for path in gone:
                self._forget(path)

    def give_sign(self) -> threading.Event:
        """Return an event that is set once the thread has read what happens in a place of our own.

        Raises OSError where that cannot be watched.
        """
        if self._own is None:
            self._own = tempfile.TemporaryDirectory(prefix="backupd-")
        sign = _Sign()
        path = self._own.name
        self._reader.add_callback(os.fsencode(path), _SIGN_MASK, sign, CallbackId(next(_ids)))
        os.close(os.open(path, os.O_RDONLY | os.O_DIRECTORY))
        return sign.seen

    def stop(self) -> None:
        """End the thread and give the watches back."""
        self._reader.stop()
        self._reader.join(_JOIN_SECONDS)
        if self._own is not None:
            self._own.cleanup()

    def _add(self, directory: _Directory, place: str) -> None:
        directory.wd = self._reader.add_callback(place.encode(), _MASK, directory, directory.id)
        if directory.wd < 0:  # watchdog's way to say EACCES
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), directory.path)
        self._watched[directory.path] = directory

    def _forget(self, path: str) -> None:
        directory = self._watched.pop(path, None)
        if directory:
            self._reader.remove_callbacks([(directory.wd, directory.id)])


@dataclass(eq=False)
class _Directory:
    """One watched directory. The reader's thread calls its methods.

    An exception here would end that thread, and with it all sight: so none gets out. The id is
    its own, since a directory that was renamed is watched twice for a while, by one descriptor.
    """

    path: str
    inode: tuple[int, int]
    hints: PendingHints
    watched: dict[str, _Directory]

    def __post_init__(self) -> None:
        self.id = CallbackId(next(_ids))
        self.wd = WatchDescriptor(-1)

    def in_place(self) -> bool:
        """Tell whether this directory, and no other, still stands at its path."""
        try:
            return _inode(self.path) == self.inode
        except OSError:
            return False

    def on_event(self, event: InotifyEvent) -> None:
        try:
            if not event.name:
                return  # about the directory itself: the check each second sees to it
            if event.name.startswith(b"."):
                return  # never taken; our own removals come by here too
            name = os.fsdecode(event.name)
            if event.is_directory:
                self.hints.add_tree(f"{self.path}/{name}")
            else:
                self.hints.add(self.path, name)
        except Exception:
            log.exception(
                "an event could not be handled, looking everywhere", directory=escaped(self.path)
            )
            self.hints.request_rescan()

    def on_watch_deleted(self, wd: WatchDescriptor) -> None:
        """The directory was removed or unmounted. Should it come back, it is watched anew."""
        if self.watched.get(self.path) is self and wd == self.wd:
            self.watched.pop(self.path, None)

    def on_queue_overflow(self) -> None:
        """The kernel dropped events, of whatever directory."""
        self.hints.request_rescan()


class _Sign:
    """Is called by the reader's thread when something has happened."""

    def __init__(self) -> None:
        self.seen = threading.Event()

    def on_event(self, _: InotifyEvent) -> None:
        self.seen.set()

    def on_watch_deleted(self, _: WatchDescriptor) -> None:
        self.seen.set()

    def on_queue_overflow(self) -> None:
        """The kernel may have dropped it: it is asked for again."""


def _inode(path: str) -> tuple[int, int]:
    found = Path(path).stat()
    return found.st_dev, found.st_ino
