"""Files that are there whole or not at all, and never written through a link that somebody planted.

A file is made under a name that nobody can guess, which must be free, and renamed over the one that
it replaces: a link there is replaced, not followed.
"""

from __future__ import annotations

import os
import re
import secrets
from contextlib import suppress

from backupd.core.places import MARK_FILE, MOST
from backupd.localfs.directory import CREATE, Directory

_TEMPORARY = re.compile(r"\.(?P<name>.+)\.[0-9a-f]{8}\.tmp", re.DOTALL)


def directory_at(path: str) -> Directory:
    """Open the directory at an absolute path. OSError where any part of it is a link."""
    with Directory.at("/") as top:
        return top.directory(path.strip("/"))


def made_directory_at(path: str) -> Directory:
    """Do the same; it and those above it are made where they are missing."""
    try:
        return directory_at(path)
    except FileNotFoundError:
        above, _, last = path.rstrip("/").rpartition("/")
        with made_directory_at(above) as parent:
            return parent.make(last)


def write_whole(
    directory: Directory, name: str, content: bytes | memoryview, permissions: int | None = None
) -> None:
    """Put a file in place of what has the name, and have it on the disk.

    `permissions` are those that the umask leaves, where none are given. Raises OSError.
    """
    temporary = f".{name}.{secrets.token_hex(4)}.tmp"
    descriptor = directory.open(temporary, CREATE)
    try:
        _write(descriptor, content, permissions)
        directory.rename(temporary, name)
    except BaseException:
        with suppress(OSError):
            directory.unlink(temporary)
        raise
    directory.flush()


def _write(descriptor: int, content: bytes | memoryview, permissions: int | None) -> None:
    with os.fdopen(descriptor, "wb") as file:
        if permissions is not None:
            os.fchmod(descriptor, permissions)
        file.write(content)
        file.flush()
        os.fsync(descriptor)


def remove_leftovers(directory: Directory, name: str) -> None:
    """Remove what a process that was killed left of `write_whole`."""
    for entry in directory.names():
        match = _TEMPORARY.fullmatch(entry.name)
        if match and match["name"] == name and entry.is_file(follow_symlinks=False):
            directory.unlink(entry.name)


def read_mark(root: Directory) -> bytes | None:
    """Return up to `MOST` bytes of the file of the mark; None: there is none. Raises OSError."""
    try:
        descriptor = root.open(MARK_FILE)
    except FileNotFoundError:
        return None
    try:
        return os.read(descriptor, MOST)
    finally:
        os.close(descriptor)
