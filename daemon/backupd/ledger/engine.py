"""Opening SQLite: one connection writes, all others only read.

SQLite before 3.51.3 can lose commits when two connections write or checkpoint a WAL at the same
moment, so that no process but the holder of the lock may ever write.
"""

from __future__ import annotations

import sqlite3
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import sqlalchemy as sa
from sqlalchemy.pool import StaticPool

from backupd.core.errors import LedgerError
from backupd.ledger import schema, soundness

if TYPE_CHECKING:
    from pathlib import Path

_BUSY_TIMEOUT_MS = 10_000
_PAGE_CACHE_KIB = 16_384  # a few hundred thousand open files' index pages; bounds memory too


def open_for_writing(path: Path) -> sa.Engine:
    """Open (or make) the ledger for its one writer: checked, and migrated to this version.

    The caller holds the lock. Raises LedgerError when it is damaged, newer, or not writable.
    """
    engine = _engine(f"file:{quote(str(path))}?mode=rwc")
    sa.event.listen(engine, "connect", _set_up_writer)
    try:
        _refuse_unfit(path)
        with engine.begin() as connection:
            schema.migrate(connection)
    except (sa.exc.DatabaseError, sqlite3.DatabaseError) as error:
        engine.dispose()
        raise unusable(path, error) from error
    return engine


def open_for_reading(path: Path) -> sa.Engine:
    """Open the ledger read-only. Raises LedgerError where there is none, or a newer one."""
    if not _is_there(path):
        raise LedgerError(f"there is no ledger at {path}", hint="start backupd once to make it")
    try:
        return _first_that_opens(path)
    except sa.exc.DatabaseError as error:
        raise unusable(path, error) from error


def _is_there(path: Path) -> bool:
    try:
        return path.exists()
    except OSError as error:
        raise LedgerError(
            f"the ledger {path} cannot be reached: {error.strerror}",
            hint="run it as the daemon's user, as one of its group, or as root",
        ) from error


def _first_that_opens(path: Path) -> sa.Engine:
    try:
        return _reader(path, "mode=ro")
    except sa.exc.OperationalError:
        # A reader needs the WAL's shared memory, and may not be allowed to make it. Where there is
        # no WAL, nobody writes, and none is needed.
        if path.with_name(path.name + "-wal").exists():
            raise
    return _reader(path, "mode=ro&immutable=1")


def _reader(path: Path, mode: str) -> sa.Engine:
    engine = _engine(f"file:{quote(str(path))}?{mode}")
    sa.event.listen(engine, "connect", _set_up_reader)
    with engine.connect() as connection:
        schema.refuse_newer(schema.version(connection))
    return engine


def unusable(path: Path, error: Exception) -> LedgerError:
    """Say in an operator's words why SQLite gave up."""
    cause = str(getattr(error, "orig", None) or error)
    hint = "nothing was changed; look at the disk and the file's permissions, then start again"
    if "malformed" in cause or "not a database" in cause:
        hint = "it is not repaired: restore it from a backup, or move it away to begin a new one"
    if "full" in cause:
        hint = "make room on its file system, then start again; nothing is half-written"
    return LedgerError(f"the ledger {path} cannot be used: {cause}", hint=hint)


def is_full(error: sa.exc.DBAPIError) -> bool:
    """Return whether there was no room for a transaction, none of which was kept then."""
    return getattr(error.orig, "sqlite_errorcode", None) == sqlite3.SQLITE_FULL


def _refuse_unfit(path: Path) -> None:
    """Refuse a damaged or newer ledger before anything is written to it."""
    if not path.exists() or path.stat().st_size == 0:
        return
    connection = soundness.connect_alone(path)
    try:
        schema.refuse_newer(connection.execute("PRAGMA user_version").fetchone()[0])
        if soundness.is_read_first(path):
            soundness.refuse_damaged(connection)
    finally:
        connection.close()


def _engine(uri: str) -> sa.Engine:
    def connect() -> sqlite3.Connection:
        return sqlite3.connect(uri, uri=True, check_same_thread=False, isolation_level=None)

    engine = sa.create_engine("sqlite://", creator=connect, poolclass=StaticPool)
    sa.event.listen(engine, "begin", _begin)
    return engine


def _begin(connection: sa.Connection) -> None:
    # The driver would send BEGIN late and deferred, and a read-modify-write could race.
    readonly = connection.info.get("readonly", False)
    connection.exec_driver_sql("BEGIN" if readonly else "BEGIN IMMEDIATE")


def _set_up_writer(connection: sqlite3.Connection, _record: Any) -> None:  # noqa: ANN401 - SQLAlchemy's hook
    for pragma in (
        f"busy_timeout = {_BUSY_TIMEOUT_MS}",
        "journal_mode = WAL",
        "synchronous = FULL",  # NORMAL loses commits at a power cut
        "foreign_keys = ON",
        f"cache_size = -{_PAGE_CACHE_KIB}",
    ):
        connection.execute(f"PRAGMA {pragma}")


def _set_up_reader(connection: sqlite3.Connection, record: Any) -> None:  # noqa: ANN401 - SQLAlchemy's hook
    record.info["readonly"] = True
    connection.execute(f"PRAGMA busy_timeout = {_BUSY_TIMEOUT_MS}")
    connection.execute("PRAGMA query_only = ON")
