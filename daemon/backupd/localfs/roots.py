"""A feed's directory, opened as the very one that it was when the feed was found well."""

from __future__ import annotations

import errno
import os
from contextlib import ExitStack
from typing import Self

from backupd.core.records import FeedRoot
from backupd.localfs.directory import Directory


def find_root(directory: str) -> FeedRoot:
    """Return which directory this path leads to just now. Raises OSError where it is none."""
    path = os.path.realpath(directory)
    with Directory.at(path) as found:
        next(found.names(), None)  # one that may not be listed is of no use
        about = found.stat()
    return FeedRoot(path=path, dev=about.st_dev, ino=about.st_ino)


def open_root(root: FeedRoot) -> Directory:
    """Open a feed's directory. Raises OSError; ESTALE where another one stands at its path."""
    directory = Directory.at(root.path)
    about = directory.stat()
    if (about.st_dev, about.st_ino) == (root.dev, root.ino):
        return directory
    directory.close()
    raise OSError(errno.ESTALE, "another directory stands in its place", root.path)


def unavailable(directory: str, error: OSError) -> str:
    """Say why a feed's directory cannot be worked on."""
    return f"the feed's directory {directory} is unavailable: {error.strerror}"


class OpenRoots:
    """Feeds' directories, each opened once while many files are looked at. A context manager."""

    def __init__(self) -> None:
        self._stack = ExitStack()
        self._open: dict[FeedRoot, Directory] = {}

    def __enter__(self) -> Self:
        """Return itself."""
        return self

    def __exit__(self, *_: object) -> None:
        """Close them all."""
        self._stack.close()

    def at(self, root: FeedRoot) -> Directory:
        """Return the open directory. Raises OSError as `open_root` does."""
        if root not in self._open:
            self._open[root] = self._stack.enter_context(open_root(root))
        return self._open[root]
