"""Which feed directories are watched by events, and which must be polled."""

from __future__ import annotations

import errno
import threading
from pathlib import Path
from typing import TYPE_CHECKING

import structlog

from backupd.core.host import host_fault
from backupd.intake.observer import Observer
from backupd.localfs.filesystems import NETWORK_FILESYSTEMS, filesystem_type
from backupd.localfs.limits import try_limits
from backupd.localfs.roots import open_root

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable

    from backupd.config.schema import IntakeMode
    from backupd.intake.matching import Root
    from backupd.intake.observer import PendingHints
    from backupd.intake.scan import Tree
    from backupd.localfs.directory import Directory

log = structlog.get_logger()

_LIMITS = {
    errno.ENOSPC: "fs.inotify.max_user_watches",
    errno.EMFILE: "fs.inotify.max_user_instances",
}


_SIGN_WITHIN = 1.0  # seconds, until another sign is asked for


class Watcher:
    """Keeps an observer on the directories where events can be trusted. Blocking.

    `polled`: the feed directories where only scans find changes. `remote`: those where other hosts
    write too, so that times and events of this host show too little.
    """

    def __init__(self, hints: PendingHints) -> None:
        self._hints = hints
        self._mode: IntakeMode = "auto"
        self._observer: Observer | None = None
        self._turn = threading.RLock()  # no stop in the middle of a start, or of a watch
        self.polled: set[str] = set()
        self.remote: set[str] = set()

    def place(self, mode: IntakeMode, directories: set[str], remote: set[str]) -> None:
        """Say where events and times can be trusted: not in those that are `remote`."""
        polled = {"auto": remote, "events": set[str](), "poll": directories}[mode]
        self._mode, self.remote, self.polled = mode, remote, polled.copy()

    def start(self, trees: Iterable[Tree], directories: Collection[str]) -> None:
        """Watch these directories, once placed, and no others: the `trees` are those there now.

        What came before is for a scan to find.
        """
        with self._turn:
            self.stop()
            if set(directories) - self.polled:
                self._observe(directories)
        self.renew(trees)  # by itself: one of them may hang

    def trust_timestamps(self, directory: str) -> bool:
        """Return whether mtime and ctime there say since when a file has been unchanged."""
        return self._mode != "poll" and directory not in self.remote

    def watch(self, root: Root, path: str, directory: Directory) -> bool:
        """Watch an open directory of a root, unless it is watched; return whether that is new.

        Where no watch is available, the root falls back to polling. Raises OSError when something
        is wrong with the directory.
        """
        directory.stat()  # should it hang, it does so before it has the turn
        with self._turn:
            if self._observer is None or root.directory in self.polled:
                return False
            try:
                return self._observer.watch(path, directory)
            except OSError as error:
                if error.errno not in _LIMITS:
                    raise
                self._fall_to_polling({root.directory}, error)
                return False

    def is_alive(self) -> bool:
        """Return whether events are being read, as far as any are to be."""
        return self._observer is None or self._observer.is_alive()

    def sign_of_life(self) -> None:
        """Return once the observer has read an event of ours; at once where there is none.

        An observer that is stopped or has died meanwhile makes way for its successor.
        """
        while not self._has_given_sign():
            pass

    def _has_given_sign(self) -> bool:
        with self._turn:
            if self._observer is None:
                return True
            try:
                sign = self._observer.give_sign()
            except OSError:
                return True  # no watch is available, which says nothing of the thread
        return sign.wait(_SIGN_WITHIN)

    def renew(self, trees: Iterable[Tree]) -> list[Tree]:
        """Watch feed directories that are not, or are others than before; return these."""
        return [tree for tree in trees if self._renewed(tree)]

    def forget_gone(self) -> None:
        """Give back the watches of directories that were removed or renamed."""
        if self._observer:
            self._observer.forget_gone()

    def stop(self) -> None:
        """Watch nothing any more."""
        with self._turn:
            if self._observer:
                self._observer.stop()
                self._observer = None

    def _observe(self, directories: Collection[str]) -> None:
        try_limits()  # where these are reached, inotify is not to blame
        try:
            self._observer = Observer(self._hints)
        except OSError as error:
            if error.errno not in _LIMITS:
                raise
            self._fall_to_polling(directories, error)

    def _renewed(self, tree: Tree) -> bool:
        path, feed_root = tree.root.directory, tree.feed_root
        if self._observer is None or self._observer.watches(path, feed_root.dev, feed_root.ino):
            return False
        try:
            with open_root(feed_root) as directory:
                return self.watch(tree.root, path, directory)
        except OSError:
            return False  # the feed's health says why

    def _fall_to_polling(self, directories: Collection[str], error: OSError) -> None:
        self.polled |= set(directories)
        log.warning(
            "no more inotify watches to be had, polling instead",
            directories=sorted(directories),
            hint=f"raise the limit: sysctl {_LIMITS[error.errno or 0]}",
        )


def is_remote(directory: str) -> bool:
    """Return whether other hosts may write there too."""
    try:
        return filesystem_type(Path(directory)) in NETWORK_FILESYSTEMS
    except OSError as error:
        if host_fault(error):
            raise
        log.warning("file system type unknown, taken for remote", directory=directory, why=error)
        return True
