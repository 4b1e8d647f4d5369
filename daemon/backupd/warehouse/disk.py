"""Files and directories that are still there after a power cut."""

from __future__ import annotations

import os
import shutil
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path


def make_directory(path: Path) -> None:
    """Make a directory, whose parent must exist, unless it is there, and make that last.

    The parent is flushed even when there was nothing to make: the try that made it may have ended
    before it came to that.
    """
    path.mkdir(exist_ok=True)
    sync_directory(path.parent)


def sync_directory(path: Path) -> None:
    """Flush a directory's entries: without it a power cut takes a rename back."""
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def write_file(path: Path, content: bytes | memoryview) -> None:
    """Make a file that is there whole or not at all: temporary name, flush, rename, flush."""
    temporary = path.with_name(f".{path.name}.tmp")
    with temporary.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    temporary.rename(path)
    sync_directory(path.parent)


def remove_tree(path: Path) -> bool:
    """Remove a directory with all in it; return whether there was one."""
    try:
        shutil.rmtree(path)
    except FileNotFoundError:
        return False
    return True


def entries(path: Path) -> list[Path]:
    """Return what lies in a directory, by name; no directory: nothing.

    An unreadable one raises OSError, where `Path.glob` would show it as empty.
    """
    try:
        return sorted(path.iterdir())
    except FileNotFoundError:
        return []
