"""The scan: what really stands in the feed directories. Blocking: it is run in threads.

Entries come in chunks, so that memory does not depend on the size of a directory.
"""

from __future__ import annotations

import errno
import stat
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, NamedTuple

from backupd.core.names import is_kept, parse_aside
from backupd.core.records import Identity
from backupd.intake.matching import is_companion, match
from backupd.intake.oddities import kind
from backupd.localfs.directory import NOTHING_THERE
from backupd.localfs.roots import open_root

if TYPE_CHECKING:
    import os
    from collections.abc import Callable, Iterable, Iterator

    from backupd.core.records import FeedRoot
    from backupd.intake.matching import Matcher, Root
    from backupd.intake.oddities import Oddities
    from backupd.localfs.directory import Directory

CHUNK = 1_000  # entries looked at, at once


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

    `asides` are files that a cleanup moved aside, to remove them.
    """

    candidates: list[Candidate] = field(default_factory=list)
    companions: list[str] = field(default_factory=list)
    asides: list[Entry] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Tree:
    """A feed directory: which feeds live in it, and which directory it is just now."""

    root: Root
    feed_root: FeedRoot

    def path(self, below: str, name: str = "") -> str:
        """Return the absolute path of a name in a directory below this one ("" is itself)."""
        return "/".join(filter(None, (self.root.directory, below, name)))

    def below(self, path: str) -> str:
        """Return where an absolute path lies below this directory."""
        return path.removeprefix(self.root.directory).lstrip("/")


class Scanner:
    """Looks at directories and names. `watch` is called for a directory before it is listed."""

    def __init__(self, watch: Callable[[Root, str, Directory], None], oddities: Oddities) -> None:
        self._watch = watch
        self.oddities = oddities

    def walk(self, tree: Tree, below: str = "") -> Iterator[Chunk]:
        """Yield what stands in a directory of the tree, and below it where that is recursive.

        Symbolic links and hidden directories are not followed.
        """
        chunk, count = Chunk(), 0
        for directory, entry in self._entries(tree, below):
            lstat = partial(entry.stat, follow_symlinks=False)
            self._note(tree, Entry(directory, entry.name), lstat, chunk)
            count += 1
            if count == CHUNK:
                yield chunk
                chunk, count = Chunk(), 0
        yield chunk

    def look(self, tree: Tree, below: str, names: Iterable[str]) -> Chunk:
        """Return what became of names in a directory of the tree, as a hint told."""
        chunk = Chunk()
        try:
            with open_root(tree.feed_root) as top, top.directory(below) as directory:
                for name in names:
                    self._note(tree, Entry(below, name), partial(directory.stat, name), chunk)
        except OSError as error:
            self._report_unlisted(tree.path(below), error)
        return chunk

    def look_again(self, tree: Tree, candidates: Iterable[Candidate]) -> list[Candidate]:
        """Return those that are still there, as they are now."""
        chunk = Chunk()
        try:
            with open_root(tree.feed_root) as top:
                for each in candidates:
                    lstat = partial(top.stat, tree.below(each.path))
                    self._take(each.path, lstat, each.matcher, chunk)
        except OSError as error:
            self._report_unlisted(tree.root.directory, error)
        return chunk.candidates

    def _entries(self, tree: Tree, below: str) -> Iterator[tuple[str, os.DirEntry[str]]]:
        """Yield the entries of a tree, but not the directories that it goes into."""
        pending = [below]
        while pending:
            directory = pending.pop()
            for entry in self._listed(tree, directory):
                if not (tree.root.recursive and _is_directory(entry)):
                    yield directory, entry
                elif not entry.name.startswith("."):
                    pending.append("/".join(filter(None, (directory, entry.name))))

    def _listed(self, tree: Tree, below: str) -> Iterator[os.DirEntry[str]]:
        """Yield a directory's entries, watching it first: what comes later comes as a hint."""
        path = tree.path(below)
        try:
            with open_root(tree.feed_root) as top, top.directory(below) as directory:
                self._watch(tree.root, path, directory)
                yield from directory.names()
        except OSError as error:
            self._report_unlisted(path, error)

    def _report_unlisted(self, path: str, error: OSError) -> None:
        """What is gone is no news: a root that is gone, or another one, is the feed's health."""
        if error.errno not in {*NOTHING_THERE, errno.ESTALE}:
            self.oddities.report(path, f"cannot be listed: {error.strerror}")

    def _note(
        self, tree: Tree, at: Entry, lstat: Callable[[], os.stat_result], chunk: Chunk
    ) -> None:
        matchers = tree.root.at(at.below)
        matcher = match(matchers, at.name)
        path = tree.path(at.below, at.name)
        if matcher:
            self._take(path, lstat, matcher, chunk)
        elif is_companion(matchers, at.name):
            chunk.companions.append(path)
        elif parse_aside(at.name):
            chunk.asides.append(at)
        elif is_kept(at.name):
            self.oddities.report(path, "it could not be put back to its name: look at it")

    def _take(
        self, path: str, lstat: Callable[[], os.stat_result], matcher: Matcher, chunk: Chunk
    ) -> None:
        """Add a regular file to the chunk; what is no such file is never opened."""
        try:
            found = lstat()
        except OSError as error:
            if error.errno in NOTHING_THERE:
                return
            self.oddities.report(path, f"cannot be looked at: {error.strerror}")
            return
        if stat.S_ISREG(found.st_mode):
            chunk.candidates.append(Candidate(path, Identity.of(found), matcher))
        else:
            self.oddities.report(path, f"it is {kind(found.st_mode)}")


def _is_directory(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir(follow_symlinks=False)
    except OSError:  # the file system does not say what entries are, and this one cannot be asked
        return False
