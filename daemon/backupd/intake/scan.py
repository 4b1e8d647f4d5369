"""The scan: what really stands in the feed directories. Blocking: it is run in threads.

Entries come in chunks, so that memory does not depend on the size of a directory.
"""

from __future__ import annotations

import os
import stat
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, NamedTuple

from backupd.core.records import Identity
from backupd.intake.matching import is_companion, match
from backupd.intake.oddities import kind

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from backupd.intake.matching import Matcher, Root
    from backupd.intake.oddities import Oddities

CHUNK = 1_000  # entries looked at, at once


class Candidate(NamedTuple):
    """A regular file that a feed takes."""

    path: str
    identity: Identity
    matcher: Matcher


@dataclass(slots=True)
class Chunk:
    """What was found among some entries; `companions` are paths."""

    candidates: list[Candidate] = field(default_factory=list)
    companions: list[str] = field(default_factory=list)


class Scanner:
    """Looks at directories and names. `watch` is called for a directory before it is listed."""

    def __init__(self, watch: Callable[[Root, str], None], oddities: Oddities) -> None:
        self._watch = watch
        self._oddities = oddities

    def walk(self, root: Root, top: str) -> Iterator[Chunk]:
        """Yield what stands in `top`, and below it where the root is recursive.

        Symbolic links and hidden directories are not followed.
        """
        chunk, count = Chunk(), 0
        for entry, matchers in self._entries(root, top):
            self._note(entry, matchers, chunk)
            count += 1
            if count == CHUNK:
                yield chunk
                chunk, count = Chunk(), 0
        yield chunk

    def look(self, directory: str, names: Iterable[str], matchers: list[Matcher]) -> Chunk:
        """Return what became of names that a hint told."""
        chunk = Chunk()
        for name in names:
            path = f"{directory}/{name}"
            matcher = match(matchers, name)
            if matcher:
                self._take(path, partial(os.lstat, path), matcher, chunk)
            elif is_companion(matchers, name):
                chunk.companions.append(path)
        return chunk

    def look_again(self, candidates: Iterable[Candidate]) -> list[Candidate]:
        """Return those that are still there, as they are now."""
        chunk = Chunk()
        for path, _, matcher in candidates:
            self._take(path, partial(os.lstat, path), matcher, chunk)
        return chunk.candidates

    def _entries(self, root: Root, top: str) -> Iterator[tuple[os.DirEntry[str], list[Matcher]]]:
        """Yield the entries of a tree, but not the directories that it goes into."""
        descend = root.recursive
        pending = [top]
        while pending:
            directory = pending.pop()
            matchers = root.at(directory)
            for entry in self._listed(root, directory):
                if not (descend and _is_directory(entry)):
                    yield entry, matchers
                elif not entry.name.startswith("."):
                    pending.append(entry.path)

    def _listed(self, root: Root, directory: str) -> Iterator[os.DirEntry[str]]:
        """Yield a directory's entries, watching it first: what comes later comes as a hint."""
        try:
            self._watch(root, directory)
            with os.scandir(directory) as entries:
                yield from entries
        except (FileNotFoundError, NotADirectoryError):
            return  # gone meanwhile; a root that is gone is the feed's health
        except OSError as error:
            self._oddities.report(directory, f"cannot be listed: {error.strerror}")

    def _note(self, entry: os.DirEntry[str], matchers: list[Matcher], chunk: Chunk) -> None:
        matcher = match(matchers, entry.name)
        if matcher:
            self._take(entry.path, partial(entry.stat, follow_symlinks=False), matcher, chunk)
        elif is_companion(matchers, entry.name):
            chunk.companions.append(entry.path)

    def _take(
        self, path: str, lstat: Callable[[], os.stat_result], matcher: Matcher, chunk: Chunk
    ) -> None:
        """Add a regular file to the chunk; what is no such file is never opened."""
        try:
            found = lstat()
        except FileNotFoundError:
            return
        except OSError as error:
            self._oddities.report(path, f"cannot be looked at: {error.strerror}")
            return
        if stat.S_ISREG(found.st_mode):
            chunk.candidates.append(Candidate(path, Identity.of(found), matcher))
        else:
            self._oddities.report(path, f"it is {kind(found.st_mode)}")


def _is_directory(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir(follow_symlinks=False)
    except OSError:  # the file system does not say what entries are, and this one cannot be asked
        return False
