"""The mark of a place that is a directory of this host (`core.places`)."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from backupd.core.places import MARK_FILE, MOST

if TYPE_CHECKING:
    from backupd.localfs.directory import Directory


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
