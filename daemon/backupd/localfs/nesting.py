"""Whether one directory is inside another, even through links and bind mounts.

Paths alone do not show it: a link or a bind mount makes a directory appear again elsewhere. So
three things are compared: the paths with all links followed; device and inode of a directory and of
those above it; where each is on its file system, according to the mount table (proc(5),
`/proc/[pid]/mountinfo`).
"""

from __future__ import annotations

import os
import re
from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

from backupd.localfs.filesystems import existing_directory, mount_id

if TYPE_CHECKING:
    from collections.abc import Container

_ESCAPE = re.compile(rb"\\([0-7]{3})")
_Place = tuple[str, str]  # a device, and a path on its file system


@dataclass(frozen=True, slots=True)
class Spot:
    """Where a directory really lies; it need not be there (yet)."""

    path: str  # links followed
    identity: tuple[int, int] | None  # device and inode; None: it is not there
    above: frozenset[tuple[int, int]]  # the same of all directories above it
    place: _Place | None  # None: the mount table does not say
    mounted: tuple[_Place, ...]  # what else is to be seen below it

    def is_same(self, other: Spot) -> bool:
        """Return whether both are one directory."""
        return (
            self.path == other.path
            or (self.identity is not None and self.identity == other.identity)
            or (self.place is not None and self.place == other.place)
        )

    def lies_in(self, other: Spot) -> bool:
        """Return whether it is the other one, or to be seen anywhere below it."""
        return (
            self.is_same(other)
            or _is_below(self.path, other.path)
            or other.identity in self.above
            or any(self._is_shown_by(shown) for shown in (other.place, *other.mounted))
        )

    def shares(self, other: Spot) -> bool:
        """Return whether any directory is to be seen in both, or below both."""
        if self.lies_in(other) or other.lies_in(self):
            return True
        shown = (self.place, *self.mounted), (other.place, *other.mounted)
        return any(_overlap(one, another) for one in shown[0] for another in shown[1])

    def _is_shown_by(self, shown: _Place | None) -> bool:
        return self.place is not None and shown is not None and _is_in(self.place, shown)


@dataclass(frozen=True, slots=True)
class _Mount:
    device: str
    root: str  # which directory of the file system is mounted
    point: str


class Mounts:
    """The mount table as it is now, and the spots of directories by it."""

    def __init__(self, silent: Container[str] = ()) -> None:
        """Read the mount table; where it cannot be read, spots are compared without it.

        Nothing is looked at on `silent` paths: that would hang.
        """
        self._silent = silent
        self._mounts: dict[int, _Mount] = {}
        with suppress(OSError):
            lines = Path("/proc/self/mountinfo").read_bytes().splitlines()
            self._mounts = dict(map(_mount, lines))
        self._identity = cache(_identity)

    def answers(self, path: str) -> bool:
        """Return whether it can be looked at."""
        return path not in self._silent

    def spot(self, path: str) -> Spot:
        """Return where a directory really lies; one that does not answer, by its path alone."""
        if not self.answers(path):
            return Spot(os.path.normpath(path), None, frozenset(), None, ())
        real = os.path.realpath(path)
        above = (self._identity(str(each)) for each in Path(real).parents)
        return Spot(
            path=real,
            identity=self._identity(real),
            above=frozenset(each for each in above if each is not None),
            place=self._place(real),
            mounted=tuple(
                (each.device, each.root)
                for each in self._mounts.values()
                if _is_below(each.point, real)
            ),
        )

    def _place(self, real: str) -> _Place | None:
        try:
            mount = self._mounts[mount_id(existing_directory(Path(real)))]
        except (OSError, LookupError):
            return None
        if real != mount.point and not _is_below(real, mount.point):
            return None  # seen from a chroot
        below = real.removeprefix(mount.point.rstrip("/"))
        return mount.device, f"{mount.root.rstrip('/')}{below}".rstrip("/") or "/"


def _identity(path: str) -> tuple[int, int] | None:
    try:
        found = os.stat(path)  # noqa: PTH116 -- a text: there are many of them
    except OSError:
        return None
    return found.st_dev, found.st_ino


def _overlap(one: _Place | None, other: _Place | None) -> bool:
    return one is not None and other is not None and (_is_in(one, other) or _is_in(other, one))


def _is_in(one: _Place, other: _Place) -> bool:
    return one == other or (one[0] == other[0] and _is_below(one[1], other[1]))


def _is_below(path: str, other: str) -> bool:
    return path.startswith(other.rstrip("/") + "/") and path != other


def _mount(line: bytes) -> tuple[int, _Mount]:
    number, _, device, root, point, *_ = line.split()
    return int(number), _Mount(device.decode(), _unescaped(root), _unescaped(point))


def _unescaped(text: bytes) -> str:
    return os.fsdecode(_ESCAPE.sub(lambda match: bytes([int(match[1], 8)]), text))
