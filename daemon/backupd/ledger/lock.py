"""One process a ledger: locks that end with the process that holds them.

Two of them, for neither is enough. That on the database itself is the same by whatever path one
comes there, but to ask for it the database has to be opened. That on `<ledger>.lock` can be asked
for without being taken, and still keeps others out when the database was replaced. The lock file's
text, the holder's pid, only names the holder; a stale one locks nobody out.
"""

from __future__ import annotations

import errno
import fcntl
import os
import stat
import struct
import time
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from backupd.core.errors import BackupdError, LedgerError

if TYPE_CHECKING:
    from collections.abc import Callable

_TRIES = 10
_PAUSE = 0.01  # seconds: a child that was just started has the lock too until it is a program

# fcntl(2), struct flock: type, whence, start, length, pid. Locks of the open file (OFD): those of
# the process would end as soon as it closed the file by any other descriptor.
_LOCK = struct.Struct("hhqqi0q")
_WHOLE_FILE = _LOCK.pack(fcntl.F_WRLCK, os.SEEK_SET, 0, 0, 0)

_OPEN = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC
_LOOK = os.O_RDONLY | os.O_NONBLOCK | os.O_NOFOLLOW | os.O_CLOEXEC
_UNKNOWN = "unknown"


class LedgerLockedError(BackupdError):
    """Another process works on this ledger. `pid` is the one that holds it, or "unknown"."""

    def __init__(self, path: Path, pid: str) -> None:
        super().__init__(
            f"the ledger {path} is held by process {pid}",
            hint="one backupd works on a ledger at a time; `backupd-admin status` asks it",
        )
        self.pid = pid


def real_path(ledger: Path) -> Path:
    """Return where a ledger really is, links followed: there its log and its lock file stand."""
    return Path(os.path.realpath(ledger))


class LedgerLock:
    """The locks of one ledger. The kernel drops them when the process ends, however it ends.

    The database is opened here before SQLite does, and closed after it: a process that closes a
    file loses SQLite's own locks on it, by whatever descriptor SQLite took them.
    """

    def __init__(self, ledger: Path) -> None:
        """`ledger` as people name it."""
        self._named = ledger
        self._ledger = real_path(ledger)
        self._opened: list[int] = []  # the lock file, then the database

    def acquire(self) -> None:
        """Take the locks; an empty database is made where there is none.

        Raises LedgerLockedError where another process has them, LedgerError where they cannot be
        taken.
        """
        self._acquire(self._take_database)

    def acquire_to_replace(self) -> None:
        """Do the same for who puts another database in place: where there is none, none is made."""
        self._acquire(self._take_database_if_there)

    def _acquire(self, take_database: Callable[[], None]) -> None:
        try:
            self._take_both(take_database)
        except BlockingIOError:
            self.release()
            raise LedgerLockedError(self._named, holder(self._ledger) or _UNKNOWN) from None
        except BaseException:
            self.release()
            raise

    def refuse_replaced(self) -> None:
        """Raise LedgerError where the ledger's name belongs to another file than the locked one."""
        if not _is_at(self._opened[-1], self._ledger):
            raise _replaced(self._named)

    def release(self) -> None:
        """Give them back."""
        while self._opened:
            os.close(self._opened.pop())

    def _take_both(self, take_database: Callable[[], None]) -> None:
        path = lock_file(self._ledger)
        # First, for it is nearly always this one that refuses: then the database is not opened.
        name = self._take(path, 0o640, _lock_name, f"the ledger's lock {path}")
        take_database()
        os.ftruncate(name, 0)
        os.pwrite(name, f"{os.getpid()}\n".encode(), 0)

    def _take_database_if_there(self) -> None:
        if self._ledger.exists():
            self._take_database()

    def _take_database(self) -> None:
        """Lock what has the ledger's name when it is locked: it may be replaced meanwhile."""
        for _ in range(_TRIES):
            taken = self._take(self._ledger, 0o644, _lock_inode, f"the ledger {self._ledger}")
            if _is_at(taken, self._ledger):
                return
            os.close(self._opened.pop())
        raise _replaced(self._named)

    def _take(self, path: Path, mode: int, lock: Callable[[int], None], subject: str) -> int:
        try:
            taken = os.open(path, _OPEN, mode)
            self._opened.append(taken)
            _refuse_odd(taken)
            _lock_soon(taken, lock)
        except BlockingIOError:
            raise
        except OSError as error:
            raise _unusable(subject, error) from error
        return taken


def holder(ledger: Path) -> str | None:
    """Return the pid of the process that holds the ledger just now; None: nobody does.

    Nothing is made, written or locked, and the database is not opened.
    """
    path = real_path(ledger)
    return _holder_by_name(lock_file(path)) or _holder_by_inode(path)


def held(ledger: Path) -> bool:
    """Return whether a process holds the ledger just now."""
    return holder(ledger) is not None


def lock_file(ledger: Path) -> Path:
    """Return the lock file of a ledger whose real path this is."""
    return ledger.with_name(ledger.name + ".lock")


def _lock_soon(opened: int, lock: Callable[[int], None]) -> None:
    for _ in range(_TRIES):
        with suppress(BlockingIOError):
            lock(opened)
            return
        time.sleep(_PAUSE)
    lock(opened)


def _lock_name(opened: int) -> None:
    fcntl.fcntl(opened, fcntl.F_OFD_SETLK, _WHOLE_FILE)


def _lock_inode(opened: int) -> None:
    fcntl.flock(opened, fcntl.LOCK_EX | fcntl.LOCK_NB)  # SQLite's own locks are of another kind


def _refuse_odd(opened: int) -> None:
    if not stat.S_ISREG(os.fstat(opened).st_mode):
        raise OSError(errno.EINVAL, "is not a regular file")


def _is_at(opened: int, path: Path) -> bool:
    with suppress(FileNotFoundError):
        return os.path.samestat(os.fstat(opened), path.lstat())
    return False


def _holder_by_name(path: Path) -> str | None:
    try:
        opened = os.open(path, _LOOK)
    except OSError as error:
        if error.errno in {errno.ENOENT, errno.ENOTDIR, errno.ELOOP}:
            return None
        raise
    try:
        answer = fcntl.fcntl(opened, fcntl.F_OFD_GETLK, _WHOLE_FILE)
        is_free = _LOCK.unpack(answer)[0] == fcntl.F_UNLCK
        return None if is_free else _pid_in(opened)
    finally:
        os.close(opened)


def _holder_by_inode(ledger: Path) -> str | None:
    """Look in the kernel's list of locks, proc_locks(5).

    The locks of some file systems cannot be told apart there.
    """
    try:
        found = ledger.stat()
        locks = Path("/proc/locks").read_text()
    except FileNotFoundError:
        return None
    file = f"{os.major(found.st_dev):02x}:{os.minor(found.st_dev):02x}:{found.st_ino}"
    lines = [line.split() for line in locks.splitlines()]
    return next((line[4] for line in lines if (line[1], line[5]) == ("FLOCK", file)), None)


def _pid_in(opened: int) -> str:
    return os.pread(opened, 32, 0).decode("ascii", "replace").strip() or _UNKNOWN


def _unusable(subject: str, error: OSError) -> LedgerError:
    return LedgerError(
        f"{subject} cannot be used: {error.strerror}",
        hint="run it as root or as the daemon's user; its directory must be there, with room in"
        " it, and the daemon's user must be able to write there",
    )


def _replaced(ledger: Path) -> LedgerError:
    return LedgerError(
        f"the ledger {ledger} was replaced while it was opened",
        hint="leave it in place while backupd starts, then start it again",
    )
