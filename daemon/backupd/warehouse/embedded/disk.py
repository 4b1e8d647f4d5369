"""Files and directories that are still there after a power cut, relative to open directories."""

from __future__ import annotations

import os
import shutil
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from backupd.localfs.directory import Directory


def move(source: Directory, target: Directory, name: str) -> None:
    """Rename a file from one directory into another, whose names the caller flushes."""
    os.rename(name, name, src_dir_fd=source.descriptor, dst_dir_fd=target.descriptor)


def remove_tree(directory: Directory, name: str) -> bool:
    """Remove a directory with all in it; return whether there was one. No link is followed."""
    try:
        shutil.rmtree(name, dir_fd=directory.descriptor)
    except FileNotFoundError:
        return False
    return True


def sorted_names(directory: Directory, name: str) -> list[str]:
    """Return what lies in a directory below an open one; no directory: nothing.

    An unreadable one raises OSError, where it must not show as empty.
    """
    try:
        with directory.directory(name) as below:
            return sorted(entry.name for entry in below.names())
    except FileNotFoundError:
        return []
