"""Our own limits: whoever runs into them is not at fault, be it a file or a server."""

from __future__ import annotations

import errno
from typing import TYPE_CHECKING

from backupd.core.dependencies import Dependency
from backupd.core.errors import DependencyDownError, LedgerError

if TYPE_CHECKING:
    from collections.abc import Iterator

_NO_DESCRIPTOR = "no file descriptor is left to this process"
_NO_MEMORY = "no memory is left to this process"
_NO_THREAD = "no thread or process can be started"
_HINTS = {
    _NO_DESCRIPTOR: "raise LimitNOFILE= of backupd.service (systemctl edit backupd), or lower"
    " [concurrency] in the config",
    "no file descriptor is left on this host": "raise sysctl fs.file-max, or look what holds so"
    " many: cat /proc/sys/fs/file-nr",
    _NO_MEMORY: "look what takes it: systemctl show backupd -p MemoryCurrent -p MemoryMax; free -m",
    _NO_THREAD: "raise TasksMax= and LimitNPROC= of backupd.service (systemctl edit backupd)",
}
_SHORTAGES = {
    errno.EMFILE: _NO_DESCRIPTOR,
    errno.ENFILE: "no file descriptor is left on this host",
    errno.ENOMEM: _NO_MEMORY,
}


def host_fault(error: BaseException) -> DependencyDownError | None:
    """Return it as the host's fault where one of our own limits is anywhere in its chain.

    A ledger that is in error stays so, whatever the reason is. A group is when all in it are.
    """
    if isinstance(error, BaseExceptionGroup):
        faults = [host_fault(each) for each in error.exceptions]
        return faults[0] if all(faults) else None
    if isinstance(error, LedgerError):
        return None
    for each in _chain(error):
        if isinstance(each, DependencyDownError) and each.dependency == Dependency.HOST:
            return each
        if shortage := _shortage(each):
            return DependencyDownError(Dependency.HOST, shortage, hint=_HINTS[shortage])
    return None


def cannot_start(error: Exception) -> DependencyDownError:
    """Return that a process of ours cannot be started as the host's fault."""
    if found := host_fault(error):
        return found
    if isinstance(error, OSError) and error.errno != errno.EAGAIN:
        hint = "install backupd anew: its Python has to be there, for its user to run"
        return DependencyDownError(
            Dependency.HOST, f"no process can be started: {error}", hint=hint
        )
    return DependencyDownError(Dependency.HOST, f"{_NO_THREAD}: {error}", hint=_HINTS[_NO_THREAD])


def _shortage(error: BaseException) -> str | None:
    if isinstance(error, MemoryError):
        return _NO_MEMORY
    if isinstance(error, RuntimeError) and "can't start new thread" in str(error):
        return _NO_THREAD
    return _SHORTAGES.get(error.errno or 0) if isinstance(error, OSError) else None


def _chain(error: BaseException | None) -> Iterator[BaseException]:
    """Yield the error and what led to it, as a traceback would show them."""
    seen: set[int] = set()
    while error is not None and id(error) not in seen:
        seen.add(id(error))
        yield error
        error = error.__cause__ or (None if error.__suppress_context__ else error.__context__)
