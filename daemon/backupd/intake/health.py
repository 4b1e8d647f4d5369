"""Feed health: whether a feed's directory is there, and is the one where its files were seen.

An unmounted disk leaves an empty directory behind. So the mount point of each feed is remembered,
and a feed whose mount point is none any more is unavailable for as long as it has files there. The
directory may also have been replaced, by a link or by another one: whoever may write to the one
above it can do that. Then the feed is unavailable until its directory is back, or the config is
read anew. So is one whose directory is another feed's by a bind mount, or another daemon's: its
files would be taken twice.
"""

from __future__ import annotations

import asyncio
import os
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import structlog

from backupd.core.host import host_fault
from backupd.core.records import FeedMount
from backupd.localfs.claims import ClaimedError, Claims
from backupd.localfs.roots import find_root, unavailable

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable

    from backupd.core.records import Feed, FeedRoot
    from backupd.core.threads import DirectoryThreads
    from backupd.intake.ports import IntakeLedger

    Paths = dict[tuple[int, int], str]  # of directories, by device and inode

log = structlog.get_logger()

_FEED = "feed"  # what a claim calls its directory


@dataclass(frozen=True, slots=True)
class _Sight:
    """A directory as it was when all was well; `mount` is the mount point that it stood on."""

    stat: tuple[object, ...]
    root: FeedRoot
    mount: str


