"""Where a name of the archive lies below its root, its temporary file, and how it is taken."""

from __future__ import annotations

import posixpath
from dataclasses import dataclass
from enum import StrEnum
from functools import cached_property, lru_cache
from typing import TYPE_CHECKING

from backupd.core.errors import PermanentError
from backupd.core.snapshots import is_snapshot

if TYPE_CHECKING:
    from collections.abc import Mapping

LONGEST_NAME = 255  # bytes of one path component: NAME_MAX of all common file systems


class NamedBy(StrEnum):
    """How a file got its final name without taking another file's place."""

    RENAME = "rename"
    LINK = "link"
    CLAIM = "claim"


WHY_SAFE: Mapping[NamedBy, str] = {
    NamedBy.RENAME: "by a rename, which was refused where the name is taken",
    NamedBy.LINK: "by a hard link, which fails where the name is taken",
    NamedBy.CLAIM: "under a claim: a file .<name>.claim that is made exclusively, then a look, then"
    " a rename (which would replace, and there are no hard links); what programs other than backupd"
    " write there at that moment is not safe",
}
"""Completes "taken ..."."""


@dataclass(frozen=True)
class Place:
    """One name of the archive: `name` is relative, the others absolute paths at the archive."""

    name: str
    root: str

    @cached_property
    def path(self) -> str:
        """Where the file stands once it is published."""
        return posixpath.join(self.root, self.name)

    @cached_property
    def directory(self) -> str:
        """The directory that holds it."""
        return posixpath.dirname(self.path)

    def part(self, part_id: str) -> str:
        """Return the path of a temporary file: hidden, in the same directory, unique by its id."""
        return self._hidden(f".{part_id}.part")

    @cached_property
    def claim(self) -> str:
        """The path of the file whose owner alone may take this name."""
        return self._hidden(".claim")

    def _hidden(self, end: str) -> str:
        room = LONGEST_NAME - len(end) - 1
        stem = encode(posixpath.basename(self.name))[:room].decode(errors="ignore")
        return posixpath.join(self.directory, f".{stem}{end}")


@lru_cache(maxsize=1024)  # each file's is asked for four times while it is shipped
def place(root: str, name: str) -> Place:
    """Return where `name` lies. PermanentError where no file system could hold such a name."""
    parts = name.split("/")
    if {"", ".", ".."} & set(parts) or "\0" in name:
        raise PermanentError(f"{name!r} is no name below the archive's root")
    longest = max(parts, key=lambda part: len(encode(part)))
    if len(encode(longest)) > LONGEST_NAME:
        raise PermanentError(
            f"{longest!r} has {len(encode(longest))} bytes, a name may have {LONGEST_NAME}",
            hint="shorten the file's name where it is made",
        )
    return Place(name, root)


def snapshot_place(root: str, name: str) -> Place:
    """Return where a snapshot lies. PermanentError for any name that is not a snapshot's."""
    if not is_snapshot(name):
        raise PermanentError(f"{name!r} is no snapshot of a ledger: it is not removed")
    return place(root, name)


def encode(path: str) -> bytes:
    """Return a path as the bytes that go over the wire."""
    return path.encode("utf-8", "surrogateescape")
