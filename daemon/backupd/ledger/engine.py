"""Opening SQLite: one connection writes, all others only read.

SQLite before 3.51.3 can lose commits when two connections write or checkpoint a WAL at the same
moment, so that no process but the holder of the lock may ever write.

A small ledger is read whole before it is opened, a large one beside the work: a million files and
their histories are 3 GB, which take 7 s from memory and half a minute or more from a disk. No
restart may wait for it. SQLite refuses by itself whatever damage it comes upon meanwhile.
"""

from __future__ import annotations

import sqlite3
import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Concatenate, ParamSpec, TypeVar
from urllib.parse import quote

import sqlalchemy as sa
from sqlalchemy.dialects import sqlite
from sqlalchemy.pool import StaticPool

from backupd.core.errors import LedgerError
from backupd.ledger import reclaiming, versions
from backupd.ledger.lock import real_path

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from pathlib import Path

_P = ParamSpec("_P")
_T = TypeVar("_T")


_BUSY_TIMEOUT_MS = 10_000
_STEPS = 10_000_000  # of SQLite's virtual machine: half a second or so
_PAGE_CACHE_KIB = 16_384  # a few hundred thousand open files' index pages; bounds memory too


def open_for_writing(path: Path, alive: Callable[[], None]) -> sa.Engine:
    """Open (or make) the ledger for its one writer: checked, and migrated to this version.

    The caller holds the lock. `alive` is called each second or so while a migration makes progress:
    for a large ledger it may take minutes. Raises LedgerError when it is damaged, newer, or not
    writable.
    """
    engine = _engine(f"file:{quote(str(path))}?mode=rwc")
    sa.event.listen(engine, "connect", _set_up_writer)
    try:
        _refuse_unfit(path)
        with engine.begin() as connection, _showing_life(connection, alive):
            versions.migrate(connection)
        reclaiming.prepare(engine, path)
    except (sa.exc.DatabaseError, sqlite3.DatabaseError) as error:
        engine.dispose()
        raise unusable(path, error) from error
    return engine


@contextmanager
def _showing_life(connection: sa.Connection, alive: Callable[[], None]) -> Iterator[None]:
    driver = reclaiming.driver_of(connection)
    driver.set_progress_handler(alive, _STEPS)
    try:
        yield
    finally:
        driver.set_progress_handler(None, 0)


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
        if has_log(path):
            raise
    return _reader(path, "mode=ro&immutable=1")


def _reader(path: Path, mode: str) -> sa.Engine:
    engine = _engine(f"file:{quote(str(path))}?{mode}")
    sa.event.listen(engine, "connect", _set_up_reader)
    with engine.connect() as connection:
        found = versions.version(connection)
        versions.refuse_newer(found)
        versions.refuse_older(found)
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
    connection = connect_alone(path)
    try:
        versions.refuse_newer(connection.execute("PRAGMA user_version").fetchone()[0])
        if is_read_first(path):
            refuse_damaged(connection)
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
        "auto_vacuum = INCREMENTAL",  # first: it is for a ledger that has no table yet
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


_DIALECT = sqlite.dialect()


class Prepared:
    """A statement whose text is made once, and whose values go to the driver as they are.

    For SQLAlchemy to look at the values of each row takes longer than SQLite takes to write it. A
    value has to be what SQLite takes: None, a number, a text or bytes.
    """

    def __init__(self, statement: sa.Select[Any] | sa.Insert | sa.Update | sa.Delete) -> None:
        compiled = statement.compile(dialect=_DIALECT)
        self._text = str(compiled)
        self._names: Sequence[str] = compiled.positiontup or ()
        self._fixed = {name: value for name, value in compiled.params.items() if value is not None}

    def run(
        self, connection: sa.Connection, values: Mapping[str, Any]
    ) -> sa.CursorResult[*tuple[Any, ...]]:
        """Execute it once."""
        return connection.exec_driver_sql(self._text, self._in_order(values))

    def run_all(
        self, connection: sa.Connection, rows: Sequence[Mapping[str, Any]]
    ) -> sa.CursorResult[*tuple[Any, ...]]:
        """Execute it for every row, of which there is at least one."""
        return connection.exec_driver_sql(self._text, [self._in_order(row) for row in rows])

    def _in_order(self, values: Mapping[str, Any]) -> tuple[Any, ...]:
        known = {**self._fixed, **values} if self._fixed else values
        return tuple(map(known.__getitem__, self._names))


READ_FIRST = 128 * 1024 * 1024  # bytes: about 45,000 files; a few seconds from a slow disk


def is_read_first(path: Path) -> bool:
    """Return whether the ledger is small enough to be read whole before it is opened."""
    return path.stat().st_size <= READ_FIRST


def connect_alone(path: Path) -> sqlite3.Connection:
    """Open a ledger that nobody else can write to now, and leave no trace, not even beside it."""
    log = path.with_name(path.name + "-wal")
    is_left = log.exists() and log.stat().st_size > 0  # by a process that was killed
    return _connect(path, "mode=ro" if is_left else "mode=ro&immutable=1")


def has_log(path: Path) -> bool:
    """Return whether a ledger has a log beside it: somebody writes to it, or was killed."""
    return path.with_name(path.name + "-wal").exists()


def connect_to_read(path: Path) -> tuple[sqlite3.Connection, bool]:
    """Open a ledger that another connection may write to now. Raises sqlite3.DatabaseError.

    Also returns whether it has to be left alone meanwhile: where this user may not write beside it.
    """
    connection = _connect(path, "mode=ro")
    try:
        connection.execute("SELECT count(*) FROM sqlite_master").fetchone()
    except sqlite3.OperationalError:
        connection.close()
        if has_log(path):  # as in _first_that_opens
            raise
        return _connect(path, "mode=ro&immutable=1"), True
    return connection, False


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


class LedgerReader:
    """Read-only: for people's questions, at any moment, whether a daemon runs or not."""

    def __init__(self, path: Path) -> None:
        """Open it. Raises LedgerError where there is no ledger, or a damaged or newer one."""
        self._path = real_path(path)
        self._engine = open_for_reading(self._path)

    def ask(
        self, report: Callable[Concatenate[sa.Connection, _P], _T], *args: _P.args, **kw: _P.kwargs
    ) -> _T:
        """Answer one of `reports`, from one consistent view. Raises LedgerError."""
        try:
            with self._engine.connect() as connection, connection.begin():
                return report(connection, *args, **kw)
        except sa.exc.DatabaseError as error:
            raise unusable(self._path, error) from error

    def close(self) -> None:
        """Close the file."""
        self._engine.dispose()
