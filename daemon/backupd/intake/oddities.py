"""What stands in a feed directory and cannot be taken: reported once, not at every scan."""

from __future__ import annotations

import stat

import structlog

from backupd.core.names import escaped

log = structlog.get_logger()

_REMEMBERED = 10_000  # paths; beyond, the oldest is forgotten and may be reported again

_KINDS = {
    stat.S_IFLNK: "a symbolic link",
    stat.S_IFIFO: "a FIFO",
    stat.S_IFSOCK: "a socket",
    stat.S_IFDIR: "a directory",
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
}


def kind(mode: int) -> str:
    """Say what a file that is no regular one is, from its stat mode."""
    return _KINDS.get(stat.S_IFMT(mode), "no regular file")


class Oddities:
    """Logs each path once per process."""

    def __init__(self) -> None:
        self._reported: dict[str, None] = {}  # in order of time

    def report(self, path: str, what: str) -> None:
        """Tell of a path that is left alone, and why."""
        if path in self._reported:
            return
        if len(self._reported) >= _REMEMBERED:
            self._reported.pop(next(iter(self._reported)), None)
        self._reported[path] = None
        log.warning("left alone", file=escaped(path), why=what)
