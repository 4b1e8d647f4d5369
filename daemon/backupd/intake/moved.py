"""Files that are at another path now, with the directory that they are in.

The rename of a directory changes nothing of the files below it: they keep all that their rows know
of them, the time of their last change (ctime) too, which no program can set. So what has all that
is the very file, and no other one that was given its inode.
"""

from __future__ import annotations

import posixpath
import time
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING

from backupd.core.records import Identity, Renaming
from backupd.core.threads import in_steps
from backupd.localfs.roots import open_root

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from backupd.core.records import FileRecord
    from backupd.intake.ports import IntakeLedger
    from backupd.intake.scan import Candidate, Tree
    from backupd.intake.turns import Turns
    from backupd.localfs.directory import Directory


class MovedFiles:
    """Gives rows the paths that their files have now."""

    def __init__(self, ledger: IntakeLedger) -> None:
        self._ledger = ledger

    async def take(
        self, turns: Turns, tree: Tree, candidates: Sequence[Candidate]
    ) -> list[Candidate]:
        """Write the new paths of files that are known by others; return the candidates left."""
        below = [each for each in candidates if "/" in tree.below(each.path)]
        were = await self._ledger.by_identity([each.identity for each in below]) if below else {}
        if not were:
            return list(candidates)
        run = partial(turns.run, tree.root.directory)
        moved = await in_steps(run, _moved(tree, below, were))
        applied = await self._ledger.rename(moved)
        done = {each.path for each, is_applied in zip(moved, applied, strict=True) if is_applied}
        return [each for each in candidates if each.path not in done]


def _moved(
    tree: Tree, candidates: Sequence[Candidate], were: Mapping[tuple[Identity, str], FileRecord]
) -> Iterator[Renaming]:
    """Yield which of these are known files that are at their old paths no more. Blocking."""
    now = time.time()
    with suppress(OSError), open_root(tree.feed_root) as top:  # the health and the scan say why
        for each in candidates:
            was = were.get((each.identity, posixpath.basename(each.path)))
            if was is not None and _is_moved(top, tree, each, was):
                yield _renaming(each, was, now)


def _is_moved(top: Directory, tree: Tree, candidate: Candidate, was: FileRecord) -> bool:
    """Look whether it stands there, and no more where it was: else it has two names."""
    if was.feed != candidate.matcher.feed.name or not was.path.startswith(tree.path("") + "/"):
        return False
    old = None if was.path == candidate.path else top.find(was.relative_path)
    if old is not None and (old.st_dev, old.st_ino) == (was.identity.dev, was.identity.ino):
        return False
    found = top.find(tree.below(candidate.path))
    return found is not None and Identity.of(found) == was.identity


def _renaming(candidate: Candidate, was: FileRecord, now: float) -> Renaming:
    sighting = candidate.matcher.sighting(candidate.path, candidate.identity, now)
    return Renaming(
        file=was,
        path=sighting.path,
        relative_path=sighting.relative_path,
        companion_path=sighting.companion_path,
        at=now,
    )
