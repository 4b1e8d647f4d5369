"""Regular files: opened so that nothing else is ever read; and companions, read."""

from __future__ import annotations

import os
import stat
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from backupd.core import companions
from backupd.core.records import Identity
from backupd.localfs.leases import Writers, writers_of

if TYPE_CHECKING:
    from collections.abc import Iterator

    from backupd.localfs.directory import Directory

_COARSE = 10_000_000  # ns: vfat, ext3 and some NFS servers know no finer times


class NotRegularError(OSError):
    """Something else than a regular file has this name."""


@dataclass(frozen=True, slots=True)
class OpenFile:
    """An open regular file, the directory that holds it, and what it was when it was opened."""

    fd: int
    identity: Identity
    directory: Directory
    name: str  # in `directory`

    def identity_now(self) -> Identity:
        """Look again, through the same descriptor."""
        return Identity.of(os.fstat(self.fd))


@contextmanager
def open_file(root: Directory, name: str) -> Iterator[OpenFile]:
    """Open a regular file below a directory for reading.

    Raises OSError: FileNotFoundError where nothing has this name, NotRegularError where something
    else has it.
    """
    with root.parent_of(name) as (directory, last):
        fd = directory.open(last)
        try:
            about = os.fstat(fd)
            if not stat.S_ISREG(about.st_mode):
                raise NotRegularError(f"{last} is no regular file")
            yield OpenFile(fd, Identity.of(about), directory, last)
        finally:
            os.close(fd)


def read_companion(root: Directory, name: str) -> tuple[Identity, str]:
    """Return which file was read, and its text. Raises OSError as `open_file`."""
    with open_file(root, name) as opened:
        return opened.identity, companion_text(opened)


def companion_text(opened: OpenFile) -> str:
    """Return the text of an open companion, as far as one is ever read."""
    return companions.decode(os.read(opened.fd, companions.MAX_BYTES))


def is_open_for_writing(root: Directory, name: str) -> bool:
    """Return whether some process has the file open for writing, as far as the kernel reports it.

    Raises OSError when `open_file` does.
    """
    with open_file(root, name) as opened:
        return writers_of(opened.fd) is Writers.SOME


def has_coarse_times(identity: Identity) -> bool:
    """Return whether the file system's time stamps are too coarse to show a change soon after."""
    return identity.ctime_ns % _COARSE == 0
