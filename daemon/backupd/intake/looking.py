"""Looks at one file and its companion, for readiness. Blocking: it is run in threads."""

from __future__ import annotations

import os
import stat

from backupd.core import companions
from backupd.core.records import Identity
from backupd.intake.oddities import kind
from backupd.intake.readiness import CompanionLook, Look

_FLAGS = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC


def look_at(path: str, companion_path: str | None) -> Look | None:
    """Return what stands there now; None: no file. Raises OSError when that cannot be told.

    The data file is not opened. The companion is looked at last: one that is written after the
    data file can then not be older than what is known of the data.
    """
    try:
        found = os.lstat(path)
    except (FileNotFoundError, NotADirectoryError):
        return None
    problem = "" if stat.S_ISREG(found.st_mode) else f"it is {kind(found.st_mode)} now"
    return Look(
        identity=Identity.of(found),
        companion=_companion_at(companion_path) if companion_path else None,
        problem=problem,
    )


def _companion_at(path: str) -> CompanionLook | None:
    try:
        found = os.lstat(path)
    except (FileNotFoundError, NotADirectoryError):
        return None
    if not stat.S_ISREG(found.st_mode):
        problem = f"is {kind(found.st_mode)}"
        return CompanionLook(identity=Identity.of(found), text="", problem=problem)
    try:
        return _read(path)
    except FileNotFoundError:
        return None
    except OSError as error:
        problem = f"cannot be read: {error.strerror}"
        return CompanionLook(identity=Identity.of(found), text="", problem=problem)


def _read(path: str) -> CompanionLook:
    """Read a companion, bounded. Its identity is the one of the very file that was read."""
    descriptor = os.open(path, _FLAGS)
    try:
        identity = Identity.of(os.fstat(descriptor))
        data = os.read(descriptor, companions.MAX_BYTES)
    finally:
        os.close(descriptor)
    return CompanionLook(identity=identity, text=companions.decode(data))
