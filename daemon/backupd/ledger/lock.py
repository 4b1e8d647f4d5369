"""One daemon a ledger: a lock that ends with the process that holds it."""

from __future__ import annotations

import fcntl
import os
from typing import TYPE_CHECKING

from backupd.core.errors import BackupdError

if TYPE_CHECKING:
    from pathlib import Path


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
        """Take the lock. Raises LedgerLockedError at once where another process has it."""
        fd = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o640)
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            pid = _pid_in(fd)
            os.close(fd)
            raise LedgerLockedError(self._path.with_suffix(""), pid) from None
        os.ftruncate(fd, 0)
        os.pwrite(fd, f"{os.getpid()}\n".encode(), 0)
        self._fd = fd

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
