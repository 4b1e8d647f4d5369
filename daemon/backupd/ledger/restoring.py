"""Puts a snapshot in the place of a ledger that is lost or damaged: whole or not at all."""

from __future__ import annotations

import os
import sqlite3
import zlib
from contextlib import closing, suppress
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Self

from backupd.core.archive_names import GZIP_MAGIC, GZIP_WINDOW
from backupd.core.errors import BackupdError, LedgerError
from backupd.ledger.engine import connect_alone, refuse_damaged, unusable
from backupd.ledger.lock import LedgerLock, lock_file, real_path
from backupd.ledger.snapshots import demand_sound, restoring_of
from backupd.ledger.start import RESTORED, RESTORED_AT
from backupd.localfs.directory import Directory

if TYPE_CHECKING:
    from pathlib import Path

_CREATE = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
_PIECE = 1024 * 1024  # bytes
_MODE = 0o640
_DAMAGE = {sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB}
_HINT = "give an earlier one: backupd restore FILE"


class Restoring:
    """Takes a snapshot a block at a time, then puts it in place. Use as a context manager.

    While it is entered, no daemon begins with this ledger. What is beside the ledger meanwhile,
    `<ledger>.restoring`, is removed in the end.
    """

    def __init__(self, ledger: Path) -> None:
        self._lock = LedgerLock(ledger)
        self._ledger = real_path(ledger)
        self._temporary = restoring_of(ledger)
        self._fd = -1
        self._begun = b""
        self._member: zlib._Decompress | None = None

    def __enter__(self) -> Self:
        """Raises LedgerLockedError, and LedgerError where a sound ledger is there."""
        self._lock.acquire_to_replace()
        try:
            _refuse_sound(self._ledger)
            self._temporary.unlink(missing_ok=True)
            self._fd = os.open(self._temporary, _CREATE, 0o600)
        except OSError as error:
            self._lock.release()
            raise _not_written(self._temporary, error) from error
        except BaseException:
            self._lock.release()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        """Leave nothing behind but the ledger."""
        os.close(self._fd)
        self._temporary.unlink(missing_ok=True)
        self._lock.release()

    def write(self, block: bytes) -> None:
        """Take the next block of a snapshot, be it gzip or not. Raises BackupdError."""
        try:
            if not self._begun and block.startswith(GZIP_MAGIC):
                self._member = zlib.decompressobj(GZIP_WINDOW)
            self._begun = self._begun or block[:1]
            self._write_on(block)
        except zlib.error as error:
            raise _broken("it does not decompress") from error
        except OSError as error:
            raise _not_written(self._temporary, error) from error

    def put_in_place(self) -> Path | None:
        """Check the snapshot, then give it the ledger's name, for good.

        Returns where the damaged ledger is kept that was there; None where none was. Raises
        BackupdError, LedgerError for a snapshot of a newer backupd.
        """
        if self._member is not None and (not self._member.eof or self._member.unused_data):
            raise _broken("it does not decompress whole")
        self._demand_sound()
        try:
            os.pwrite(self._fd, RESTORED.to_bytes(4, "big"), RESTORED_AT)
            self._give_to_owner()
            os.fsync(self._fd)
            return self._swap()
        except OSError as error:
            raise _not_written(self._ledger, error) from error

    def _write_on(self, block: bytes) -> None:
        if self._member is None:
            self._write_all(block)
            return
        while block:
            self._write_all(self._member.decompress(block, _PIECE))
            if self._member.eof and self._member.unused_data:
                raise _broken("more follows its end")
            block = self._member.unconsumed_tail

    def _write_all(self, data: bytes) -> None:
        rest = memoryview(data)
        while rest:
            rest = rest[os.write(self._fd, rest) :]

    def _demand_sound(self) -> None:
        try:
            with closing(connect_alone(self._temporary)) as connection:
                demand_sound(connection)
        except sqlite3.DatabaseError as error:
            raise _broken(str(error)) from error

    def _give_to_owner(self) -> None:
        """Root restores for the service's user: whoever has the ledger's directory."""
        if os.geteuid() == 0:
            there = self._ledger.parent.stat()
            os.fchown(self._fd, there.st_uid, there.st_gid)
            os.chown(lock_file(self._ledger), there.st_uid, there.st_gid, follow_symlinks=False)
        os.fchmod(self._fd, _MODE)

    def _swap(self) -> Path | None:
        """First the old log: what follows another database would be written into it."""
        aside = _free_name(self._ledger)
        kept = self._ledger.exists() and self._ledger.stat().st_size > 0
        if kept:
            os.link(self._ledger, aside)
        with suppress(FileNotFoundError):
            _beside(self._ledger, "-wal").rename(_beside(aside, "-wal"))
        with suppress(FileNotFoundError):
            _beside(self._ledger, "-shm").unlink()
        _flush(self._ledger.parent)
        self._temporary.rename(self._ledger)
        _flush(self._ledger.parent)
        return aside if kept else None


def _refuse_sound(ledger: Path) -> None:
    """Raise LedgerError where there is a ledger that works, or that cannot be judged."""
    if not ledger.exists() or ledger.stat().st_size == 0:
        return
    try:
        with closing(connect_alone(ledger)) as connection:
            refuse_damaged(connection)
            (version,) = connection.execute("PRAGMA user_version").fetchone()
    except sqlite3.DatabaseError as error:
        if getattr(error, "sqlite_errorcode", sqlite3.SQLITE_CORRUPT) & 0xFF in _DAMAGE:
            return
        raise unusable(ledger, error) from error
    if version > 0:
        raise LedgerError(
            f"the ledger {ledger} is sound: it is not replaced",
            hint=f"if it is to go, move it away first: mv {ledger} {ledger}.old",
        )


def _free_name(ledger: Path) -> Path:
    time = datetime.now(UTC).strftime("%Y%m%dT%H%M%SZ")
    name, number = f"{ledger.name}.damaged-{time}", 1
    while ledger.with_name(name).exists():
        number += 1
        name = f"{ledger.name}.damaged-{time}-{number}"
    return ledger.with_name(name)


def _beside(path: Path, end: str) -> Path:
    return path.with_name(path.name + end)


def _flush(directory: Path) -> None:
    with Directory.at(str(directory)) as opened:
        opened.flush()


def _broken(why: str) -> BackupdError:
    return BackupdError(f"the snapshot is damaged: {why}; nothing was changed", hint=_HINT)


def _not_written(path: Path, error: OSError) -> BackupdError:
    return BackupdError(
        f"could not write {path}: {error.strerror}",
        hint=f"run it as root or as the daemon's user, with room for it; df {path.parent}",
    )
