"""Whether the kernel can report that files in a directory are open for writing; if not, why.

For people: code that works on files asks for a lease on each (`leases`).
"""

from __future__ import annotations

import os
from contextlib import suppress
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING

from backupd.localfs.capabilities import Capability, has
from backupd.localfs.directory import Directory
from backupd.localfs.filesystems import NETWORK_FILESYSTEMS, filesystem_type
from backupd.localfs.leases import Writers, writers_of

if TYPE_CHECKING:
    from collections.abc import Iterable

_LOOKED_AT = 1000  # entries of a directory
_OTHERS_MAY_WRITE = 0o022  # of a directory's mode


def why_writers_unknown(directory: str) -> str | None:
    """Return why the kernel cannot report writers, in words for people; None: no reason was found.

    Raises OSError when the directory cannot be listed.
    """
    kind = filesystem_type(Path(directory))
    if kind in NETWORK_FILESYSTEMS:
        return f"on a network file system ({kind}) writers on other hosts do not show"
    with Directory.at(os.path.realpath(directory)) as opened:
        found = islice(opened.names(), _LOOKED_AT)
        files = [each for each in found if each.is_file(follow_symlinks=False)]
        if not has(Capability.LEASE) and not _all_ours(opened, files):
            return (
                f"user {os.geteuid()}, who asks here, does not own all that comes there and lacks"
                " the capability CAP_LEASE (the systemd unit gives it to the service)"
            )
        if _lease_on_any(opened, files) is Writers.UNKNOWN:
            return f"the file system ({kind}) gives no leases"
    return None


def _all_ours(directory: Directory, files: Iterable[os.DirEntry[str]]) -> bool:
    """Return whether all files are this user's, and nobody else may put any there."""
    place = directory.stat()
    owners = {place.st_uid}
    for entry in files:
        with suppress(FileNotFoundError):
            owners.add(entry.stat(follow_symlinks=False).st_uid)
    return owners == {os.geteuid()} and not place.st_mode & _OTHERS_MAY_WRITE


def _lease_on_any(directory: Directory, files: Iterable[os.DirEntry[str]]) -> Writers | None:
    """Return what the kernel says of the first file that can be opened; None: there is none."""
    for entry in files:
        with suppress(OSError):
            descriptor = directory.open(entry.name)
            try:
                return writers_of(descriptor)
            finally:
                os.close(descriptor)
    return None