class FeedHealth:
    """Knows which feeds are unavailable.

    `away` maps their names to the reasons, `roots` those of all others to their directories, and
    `claimed` has device and inode of the directories of other daemons' feeds, all as last checked.
    """

    def __init__(
        self,
        feeds: Iterable[Feed],
        ledger: IntakeLedger,
        threads: DirectoryThreads,
        on_change: Callable[[], Awaitable[None]],
    ) -> None:
        """`on_change` is awaited when feeds go away or come back, just before `away` says so."""
        self._threads = threads
        self.away: dict[str, str] = {}
        self.roots: dict[str, FeedRoot] = {}
        self.claimed: frozenset[tuple[int, int]] = frozenset()
        self.checked = False  # whether `away` was looked at yet
        self._feeds = tuple(feeds)
        self._ledger = ledger
        self._on_change = on_change
        self._remembered: dict[str, FeedMount] | None = None  # by feed, as the ledger has it
        self._good: dict[str, _Sight] = {}
        self._claims = Claims()

    async def check(self) -> None:
        """Look at every feed, and report when one went away or came back."""
        if self._remembered is None:
            self._remembered = await self._ledger.feed_mounts()
        away = await self._look()
        if away:
            # Where none of a feed's files is local any more, nothing can be missing.
            self._remembered = await self._ledger.feed_mounts()
            away = await self._look()
        await self._remember()
        if any(feed.recursive for feed in self._feeds):  # no other feed looks below its directory
            self.claimed = self._claims.elsewhere(_FEED)
        self.roots = {
            feed.name: self._good[feed.name].root for feed in self._feeds if feed.name not in away
        }
        await self._report(away)

    def close(self) -> None:
        """Let another daemon have the directories."""
        self.roots = {}
        self._claims.close()

    async def _look(self) -> dict[str, str]:
        self._claims.answer()
        looks = {feed.name: (feed.directory, partial(self._sight, feed)) for feed in self._feeds}
        seen = await self._threads.run_each(looks)
        paths: Paths = {}
        # What is as it was comes first: of two paths to one directory, the newer one is refused.
        feeds = sorted(self._feeds, key=lambda feed: not self._is_as_before(feed, seen[feed.name]))
        reasons = {feed.name: self._why_away(feed, seen[feed.name], paths) for feed in feeds}
        return {name: reason for name, reason in reasons.items() if reason}

    def _sight(self, feed: Feed) -> _Sight | str:
        """Look now; return what was seen, or why the feed's files cannot be reached. Blocking."""
        good = self._good.get(feed.name)
        try:
            found = _stat(feed.directory)
            if good and good.stat == found:
                return good
            root = find_root(feed.directory)
            sight = _Sight(found, root, mount_point(root.path))
        except OSError as error:
            if host_fault(error):
                raise
            return unavailable(feed.directory, error)
        return self._unmounted(feed) or sight

    def _is_as_before(self, feed: Feed, seen: _Sight | str | OSError) -> bool:
        """Return whether the feed's directory is as it was when all was well, as far as known."""
        return isinstance(seen, OSError) or seen is self._good.get(feed.name)

    def _why_away(self, feed: Feed, seen: _Sight | str | OSError, paths: Paths) -> str | None:
        """Say why the feed's files cannot be reached; None: they can.

        `paths`: the directories that others have. One that does not answer keeps its own.
        """
        if isinstance(seen, OSError):
            if good := self._good.get(feed.name):
                _mounted_twice(good.root, paths)
            return unavailable(feed.directory, seen)
        if isinstance(seen, str):
            return seen
        reason = (
            _mounted_twice(seen.root, paths)
            or self._replaced(feed, seen)
            or self._claimed(seen.root)
        )
        if reason is None:
            self._good[feed.name] = seen
            return None
        return _unavailable(feed, reason)

    def _unmounted(self, feed: Feed) -> str | None:
        """Say so where the disk that the feed's files were seen on is not mounted."""
        seen = (self._remembered or {}).get(feed.name)
        if seen and seen.has_files and not os.path.ismount(seen.mount):
            return _unavailable(feed, f"{seen.mount} is not mounted")
        return None

    def _replaced(self, feed: Feed, sight: _Sight) -> str | None:
        """Say so where the path leads to another directory than before.

        A sender cannot mount: a directory on another device is the operator's doing.
        """
        led_to = self._led_to(feed)
        if led_to is not None and led_to != sight.root.path:
            return (
                f"it led to {led_to} and leads to {sight.root.path} now (put it back, or name the"
                f" directory that is meant in feeds.{feed.file_type}.directory)"
            )
        good = self._good.get(feed.name)
        if good and good.root.dev == sight.root.dev and good.root.ino != sight.root.ino:
            return (
                "another directory stands in its place (put it back, or have the config read anew"
                " to take this one: systemctl reload backupd)"
            )
        return None

    def _led_to(self, feed: Feed) -> str | None:
        """Return where the path of the feed's directory led, links followed; None: not known."""
        if feed.name in self._good:
            return self._good[feed.name].root.path
        seen = (self._remembered or {}).get(feed.name)
        return seen.real_path if seen and seen.directory == feed.directory else None

    def _claimed(self, root: FeedRoot) -> str | None:
        """Claim the directory; say so where another daemon has it."""
        try:
            self._claims.add(root.dev, root.ino, _FEED)
        except ClaimedError as error:
            return f"{error} ({error.hint})"
        except OSError as error:
            if host_fault(error):
                raise
            log.warning("a feed's directory cannot be claimed", path=root.path, why=error.strerror)
        return None

    async def _remember(self) -> None:
        remembered = self._remembered or {}
        new = {}
        for feed in self._feeds:
            if (good := self._good.get(feed.name)) is None:
                continue
            seen = remembered.get(feed.name, FeedMount(mount=""))
            now = replace(
                seen, mount=good.mount, directory=feed.directory, real_path=good.root.path
            )
            if now != seen:
                new[feed.name] = now
        await asyncio.gather(*(self._ledger.remember_root(*item) for item in new.items()))
        self._remembered = remembered | new

    async def _report(self, away: dict[str, str]) -> None:
        for name in away.keys() - self.away.keys():
            log.info("feed is away", feed=name, why=away[name])
        for name in self.away.keys() - away.keys():
            log.info("feed is back", feed=name)
        if away.keys() != self.away.keys():
            await self._on_change()
        self.away = away
        self.checked = True


def _mounted_twice(root: FeedRoot, paths: Paths) -> str | None:
    """Say so where another feed has the directory, by another path. Else it has it from now on."""
    path = paths.setdefault((root.dev, root.ino), root.path)
    if path == root.path:
        return None
    return f"it is the same directory as {path}, by a bind mount (unmount one of the two)"


def _unavailable(feed: Feed, reason: str) -> str:
    return f"the feed's directory {feed.directory} is unavailable: {reason}"


def mount_point(directory: str) -> str:
    """Return the mount point that a directory stands on, symbolic links followed."""
    real = Path(directory).resolve()
    return str(next(path for path in (real, *real.parents) if path.is_mount()))


def _stat(directory: str) -> tuple[object, ...]:
    """Return what changes when the path leads elsewhere, or its rights change."""
    found = os.lstat(f"{directory}/.")  # the dot asks for a directory, and for leave to enter it
    return found.st_dev, found.st_ino, found.st_mode, found.st_uid, Path(directory).is_symlink()
