"""The scan: what really stands in the feed directories. Blocking: it is run in threads.

Entries come in chunks, so that memory does not depend on the size of a directory.
"""

from __future__ import annotations

import os
import posixpath
import stat
import time
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, NamedTuple

from backupd.core.host import host_fault
from backupd.core.names import is_kept, name_before, parse_aside
from backupd.core.records import Identity
from backupd.core.threads import STEP
from backupd.core.untaken import Trouble
from backupd.intake.matching import is_companion, match
from backupd.intake.oddities import KEPT, Tally, not_regular, unreadable
from backupd.localfs.roots import open_root

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

    from backupd.core.records import FeedRoot
    from backupd.intake.matching import Matcher, Root
    from backupd.localfs.directory import Directory

    Lstat = Callable[[], os.stat_result]

CHUNK = 1_000  # entries looked at, at once
_OF_ANOTHER_DAEMON = Trouble(
    "it is the directory of another backupd's feed",
    "only one backupd may work on a directory: keep it out of one of the two feeds;"
    " `ss -xlp | grep backupd/feed` names the processes",
)


class Candidate(NamedTuple):
    """A regular file that a feed takes."""

    path: str
    identity: Identity
    matcher: Matcher


class Entry(NamedTuple):
    """A name in a directory; `below` is that directory's path below the feed's."""

    below: str
    name: str


@dataclass(slots=True)
class Chunk:
    """What was found among some entries; `companions` are paths.

    `asides` are files that a cleanup moved aside, to remove them. `odd` counts what cannot be
    taken; where many chunks come of one look, they share it.
    """

    odd: Tally
    candidates: list[Candidate] = field(default_factory=list)
    companions: list[str] = field(default_factory=list)
    asides: list[Entry] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Tree:
    """A feed directory: which feeds live in it, and which directory it is just now.

    `all_roots` has the real paths of all feed directories by device and inode, `claimed` has device
    and inode of those that belong to feeds of other daemons.
    """

    root: Root
    feed_root: FeedRoot
    all_roots: Mapping[tuple[int, int], str]
    claimed: frozenset[tuple[int, int]]

    def path(self, below: str, name: str = "") -> str:
        """Return the absolute path of a name in a directory below this one ("" is itself)."""
        return "/".join(filter(None, (self.root.directory, below, name)))

    def below(self, path: str) -> str:
        """Return where an absolute path lies below this directory."""
        return path.removeprefix(self.root.directory).lstrip("/")


class Scanner:
    """Looks at directories and names. `watch` is called for a directory before it is listed."""

    def __init__(self, watch: Callable[[Root, str, Directory], None]) -> None:
        self._watch = watch

    def walk(self, tree: Tree, odd: Tally, below: str = "") -> Iterator[Chunk]:
        """Yield what stands in a directory of the tree, and below it where that is recursive.

        Symbolic links and hidden directories are not followed. What cannot be taken is counted in
        `odd`.
        """
        return self._in_chunks(tree, odd, self._entries(tree, below, odd))

    def look(self, tree: Tree, odd: Tally, below: str, names: Iterable[str]) -> Iterator[Chunk]:
        """Yield what became of the names that hints gave, in a directory of the tree."""
        return self._in_chunks(tree, odd, self._named(tree, below, names, odd))

    def look_again(
        self, tree: Tree, candidates: Iterable[Candidate], odd: Tally
    ) -> Iterator[Candidate]:
        """Yield those that are still there, as they are now, and may be read."""
        with suppress(OSError), open_root(tree.feed_root) as top:
            for each in candidates:
                chunk = Chunk(Tally())  # what is odd was counted at first, or is by the next look
                below = tree.below(each.path)
                _take(each.path, partial(top.stat, below), each.matcher, chunk)
                if chunk.candidates and not _may_be_read(top, below):
                    odd.add(each.matcher.feed.name, unreadable(), each.path)
                    continue
                yield from chunk.candidates

    def _in_chunks(
        self, tree: Tree, odd: Tally, found: Iterable[tuple[Entry, Lstat] | None]
    ) -> Iterator[Chunk]:
        """Look at what was found. Where that is slow, chunks are small: it is seen to come on."""
        chunk, count, until = Chunk(odd), 0, time.monotonic() + STEP
        for each in found:
            if each is not None:
                self._note(tree, *each, chunk)
                count += 1
            if count == CHUNK or time.monotonic() >= until:
                yield chunk
                chunk, count, until = Chunk(odd), 0, time.monotonic() + STEP
        yield chunk

    def _entries(self, tree: Tree, below: str, odd: Tally) -> Iterator[tuple[Entry, Lstat] | None]:
        """Yield the entries of a tree, but not the directories that it goes into: None for each."""
        pending = [] if _is_claimed(tree, posixpath.dirname(below)) else [below]
        while pending:
            directory = pending.pop()
            for entry in self._listed(tree, directory, odd):
                if not (tree.root.recursive and _is_directory(entry)):
                    yield Entry(directory, entry.name), partial(entry.stat, follow_symlinks=False)
                elif not entry.name.startswith("."):
                    pending.append("/".join(filter(None, (directory, entry.name))))
            yield None

    def _named(
        self, tree: Tree, below: str, names: Iterable[str], odd: Tally
    ) -> Iterator[tuple[Entry, Lstat]]:
        if _is_claimed(tree, below):
            return  # the next scan reports it
        try:
            with open_root(tree.feed_root) as top, top.directory(below) as directory:
                for name in names:
                    yield Entry(below, name), partial(directory.stat, name)
        except OSError as error:
            _add_unlisted(tree, below, error, odd)

    def _listed(self, tree: Tree, below: str, odd: Tally) -> Iterator[os.DirEntry[str]]:
        """Yield a directory's entries, watching it first: what comes later comes as a hint."""
        path = tree.path(below)
        try:
            with open_root(tree.feed_root) as top, top.directory(below) as directory:
                if below and (trouble := _not_to_be_listed(tree, below, directory)):
                    odd.add(_feed_at(tree, below), trouble, path)
                    return
                self._watch(tree.root, path, directory)
                yield from directory.names()
        except OSError as error:
            _add_unlisted(tree, below, error, odd)

    def _note(self, tree: Tree, at: Entry, lstat: Lstat, chunk: Chunk) -> None:
        matchers = tree.root.at(at.below)
        matcher = match(matchers, at.name)
        path = tree.path(at.below, at.name)
        if matcher:
            _take(path, lstat, matcher, chunk)
        elif is_companion(matchers, at.name):
            chunk.companions.append(path)
        elif parse_aside(at.name):
            chunk.asides.append(at)
        elif is_kept(at.name):
            chunk.odd.add(feed_of(matchers, at.name), KEPT, path)


