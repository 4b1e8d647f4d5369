"""Removing the very file that was looked at, and no other one.

Between a look at a file and its removal by name, somebody may put another file in its place. So it
is moved aside first, under a hidden name of ours in the same directory, and looked at there, where
nobody else comes by it any more. What turns out to be another file is put back, and so is one that
somebody wants to write to; never over what has come in its place meanwhile.
"""

from __future__ import annotations

import os
from enum import Enum
from typing import TYPE_CHECKING

from backupd.core.names import kept_name
from backupd.localfs.leases import Writers, leased

if TYPE_CHECKING:
    from backupd.core.records import Identity
    from backupd.localfs.directory import Directory
    from backupd.localfs.files import OpenFile
    from backupd.localfs.leases import Lease


class Removal(Enum):
    """What became of a file that was to be removed."""

    REMOVED = "removed"
    GONE = "nothing has its name any more"
    OTHER = "it changed, or another file has its name"
    IN_USE = "some process has it open for writing"
    ELSEWHERE = "it is in no directory that may be written to"


class KeptAsideError(Exception):
    """A file could not be put back: another one has its name by now. `name` is what it has now."""

    def __init__(self, name: str) -> None:
        super().__init__(name)
        self.name = name


def remove(
    opened: OpenFile, aside: str, identity: Identity, *, ask_writers: bool = True
) -> Removal:
    """Remove an open file if it is still what `identity` says and nobody writes to it.

    `aside` is the hidden name that it gets on the way. Without `ask_writers` it may be open for
    writing. Raises OSError, and KeptAsideError where it had to be put back and could not.
    """
    with leased(opened.fd, ask=ask_writers) as lease:
        if lease.writers is Writers.SOME:
            return Removal.IN_USE
        if opened.identity_now() != identity:
            return Removal.OTHER
        try:
            opened.directory.move_aside(opened.name, aside)
        except FileNotFoundError:
            return Removal.GONE
        verdict = _judge(opened, aside, identity, lease)
        if verdict is Removal.REMOVED:
            opened.directory.unlink(aside)
        else:
            put_back(opened.directory, aside, opened.name)
        return verdict


def _judge(opened: OpenFile, aside: str, identity: Identity, lease: Lease) -> Removal:
    """Look at what was moved aside. The move changed its ctime, and nothing else may differ."""
    moved, now = opened.directory.stat(aside), os.fstat(opened.fd)
    if (moved.st_dev, moved.st_ino) != (identity.dev, identity.ino):
        return Removal.OTHER
    if (now.st_size, now.st_mtime_ns) != (identity.size, identity.mtime_ns):
        return Removal.OTHER
    return Removal.IN_USE if lease.is_wanted() else Removal.REMOVED


def put_back(directory: Directory, aside: str, name: str) -> bool:
    """Give a file that was moved aside its name back; False where it is gone.

    Raises KeptAsideError where the name is taken.
    """
    try:
        directory.rename_without_replacing(aside, name)
    except FileNotFoundError:
        return False
    except FileExistsError:
        kept = kept_name(aside)
        directory.rename_without_replacing(aside, kept)
        raise KeptAsideError(kept) from None
    return True
