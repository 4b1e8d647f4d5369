"""Whether some process has a file open for writing.

A read lease is only given on a file that nobody has open for writing, or mapped so: fcntl(2),
F_SETLEASE. It is asked for and given back at once. Who opens the file for writing while it is held
waits for its end, and is not disturbed otherwise.
"""

from __future__ import annotations

import errno
import fcntl
import signal
from contextlib import contextmanager
from enum import Enum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator


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
