"""Looks at one file and its companion, for readiness. Blocking: it is run in threads."""

from __future__ import annotations

import stat
from typing import TYPE_CHECKING

from backupd.core import companions
from backupd.core.host import host_fault
from backupd.core.records import Identity
from backupd.intake.oddities import kind
from backupd.intake.readiness import CompanionLook, Look
from backupd.localfs.files import NotRegularError, read_small

if TYPE_CHECKING:
    import os

    from backupd.core.records import FileRecord
    from backupd.localfs.directory import Directory


def look_at(root: Directory, file: FileRecord) -> Look | None:
    """Return what is there now; None: no file. Raises OSError when that cannot be known.

    The data file is not opened. The companion is looked at last: one that is written after the
    data file can then not be older than what is known of the data.
    """
    found = root.find(file.relative_path)
    if found is None:
        return None
    problem = "" if stat.S_ISREG(found.st_mode) else f"it is {kind(found.st_mode)} now"
    companion = file.relative_companion
    return Look(
        identity=Identity.of(found),
        companion=_companion_at(root, companion) if companion else None,
        problem=problem,
    )


def _companion_at(root: Directory, name: str) -> CompanionLook | None:
    found = root.find(name)
    if found is None:
        return None
    try:
        identity, text = read_small(root, name, companions.MAX_BYTES)
    except FileNotFoundError:
        return None
    except OSError as error:
        if host_fault(error):
            raise
        return _unread(error, found)
    return CompanionLook(identity=identity, text=companions.decode(text))


def _unread(error: OSError, found: os.stat_result) -> CompanionLook:
    is_regular = stat.S_ISREG(found.st_mode) and not isinstance(error, NotRegularError)
    return CompanionLook(
        identity=Identity.of(found),
        text="",
        problem=f"cannot be read: {error.strerror}" if is_regular else f"is {kind(found.st_mode)}",
        may_pass=is_regular and not isinstance(error, PermissionError),
    )
