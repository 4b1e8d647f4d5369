"""What stands in the feeds' directories and cannot be taken.

A scan of a directory counts anew, and so finds out what is gone; events add to that. What is known
here becomes incidents: see `alerts/tracker.py`.
"""

from __future__ import annotations

import errno
import os
import stat
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from backupd.core.host import host_fault
from backupd.core.names import escaped
from backupd.core.untaken import Trouble, Untaken
from backupd.localfs.directory import NOTHING_THERE

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from backupd.intake.matching import Root

_KINDS = {
    stat.S_IFLNK: "a symbolic link",
    stat.S_IFIFO: "a FIFO",
    stat.S_IFSOCK: "a socket",
    stat.S_IFDIR: "a directory",
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
}
_GONE = NOTHING_THERE - {errno.ENAMETOOLONG}
_NO_RIGHT = {errno.EACCES, errno.EPERM}
_FILES_ONLY = "have the file itself delivered, or this removed: only regular files are taken"
KEPT = Trouble(
    "a removal could not put it back to its name",
    "compare it with its copy in the archive; remove it, or give it a name of its own to have it"
    " taken",
)


def kind(mode: int) -> str:
    """Say what a file that is no regular one is, from its stat mode."""
    return _KINDS.get(stat.S_IFMT(mode), "no regular file")


def not_regular(mode: int) -> Trouble:
    """Return what is wrong with what has the name of a backup file and is none."""
    return Trouble(f"it is {kind(mode)}", _FILES_ONLY)


def unreadable() -> Trouble:
    """Return what is wrong with a file that this user may not read."""
    return Trouble("it may not be read", f"give user {os.geteuid()} the right to read it")


def unseen(cannot: str, error: OSError) -> Trouble:
    """Return what is wrong with what "cannot be listed", or looked at."""
    if error.errno == errno.ENAMETOOLONG:
        return Trouble("its path is too long", "have it delivered under shorter names")
    hint = "look after its file system"
    if error.errno in _NO_RIGHT:
        hint = f"give user {os.geteuid()} the right to read and enter the directory"
    return Trouble(f"it {cannot}: {error.strerror}", hint)


@dataclass(slots=True)
class Tally:
    """What was found in one directory and those below it: a number and an example a trouble."""

    found: dict[tuple[str, Trouble], tuple[int, str]] = field(default_factory=dict)
    is_whole: bool = True  # all was looked at

    def add(self, feed: str, trouble: Trouble, path: str) -> None:
        """Count one path."""
        number, example = self.found.get((feed, trouble), (0, path))
        self.found[feed, trouble] = number + 1, min(example, path)  # in whatever order they come

    def add_error(self, feed: str, cannot: str, error: OSError, path: str) -> None:
        """Count what could not be seen. What is gone is no news, our own limits are raised."""
        if host_fault(error):
            raise error
        if error.errno == errno.ESTALE:  # the feed's directory is another one: says nothing of it
            self.is_whole = False
        elif error.errno not in _GONE:
            self.add(feed, unseen(cannot, error), path)

    def add_new(self, other: Tally) -> None:
        """Take over the troubles that are not known here."""
        self.found = other.found | self.found


class Oddities:
    """What cannot be taken just now, by feed directory."""

    def __init__(self) -> None:
        self._known: dict[str, Tally] = {}  # by the last whole scan, and events since
        self._meanwhile: dict[str, Tally] = {}  # by events since a scan began

    def begin(self, directory: str) -> Tally:
        """Return where a scan is to count, from the top of a feed directory."""
        self._meanwhile[directory] = Tally()
        return Tally()

    def end(self, directory: str, counted: Tally) -> None:
        """Believe a scan that came to its end."""
        if counted.is_whole:
            counted.add_new(self._meanwhile[directory])
            self._known[directory] = counted

    def add(self, directory: str, found: Tally) -> None:
        """Take what events led to, which may be known."""
        for tallies in (self._known, self._meanwhile):
            if directory in tallies:
                tallies[directory].add_new(found)

    def of(self, roots: Iterable[Root]) -> Mapping[str, list[Untaken] | None]:
        """Return what each feed does not take; None where its directory was not scanned yet."""
        found: dict[str, list[Untaken] | None] = {}
        for root in roots:
            known = self._known.get(root.directory)
            found |= {each.feed.name: None if known is None else [] for each in root.matchers}
            for (feed, trouble), (number, path) in (known.found if known else {}).items():
                there = found.get(feed)
                if there is not None:
                    there.append(Untaken(feed, trouble, number, escaped(path)))
        return found
