"""Feed health: whether a feed's directory is there, and is the one where its files were seen.

An unmounted disk leaves an empty directory behind. So the mount point of each feed is remembered,
and a feed whose mount point is none any more is away for as long as it has files there.
"""

from __future__ import annotations

import asyncio
import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import structlog

from backupd.core.records import FeedMount

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable

    from backupd.core.records import Feed
    from backupd.intake.ports import IntakeLedger

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class _Sight:
    """A directory as it was when all was well; `mount` is the mount point that it stood on."""

    stat: tuple[int, int, int, int]
    mount: str


class FeedHealth:
    """Knows which feeds are away. `away` maps their names to the reasons, as last checked."""

    def __init__(
        self, feeds: Iterable[Feed], ledger: IntakeLedger, on_change: Callable[[], Awaitable[None]]
    ) -> None:
        """`on_change` is awaited when feeds go away or come back, just before `away` says so."""
        self.away: dict[str, str] = {}
        self.checked = False  # whether `away` was looked at yet
        self._feeds = tuple(feeds)
        self._ledger = ledger
        self._on_change = on_change
        self._expected: dict[str, str] | None = None  # by feed: the mount point it must stand on
        self._written: dict[str, str] = {}  # by feed: the one that the ledger holds
        self._good: dict[str, _Sight] = {}

    def why_away(self, feed: Feed) -> str | None:
        """Look now, and say why the feed's files cannot be reached; None: they can. Blocking."""
        good = self._good.get(feed.name)
        try:
            found = _stat(feed.directory)
            if good and good.stat == found:
                return None
            _try_to_list(feed.directory)
            mount = mount_point(feed.directory)
        except OSError as error:
            return f"the feed's directory {feed.directory} is away: {error.strerror}"
        expected = (self._expected or {}).get(feed.name)
        if expected and not os.path.ismount(expected):
            return f"the feed's directory {feed.directory} is away: {expected} is not mounted"
        self._good[feed.name] = _Sight(found, mount)
        return None

    async def check(self) -> None:
        """Look at every feed, and tell when one went away or came back."""
        if self._expected is None:
            self._expected = await self._expected_mounts()
            self._written = dict(self._expected)
        away = await asyncio.to_thread(self._look)
        if away:
            # Where none of a feed's files is local any more, nothing can be missing.
            self._expected = await self._expected_mounts()
            away = await asyncio.to_thread(self._look)
        await self._remember_mounts()
        await self._tell(away)

    async def _expected_mounts(self) -> dict[str, str]:
        return {feed: root.mount for feed, root in (await self._ledger.feed_mounts()).items()}

    def _look(self) -> dict[str, str]:
        reasons = {feed.name: self.why_away(feed) for feed in self._feeds}
        return {name: reason for name, reason in reasons.items() if reason}

    async def _remember_mounts(self) -> None:
        new = {
            name: good.mount
            for name, good in list(self._good.items())
            if self._written.get(name) != good.mount
        }
        await asyncio.gather(
            *(
                self._ledger.remember_root(feed, FeedMount(mount=mount))
                for feed, mount in new.items()
            )
        )
        self._written |= new
        self._expected = (self._expected or {}) | new

    async def _tell(self, away: dict[str, str]) -> None:
        for name in away.keys() - self.away.keys():
            log.info("feed is away", feed=name, why=away[name])
        for name in self.away.keys() - away.keys():
            log.info("feed is back", feed=name)
        if away.keys() != self.away.keys():
            await self._on_change()
        self.away = away
        self.checked = True


def mount_point(directory: str) -> str:
    """Return the mount point that a directory stands on, symbolic links followed."""
    real = Path(directory).resolve()
    return str(next(path for path in (real, *real.parents) if path.is_mount()))


def _stat(directory: str) -> tuple[int, int, int, int]:
    found = os.lstat(f"{directory}/.")  # the dot asks for a directory, and for leave to enter it
    return found.st_dev, found.st_ino, found.st_mode, found.st_uid


def _try_to_list(directory: str) -> None:
    with os.scandir(directory) as entries:
        next(entries, None)
