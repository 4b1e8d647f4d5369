"""Is the ledger sound? A small one is read whole before it is opened, a large one beside the work.

A million files and their histories are 3 GB: to read all of that takes 7 s from memory, and half a
minute or more from a disk. No restart may wait for it. SQLite refuses by itself whatever damage it
comes upon meanwhile.
"""

from __future__ import annotations

import sqlite3
import threading
from typing import TYPE_CHECKING
from urllib.parse import quote

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

READ_FIRST = 128 * 1024 * 1024  # bytes: about 45,000 files; a few seconds from a slow disk


def is_read_first(path: Path) -> bool:
    """Return whether the ledger is small enough to be read whole before it is opened."""
    return path.stat().st_size <= READ_FIRST


def connect_alone(path: Path) -> sqlite3.Connection:
    """Open a ledger that nobody else can write to now, and leave no trace, not even beside it."""
    log = path.with_name(path.name + "-wal")
    has_log = log.exists() and log.stat().st_size > 0  # left by a process that was killed
    return _connect(path, "mode=ro" if has_log else "mode=ro&immutable=1")


def _connect(path: Path, mode: str) -> sqlite3.Connection:
    return sqlite3.connect(f"file:{quote(str(path))}?{mode}", uri=True, check_same_thread=False)


def refuse_damaged(connection: sqlite3.Connection) -> None:
    """Read the whole ledger. Raises sqlite3.DatabaseError at the first damage."""
    (problem,) = connection.execute("PRAGMA quick_check(1)").fetchone()
    if problem != "ok":
        raise sqlite3.DatabaseError(f"database disk image is malformed: {problem}")


class LateCheck:
    """Reads an open ledger whole, in a thread of its own, and reports the damage it finds."""

    def __init__(self, path: Path, refuse: Callable[[Exception], None]) -> None:
        """`refuse` is called in the thread, at most once."""
        self._refuse = refuse
        self._stopped = False
        self._connection = _connect(path, "mode=ro")
        self._thread = threading.Thread(target=self._run, name="ledger-check", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Read no further."""
        self._stopped = True
        self._connection.interrupt()
        self._thread.join()
        self._connection.close()

    def _run(self) -> None:
        try:
            refuse_damaged(self._connection)
        except sqlite3.DatabaseError as error:
            if not self._stopped:
                self._refuse(error)