def feed_of(matchers: Sequence[Matcher], aside: str) -> str:
    """Return the feed of a file that was moved or kept aside."""
    owner = match(matchers, name_before(aside))
    return (owner or matchers[0]).feed.name


def _may_be_read(top: Directory, name: str) -> bool:
    """Return whether this user has the right to; what else is wrong with it shows later."""
    try:
        os.close(top.open(name))
    except OSError as error:
        return not isinstance(error, PermissionError)
    return True


def _take(path: str, lstat: Lstat, matcher: Matcher, chunk: Chunk) -> None:
    """Add a regular file to the chunk; what is no such file is never opened.

    A directory may have any name: it is the sender's business, or a recursive feed's.
    """
    feed = matcher.feed.name
    try:
        found = lstat()
    except OSError as error:
        chunk.odd.add_error(feed, "cannot be looked at", error, path)
        return
    if stat.S_ISREG(found.st_mode):
        chunk.candidates.append(Candidate(path, Identity.of(found), matcher))
    elif not stat.S_ISDIR(found.st_mode):
        chunk.odd.add(feed, not_regular(found.st_mode), path)


def _add_unlisted(tree: Tree, below: str, error: OSError, odd: Tally) -> None:
    """Count a directory that cannot be listed; the feed's own is reported by the feed's health.

    Raises OSError when it is a host fault.
    """
    if below or host_fault(error):
        odd.add_error(_feed_at(tree, below), "cannot be listed", error, tree.path(below))
    else:
        odd.is_whole = False


def _feed_at(tree: Tree, below: str) -> str:
    """Return one feed that a directory belongs to, so that a problem is reported once."""
    return tree.root.at(below)[0].feed.name


def _is_claimed(tree: Tree, below: str) -> bool:
    """Return whether a directory, or one above it in the tree, is of another daemon's feed."""
    if not (tree.claimed and below):
        return False
    parts = below.split("/")
    paths = ("/".join(parts[:count]) for count in range(1, len(parts) + 1))
    with suppress(OSError), open_root(tree.feed_root) as top:  # who lists it reports what is wrong
        return any(_key(top.stat(path)) in tree.claimed for path in paths)
    return False


def _not_to_be_listed(tree: Tree, below: str, directory: Directory) -> Trouble | None:
    """Return why what is in this directory is not this feed's to take; None: it is."""
    key = _key(directory.stat())
    if key in tree.claimed:
        return _OF_ANOTHER_DAEMON
    owner = tree.all_roots.get(key)
    return _twice(owner) if owner and owner != f"{tree.feed_root.path}/{below}" else None


def _key(about: os.stat_result) -> tuple[int, int]:
    return about.st_dev, about.st_ino


def _twice(owner: str) -> Trouble:
    return Trouble(
        f"it is the directory {owner} of a feed once more, by a bind mount", "unmount it"
    )


def _is_directory(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir(follow_symlinks=False)
    except OSError:  # the file system does not say what entries are, and this one cannot be asked
        return False
