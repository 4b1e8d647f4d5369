"""Which feed a name belongs to. Built once from the config; pure."""

from __future__ import annotations

import fnmatch
import posixpath
import re
from collections import defaultdict
from dataclasses import dataclass
from typing import TYPE_CHECKING

from backupd.core import companions
from backupd.core.names import passed_over
from backupd.core.records import Sighting

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from backupd.core.records import Feed, Identity


@dataclass(frozen=True, slots=True)
class Matcher:
    """Decides whether a name is a backup file of one feed, or a companion there."""

    feed: Feed
    matches: Callable[[str], object]
    companion_suffix: str | None

    def takes(self, name: str) -> bool:
        """Return whether this name is a backup file of the feed."""
        return self.matches(name) is not None and not self.is_companion(name)

    def is_companion(self, name: str) -> bool:
        """Return whether this name may be a companion of the feed: never a backup file."""
        return self.companion_suffix is not None and name.endswith(self.companion_suffix)

    def sighting(self, path: str, identity: Identity, now: float) -> Sighting:
        """Return the sighting of a file that the feed takes."""
        rule = self.feed.companion
        return Sighting(
            feed=self.feed,
            path=path,
            relative_path=path.removeprefix(self.feed.directory).lstrip("/"),
            identity=identity,
            companion_path=companions.path_of(path, rule.suffix) if rule else None,
            seen_at=now,
        )


@dataclass(frozen=True, slots=True)
class Root:
    """A feed directory, with the feeds that live in it."""

    directory: str
    matchers: tuple[Matcher, ...]

    @property
    def recursive(self) -> bool:
        """Whether what is below it belongs to a feed too."""
        return any(matcher.feed.recursive for matcher in self.matchers)

    def at(self, below: str) -> list[Matcher]:
        """Return the matchers for the names in a directory below this one; "" is itself."""
        return [matcher for matcher in self.matchers if not below or matcher.feed.recursive]


class FeedMap:
    """All feeds, by where they live."""

    def __init__(self, feeds: Iterable[Feed]) -> None:
        self.feeds = {feed.name: feed for feed in feeds}
        living: defaultdict[str, list[Matcher]] = defaultdict(list)
        for feed in self.feeds.values():
            living[feed.directory].append(_matcher(feed))
        self._roots = {path: Root(path, tuple(there)) for path, there in living.items()}

    @property
    def roots(self) -> Sequence[Root]:
        """Every feed directory, once."""
        return list(self._roots.values())

    def roots_of(self, directory: str) -> list[Root]:
        """Return the roots that have a say in a directory: itself, and recursive ones above."""
        own = self._roots.get(directory)
        found = [own] if own else []
        while (parent := posixpath.dirname(directory)) != directory:
            directory = parent
            above = self._roots.get(directory)
            if above and above.recursive:
                found.append(above)
        return found


def match(matchers: Iterable[Matcher], name: str) -> Matcher | None:
    """Return the matcher that takes a name; the config sees to it that there is one at most."""
    if passed_over(name):
        return None
    for matcher in matchers:
        if matcher.takes(name):
            return matcher
    return None


def is_companion(matchers: Iterable[Matcher], name: str) -> bool:
    """Return whether a name may be a companion of any of these feeds."""
    return any(matcher.is_companion(name) for matcher in matchers)


def _matcher(feed: Feed) -> Matcher:
    pattern = re.compile(fnmatch.translate(feed.pattern))
    return Matcher(feed, pattern.match, feed.companion.suffix if feed.companion else None)
