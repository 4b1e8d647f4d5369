"""One daemon a ledger: a lock that ends with the process that holds it."""

from __future__ import annotations

import fcntl
import os
import time
from contextlib import suppress
from typing import TYPE_CHECKING

from backupd.core.errors import BackupdError, LedgerError

if TYPE_CHECKING:
    from pathlib import Path


_TRIES = 10
_PAUSE = 0.01  # seconds


class LedgerLockedError(BackupdError):
    """Another process works on this ledger. `pid` is the one that holds it."""

    def __init__(self, path: Path, pid: str) -> None:
        super().__init__(
            f"the ledger {path} is held by process {pid}",
            hint="one backupd works on a ledger at a time; `backupd-admin status` asks it",
        )
        self.pid = pid


class LedgerLock:
    """An flock on `<ledger>.lock`. The kernel drops it when the process ends, however it ends.

    The file's text (the holder's pid) only names the holder; a stale one locks nobody out.
    """

    def __init__(self, ledger: Path) -> None:
        self._path = ledger.with_name(ledger.name + ".lock")
        self._fd: int | None = None

    def acquire(self) -> None:
        """Take the lock.

        Raises LedgerLockedError where another process has it, LedgerError where it cannot be made.
        """
        try:
            fd = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o640)
        except OSError as error:
            raise self._unusable(error) from error
        try:
            self._take(fd)
            os.ftruncate(fd, 0)
            os.pwrite(fd, f"{os.getpid()}\n".encode(), 0)
        except BlockingIOError:
            pid = _pid_in(fd)
            os.close(fd)
            raise LedgerLockedError(self._path.with_suffix(""), pid) from None
        except OSError as error:
            os.close(fd)
            raise self._unusable(error) from error
        self._fd = fd

    def _take(self, fd: int) -> None:
        """Try for a moment: who only asks for the holder has the lock for a microsecond too."""
        for _ in range(_TRIES):
            with suppress(BlockingIOError):
                fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
                return
            time.sleep(_PAUSE)
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)

    def _unusable(self, error: OSError) -> LedgerError:
        return LedgerError(
            f"the ledger's lock {self._path} cannot be used: {error.strerror}",
            hint="run it as root or as the daemon's user; its directory must be there, with room in"
            " it, and the daemon's user must be able to write there",
        )

    def release(self) -> None:
        """Give it back."""
        if self._fd is not None:
            os.close(self._fd)
            self._fd = None


def holder(ledger: Path) -> str | None:
    """Return the pid of the process that holds the ledger just now; None: nobody does.

    Nothing is made or written: a lock file of another user's would keep the daemon out.
    """
    lock = ledger.with_name(ledger.name + ".lock")
    try:
        fd = os.open(lock, os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        return None
    try:
        fcntl.flock(fd, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return _pid_in(fd)
    finally:
        os.close(fd)
    return None


def held(ledger: Path) -> bool:
    """Tell whether a process holds the ledger just now."""
    return holder(ledger) is not None


def _pid_in(fd: int) -> str:
    return os.pread(fd, 32, 0).decode("ascii", "replace").strip() or "unknown"
