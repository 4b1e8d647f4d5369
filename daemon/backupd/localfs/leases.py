"""Whether some process has a file open for writing, and where the kernel cannot tell.

A read lease is only given on a file that nobody has open for writing, or mapped so: fcntl(2),
F_SETLEASE. It is asked for and given back at once. Who opens the file for writing while it is held
waits for its end, and is not disturbed otherwise.
"""

from __future__ import annotations

import errno
import fcntl
import os
import signal
from contextlib import contextmanager, suppress
from enum import Enum
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING

from backupd.localfs.directory import Directory
from backupd.localfs.filesystems import NETWORK_FILESYSTEMS, filesystem_type
from backupd.localfs.limits import Capability, has

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator


class Writers(Enum):
    """What the kernel says of a file's writers."""

    NONE = "nobody has it open for writing"
    SOME = "some process has it open for writing"
    NO_RIGHT = "neither the file's owner nor CAP_LEASE: the kernel does not tell"
    UNKNOWN = "the file system does not tell"


class Lease:
    """A read lease that is held, if `writers` says NONE."""

    def __init__(self, descriptor: int, writers: Writers) -> None:
        self.writers = writers
        self._descriptor = descriptor

    def is_wanted(self) -> bool:
        """Return whether somebody waits for the lease's end, to write to the file."""
        if self.writers is not Writers.NONE:
            return False
        return fcntl.fcntl(self._descriptor, fcntl.F_GETLEASE) != fcntl.F_RDLCK


@contextmanager
def leased(descriptor: int, *, ask: bool = True) -> Iterator[Lease]:
    """Ask for a read lease on a file that is open for reading, and hold it while inside.

    Without `ask` nothing is known of the file's writers.
    """
    lease = Lease(descriptor, _asked_for(descriptor) if ask else Writers.UNKNOWN)
    try:
        yield lease
    finally:
        if lease.writers is Writers.NONE:
            fcntl.fcntl(descriptor, fcntl.F_SETLEASE, fcntl.F_UNLCK)


def writers_of(descriptor: int, *, ask: bool = True) -> Writers:
    """Return what the kernel says of a file that is open for reading."""
    with leased(descriptor, ask=ask) as lease:
        return lease.writers


def _asked_for(descriptor: int) -> Writers:
    try:
        # The signal that somebody waits for the lease is SIGURG: SIGIO would end us.
        fcntl.fcntl(descriptor, fcntl.F_SETSIG, signal.SIGURG)
        fcntl.fcntl(descriptor, fcntl.F_SETLEASE, fcntl.F_RDLCK)
    except BlockingIOError:
        return Writers.SOME
    except OSError as error:
        is_refused = error.errno in {errno.EACCES, errno.EPERM}
        return Writers.NO_RIGHT if is_refused else Writers.UNKNOWN
    return Writers.NONE


_LOOKED_AT = 1000  # entries of a directory
_OTHERS_MAY_WRITE = 0o022  # of a directory's mode


def why_writers_unknown(directory: str) -> str | None:
    """Return why the kernel cannot report writers, in words for people; None: no reason was found.

    Raises OSError when the directory cannot be listed.
    """
    kind = filesystem_type(Path(directory))
    if kind in NETWORK_FILESYSTEMS:
        return f"on a network file system ({kind}) writers on other hosts do not show"
    with Directory.at(os.path.realpath(directory)) as opened:
        found = islice(opened.names(), _LOOKED_AT)
        files = [each for each in found if each.is_file(follow_symlinks=False)]
        if not has(Capability.LEASE) and not _all_ours(opened, files):
            return (
                f"user {os.geteuid()}, who asks here, does not own all that comes there and lacks"
                " the capability CAP_LEASE (the systemd unit gives it to the service)"
            )
        if _lease_on_any(opened, files) is Writers.UNKNOWN:
            return f"the file system ({kind}) gives no leases"
    return None


def _all_ours(directory: Directory, files: Iterable[os.DirEntry[str]]) -> bool:
    """Return whether all files are this user's, and nobody else may put any there."""
    place = directory.stat()
    owners = {place.st_uid}
    for entry in files:
        with suppress(FileNotFoundError):
            owners.add(entry.stat(follow_symlinks=False).st_uid)
    return owners == {os.geteuid()} and not place.st_mode & _OTHERS_MAY_WRITE


def _lease_on_any(directory: Directory, files: Iterable[os.DirEntry[str]]) -> Writers | None:
    """Return what the kernel says of the first file that can be opened; None: there is none."""
    for entry in files:
        with suppress(OSError):
            descriptor = directory.open(entry.name)
            try:
                return writers_of(descriptor)
            finally:
                os.close(descriptor)
    return None
