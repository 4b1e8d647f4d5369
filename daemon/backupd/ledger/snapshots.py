"""Copies the ledger while it is written to, and remembers when that was last done.

A copy is made by SQLite's backup from a connection that only reads, within one read transaction:
so no commit has it begin anew, nobody waits for it, and it takes a few MiB of memory. Commits that
come meanwhile stay in the log, which is as long afterwards as it had to be.
"""

from __future__ import annotations

import os
import shutil
import sqlite3
import threading
import time
from contextlib import closing
from typing import TYPE_CHECKING

import sqlalchemy as sa

from backupd.core.errors import BackupdError
from backupd.core.snapshots import LastSnapshot
from backupd.ledger.engine import connect_alone, connect_to_read, has_log, refuse_damaged
from backupd.ledger.lock import real_path
from backupd.ledger.schema import snapshots
from backupd.ledger.versions import VERSION, refuse_newer

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

_PAGES = 256  # in one step: a MiB
_BREATH = 0.005  # seconds between steps: the disk is others' too
_CREATE = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC


class SnapshotError(BackupdError):
    """The ledger could not be copied, or the copy is not sound."""


def temporary_of(ledger: Path) -> Path:
    """Return where a snapshot is made before it is shipped: beside the ledger."""
    path = real_path(ledger)
    return path.with_name(f"{path.name}.snapshot")


def restoring_of(ledger: Path) -> Path:
    """Return where a ledger is made of a snapshot before it is put in place."""
    path = real_path(ledger)
    return path.with_name(f"{path.name}.restoring")


class Snapshotting:
    """Makes one snapshot. `run` blocks; `stop`, from another thread, has it end soon."""

    def __init__(self, ledger: Path, target: Path) -> None:
        """`target` is nobody else's; it is removed again unless the snapshot is sound."""
        self._ledger = real_path(ledger)
        self._target = target
        self._turn = threading.Lock()
        self._stopped = False
        self._at_work: sqlite3.Connection | None = None

    def run(self) -> None:
        """Copy and check. Raises SnapshotError."""
        try:
            self._target.unlink(missing_ok=True)
            os.close(os.open(self._target, _CREATE, 0o600))
        except OSError as error:
            raise self._failed(error.strerror or str(error)) from error
        try:
            self._copy()
            self._check()
        except sqlite3.Error as error:
            self._target.unlink(missing_ok=True)
            raise self._failed(str(error)) from error
        except BaseException:
            self._target.unlink(missing_ok=True)
            raise

    def stop(self) -> None:
        """Have it end soon, with SnapshotError. To be repeated until it has.

        SQLite forgets an interruption that comes just before its statement begins.
        """
        with self._turn:
            self._stopped = True
            if self._at_work is not None:
                self._at_work.interrupt()

    def _copy(self) -> None:
        source, alone = connect_to_read(self._ledger)
        with closing(source), closing(sqlite3.connect(self._target, isolation_level=None)) as copy:
            copy.execute("PRAGMA journal_mode = OFF")  # it is begun anew after a crash, not mended
            copy.execute("PRAGMA synchronous = OFF")
            source.execute("BEGIN")
            source.execute("SELECT count(*) FROM sqlite_master").fetchone()
            self._demand_room(source)
            source.backup(copy, pages=_PAGES, progress=self._breathe)
        if alone and has_log(self._ledger):
            raise self._failed("a daemon began to write to it meanwhile; try again")

    def _breathe(self, _status: int, _remaining: int, _total: int) -> None:
        self._refuse_stopped()
        time.sleep(_BREATH)

    def _demand_room(self, source: sqlite3.Connection) -> None:
        """The ledger's own disk is not to be filled by it: as much is to be free afterwards."""
        (pages,) = source.execute("PRAGMA page_count").fetchone()
        (page,) = source.execute("PRAGMA page_size").fetchone()
        free = shutil.disk_usage(self._target.parent).free
        if free < 2 * pages * page:
            where = self._target.parent
            raise SnapshotError(
                f"no room for a snapshot of the ledger in {where}: it takes {pages * page:,} bytes,"
                f" and as much must be free afterwards; {free:,} bytes are free",
                hint=f"make room; df {where} shows the disk",
            )

    def _check(self) -> None:
        with closing(connect_alone(self._target)) as connection:
            self._begin(connection)
            try:
                demand_sound(connection)
            finally:
                self._end()

    def _begin(self, connection: sqlite3.Connection) -> None:
        with self._turn:
            self._at_work = connection
        self._refuse_stopped()

    def _end(self) -> None:
        with self._turn:
            self._at_work = None

    def _refuse_stopped(self) -> None:
        if self._stopped:
            raise SnapshotError("the snapshot was given up: backupd is stopping")

    def _failed(self, why: str) -> SnapshotError:
        if self._stopped:
            return SnapshotError("the snapshot was given up: backupd is stopping")
        hint = f"look at the disk: df {self._target.parent}"
        if "malformed" in why or "not a database" in why:
            hint = (
                "the ledger itself may be damaged: stop backupd, then"
                f" sqlite3 {self._ledger} 'PRAGMA integrity_check'"
            )
        return SnapshotError(f"the ledger {self._ledger} could not be copied: {why}", hint=hint)


def demand_sound(connection: sqlite3.Connection) -> int:
    """Read a ledger whole; return its schema version.

    Raises sqlite3.DatabaseError where it is damaged or no ledger, LedgerError where it is newer.
    """
    refuse_damaged(connection)
    found = int(connection.execute("PRAGMA user_version").fetchone()[0])
    refuse_newer(found)
    query = "SELECT count(*) FROM sqlite_master WHERE type = 'table' AND name = 'files'"
    if not 0 < found <= VERSION or connection.execute(query).fetchone() != (1,):
        raise sqlite3.DatabaseError("file is not a database of backupd")
    return found


def remove_leftovers(ledger: Path) -> None:
    """Remove what was being made beside a ledger when its process ended. The lock is held."""
    for made in (temporary_of, restoring_of):
        made(ledger).unlink(missing_ok=True)


# -- in the ledger -------------------------------------------------------------------------------


def note_snapshots(
    connection: sa.Connection, taken: Sequence[tuple[str, LastSnapshot]]
) -> list[None]:
    """Write the newest snapshot of each directory of the archive: items are (directory, it)."""
    rows = [{"directory": each, "name": of.name, "taken_at": of.at} for each, of in taken]
    connection.execute(sa.insert(snapshots).prefix_with("OR REPLACE"), rows)
    return [None] * len(taken)


def last_snapshot(connection: sa.Connection, directory: str) -> LastSnapshot | None:
    """Return the newest snapshot in a directory of the archive; None: it was never asked for."""
    query = sa.select(snapshots).where(snapshots.c.directory == directory)
    row = connection.execute(query).one_or_none()
    return None if row is None else LastSnapshot(name=row.name, at=row.taken_at)
