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

READ_FIRST = 256 * 1024 * 1024  # bytes: about 90,000 files, and less than a second from memory


def is_read_first(path: Path) -> bool:
    """Tell whether the ledger is small enough to be read whole before it is opened."""
    return path.stat().st_size <= READ_FIRST


def connect(path: Path) -> sqlite3.Connection:
    """Open the ledger so that nothing can be written to it."""
    return sqlite3.connect(
        f"file:{quote(str(path))}?mode=ro", uri=True, check_same_thread=False
    )


def refuse_damaged(connection: sqlite3.Connection) -> None:
    """Read the whole ledger. Raises sqlite3.DatabaseError at the first damage."""
    (problem,) = connection.execute("PRAGMA quick_check(1)").fetchone()
    if problem != "ok":
        raise sqlite3.DatabaseError(f"database disk image is malformed: {problem}")


class LateCheck:
    """Reads an open ledger whole, in a thread of its own, and tells of the damage it finds."""

    def __init__(self, path: Path, refuse: Callable[[Exception], None]) -> None:
        """`refuse` is called in the thread, at most once."""
        self._refuse = refuse
        self._stopped = False
        self._connection = connect(path)
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
