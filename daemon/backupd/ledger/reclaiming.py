"""Gives the space of what left the ledger back to its file system, a few pages at a time.

A ledger that an earlier version made cannot do so: it is written anew once, at the start, where
that takes no more than some seconds. Otherwise freed pages are used again, and the file does not
shrink.
"""

from __future__ import annotations

import os
import shutil
from typing import TYPE_CHECKING, cast

import structlog

if TYPE_CHECKING:
    import sqlite3
    from pathlib import Path

    import sqlalchemy as sa

log = structlog.get_logger()

_INCREMENTAL = 2  # what `PRAGMA auto_vacuum` answers
_AT_ONCE = 64  # pages: some milliseconds
_KEPT = 1024  # free pages that stay: what is written next takes them
_LARGEST = 512 * 1024 * 1024  # bytes: a start may not take minutes
_ROOM = 3  # times its size: a copy, the log, and as much again for whoever else needs it
_TEMPORARY = "SQLITE_TMPDIR"


def prepare(engine: sa.Engine, path: Path) -> None:
    """Write a ledger of an earlier version anew, if it is small enough and there is room for it."""
    if is_possible(engine):
        return
    size, free = path.stat().st_size, shutil.disk_usage(path.parent).free
    if size > _LARGEST or free < _ROOM * size:
        log.warning(
            "the ledger file will not shrink: freed space is used again",
            path=str(path),
            size_bytes=size,
            hint=f"with backupd stopped: sqlite3 {path} 'PRAGMA auto_vacuum = 2; VACUUM'",
        )
        return
    os.environ.setdefault(_TEMPORARY, str(path.parent))  # where room was looked for
    with engine.connect() as connection:
        driver_of(connection).execute("VACUUM")
    log.info("the ledger was written anew, so that it can shrink", path=str(path), size_bytes=size)


def is_possible(engine: sa.Engine) -> bool:
    """Return whether pages of this ledger can be given back."""
    with engine.connect() as connection:
        found = connection.exec_driver_sql("PRAGMA auto_vacuum").scalar_one()
    return bool(found == _INCREMENTAL)


def give_back(engine: sa.Engine) -> bool:
    """Give back a few pages, if many are free; return whether there are more."""
    with engine.connect() as connection:
        driver = driver_of(connection)
        (free,) = driver.execute("PRAGMA freelist_count").fetchone()
        spare = min(free - _KEPT, _AT_ONCE)
        if spare > 0:
            # A step a page, and `execute` takes one step only where no columns are to be fetched.
            driver.executescript(f"PRAGMA incremental_vacuum({spare:d})")
    return bool(free - _KEPT > _AT_ONCE)


def driver_of(connection: sa.Connection) -> sqlite3.Connection:
    """Return the connection below it."""
    return cast("sqlite3.Connection", connection.connection.driver_connection)
