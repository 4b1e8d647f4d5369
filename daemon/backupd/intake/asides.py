"""What a cleanup moved aside to remove it, and left there when its process was ended."""

from __future__ import annotations

from typing import TYPE_CHECKING

import structlog

from backupd.core.names import aside_name, escaped, parse_aside, was_shortened
from backupd.localfs import removal
from backupd.localfs.removal import KeptAsideError
from backupd.localfs.roots import open_root

if TYPE_CHECKING:
    from collections.abc import Iterator

    from backupd.core.records import FileRecord
    from backupd.intake.scan import Entry, Tree

log = structlog.get_logger()


def id_of_aside(aside: str) -> str:
    """Return the id of the file that was moved aside, "" for a name that is none of ours."""
    parsed = parse_aside(aside)
    return parsed[1] if parsed else ""


def put_back(tree: Tree, entry: Entry, file: FileRecord | None) -> str:
    """Give it its name back: it is then seen like any other file. Blocking.

    `file` is what the ledger knows of it. Where its name is taken, or not known any more, it stays
    with a name that says so. Returns why it could not be put back; "" where it was, or is gone.
    """
    name = next(_names(entry.name, file), None)
    if name is None:
        return "it was moved aside to be removed, and its name is not known"
    try:
        with open_root(tree.feed_root) as top, top.directory(entry.below) as directory:
            if removal.put_back(directory, entry.name, name):
                path = escaped(tree.path(entry.below, entry.name))
                log.warning("put back what a removal left aside", file=path, name=escaped(name))
    except KeptAsideError as kept:
        return f"it was moved aside to be removed, and its name is taken: it is {kept.name} now"
    except OSError as error:
        return f"it was moved aside to be removed, and cannot be put back: {error.strerror}"
    return ""


def _names(aside: str, file: FileRecord | None) -> Iterator[str]:
    """Yield the names that the file may have had."""
    known = [file.file_name, (file.companion_path or "").rpartition("/")[2]] if file else []
    yield from (name for name in known if aside_name(name, id_of_aside(aside)) == aside)
    parsed = parse_aside(aside)
    if parsed and not was_shortened(parsed[0]):
        yield parsed[0]
