"""What a cleanup moved aside to remove it, and left there when its process was ended."""

from __future__ import annotations

from typing import TYPE_CHECKING

import structlog

from backupd.core.names import aside_name, escaped, parse_aside, was_shortened
from backupd.intake.oddities import KEPT, unseen
from backupd.localfs import removal
from backupd.localfs.removal import KeptAsideError
from backupd.localfs.roots import open_root

if TYPE_CHECKING:
    from collections.abc import Iterator

    from backupd.core.records import FileRecord
    from backupd.core.untaken import Trouble
    from backupd.intake.scan import Entry, Tree

log = structlog.get_logger()


def id_of_aside(aside: str) -> str:
    """Return the id of the file that was moved aside, "" for a name that is none of ours."""
    parsed = parse_aside(aside)
    return parsed[1] if parsed else ""


def put_back(tree: Tree, entry: Entry, file: FileRecord | None) -> Trouble | None:
    """Give it its name back: it is then seen like any other file. Blocking.

    `file` is what the ledger knows of it. Where its name is taken, it gets one that says so, which
    the next scan finds. Returns why it stays as it is; None: it does not.
    """
    name = next(_names(entry.name, file), None)
    if name is None:
        return KEPT
    try:
        with open_root(tree.feed_root) as top, top.directory(entry.below) as directory:
            if removal.put_back(directory, entry.name, name):
                path = escaped(tree.path(entry.below, entry.name))
                log.warning("put back what a removal left aside", file=path, name=escaped(name))
    except KeptAsideError as kept:
        path = escaped(tree.path(entry.below, kept.name))
        log.warning("kept what a removal left aside", file=path, why="its name is taken")
    except OSError as error:
        return unseen("cannot be put back to its name", error)
    return None


def _names(aside: str, file: FileRecord | None) -> Iterator[str]:
    """Yield the names that the file may have had."""
    known = [file.file_name, (file.companion_path or "").rpartition("/")[2]] if file else []
    yield from (name for name in known if aside_name(name, id_of_aside(aside)) == aside)
    parsed = parse_aside(aside)
    if parsed and not was_shortened(parsed[0]):
        yield parsed[0]
