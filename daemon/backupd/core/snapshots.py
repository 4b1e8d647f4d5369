"""Snapshots of the ledger: what they are called in the archive, and which of them are kept. Pure.

They are at `.backupd/<host name>/ledger-<UTC time>.db.gz`: no file of a feed ever goes there.
"""

from __future__ import annotations

import hashlib
import posixpath
import re
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Collection
    from pathlib import Path

OWN_DIRECTORY = ".backupd"  # in the archive
_TIME = "%Y%m%dT%H%M%SZ"
_FILE = r"ledger-(?P<time>\d{8}T\d{6}Z)\.db\.gz"
_NAME = re.compile(rf"{re.escape(OWN_DIRECTORY)}/[^/]+/{_FILE}")
_UNPRINTABLE = re.compile(r"[^A-Za-z0-9._-]")


@dataclass(frozen=True, slots=True, kw_only=True)
class Home:
    """Where the snapshots of one ledger are. `owner` is what its temporary files begin with."""

    directory: str  # relative to the archive's root
    owner: str

    @property
    def part_id(self) -> str:
        """The one of its uploads: there is never more than one at a time."""
        return f"{self.owner}.1"

    def name(self, at: float) -> str:
        """Return the name of the snapshot of this time."""
        time = datetime.fromtimestamp(at, UTC).strftime(_TIME)
        return f"{self.directory}/ledger-{time}.db.gz"

    def own(self, names: Collection[str]) -> list[str]:
        """Return those of the names in its directory that are snapshots, with the directory."""
        whole = (posixpath.join(self.directory, each) for each in names)
        return sorted(each for each in whole if is_snapshot(each))

    def left_behind(self, names: Collection[str]) -> list[str]:
        """Return the snapshots of whose uploads a temporary file or a claim is among the names."""
        ends = rf"(?:\.{re.escape(self.part_id)}\.part|\.claim)"
        left = re.compile(rf"\.({_FILE}){ends}")
        found = filter(None, map(left.fullmatch, names))
        return sorted(posixpath.join(self.directory, match[1]) for match in found)


@dataclass(frozen=True, slots=True, kw_only=True)
class Shipped:
    """A snapshot that is in the archive, and was verified there."""

    sent_bytes: int
    sha256: str  # of what the archive holds
    kept_more: str = ""  # why older ones than should are still there


@dataclass(frozen=True, slots=True, kw_only=True)
class LastSnapshot:
    """The newest snapshot of a ledger; with no `name`, since when there has been none."""

    name: str
    at: float


class Shelf(Protocol):
    """The snapshots of one ledger in the archive."""

    async def names(self) -> list[str]:
        """Return the snapshots that are there, oldest first; remove what uploads left behind."""
        ...

    async def add(self, path: str, name: str, kept: int) -> Shipped:
        """Ship the file at `path` as a snapshot; then keep the newest `kept` alone.

        Raises NameTakenError where the name is taken, and what the archive raises.
        """
        ...


def home_of(host: str, ledger: Path) -> Home:
    """Return where the snapshots go of the ledger at this path, of the host of this name."""
    part = _UNPRINTABLE.sub("_", host)
    if not part.strip("."):
        part = f"host{part}"
    owner = hashlib.sha256(str(ledger).encode("utf-8", "surrogateescape")).hexdigest()[:20]
    return Home(directory=f"{OWN_DIRECTORY}/{part}", owner=owner)


def is_snapshot(name: str) -> bool:
    """Return whether a name of the archive is one that a snapshot has, and nothing else."""
    return taken_at(name) is not None


def taken_at(name: str) -> float | None:
    """Return when a snapshot was taken; None for any other name."""
    match = _NAME.fullmatch(name)
    if match is None:
        return None
    try:
        return datetime.strptime(match["time"], _TIME).replace(tzinfo=UTC).timestamp()
    except ValueError:  # of digits that are no time
        return None


def newest_first(names: Collection[str], now: float) -> list[str]:
    """Return snapshots in order. Those of the future come last: a clock was wrong."""

    def order(name: str) -> tuple[bool, float]:
        at = taken_at(name) or 0.0
        return at <= now, at

    return sorted(names, key=order, reverse=True)


def superseded(names: Collection[str], kept: int, now: float) -> list[str]:
    """Return those snapshots that are to be removed, so that the newest `kept` stay."""
    return newest_first(names, now)[kept:]
