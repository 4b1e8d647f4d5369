"""Companions that came after their file was done: nobody reads them any more, so they are reported.

They are not removed. Where a companion is required, the same file may come once more, and would
wait for it forever; elsewhere there is seldom proof that it is about what was registered.
"""

from __future__ import annotations

import time
from functools import partial
from typing import TYPE_CHECKING

from backupd.core import companions
from backupd.core.threads import in_steps
from backupd.core.untaken import Trouble
from backupd.localfs.files import read_companion
from backupd.localfs.roots import open_root

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from backupd.core.records import CompanionRule, DoneFile
    from backupd.intake.ports import IntakeLedger
    from backupd.intake.scan import Chunk, Tree
    from backupd.intake.settling import Settings
    from backupd.intake.turns import Turns
    from backupd.localfs.directory import Directory

LATE = Trouble(
    "it is a companion that came after its file was done",
    "remove it; with companion_required = true files wait for theirs",
)
CONTRADICTING = Trouble(
    f"{LATE.what}, and speaks of another content",
    "have the right file delivered, or remove the companion: backupd-admin show tells what was"
    " registered and shipped",
)


class LateCompanions:
    """Finds them in what a scan saw."""

    def __init__(self, ledger: IntakeLedger, settings: Settings) -> None:
        self._ledger = ledger
        self._settings = settings

    async def count(self, turns: Turns, tree: Tree, chunk: Chunk) -> None:
        """Count those of a chunk among what cannot be taken.

        One that came just now may have been the first of a pair.
        """
        asked = dict(_without_candidate(tree, chunk))
        late = await self._ledger.late_companions(asked) if asked else {}
        if late:
            run = partial(turns.run, tree.root.directory)
            for each in await in_steps(run, self._troubles(tree, chunk, late)):
                chunk.odd.add(*each)

    def _troubles(
        self, tree: Tree, chunk: Chunk, late: Mapping[str, DoneFile]
    ) -> Iterator[tuple[str, Trouble, str]]:
        try:
            with open_root(tree.feed_root) as root:
                for path, done in late.items():
                    trouble = self._trouble(root, tree.below(path), done)
                    if trouble is not None:
                        yield done.feed, trouble, path
        except OSError:
            chunk.odd.is_whole = False

    def _trouble(self, root: Directory, name: str, done: DoneFile) -> Trouble | None:
        feed = self._settings.feed(done.feed)
        found = root.find(name)
        if feed is None or feed.companion is None or found is None:
            return None
        if time.time() - found.st_ctime < self._settings.rules(feed).settle_for:
            return None
        try:
            _, text = read_companion(root, name)
        except OSError:
            return LATE
        return CONTRADICTING if _contradicts(text, feed.companion, done) else LATE


def _without_candidate(tree: Tree, chunk: Chunk) -> Iterator[tuple[str, str]]:
    """Yield the companions whose file was not seen beside them, each with its path but for the end.

    Nearly all are where their file is, and need not be asked for.
    """
    if not chunk.companions:
        return
    suffixes = sorted(set(_suffixes(tree)), key=len, reverse=True)
    seen = {
        companions.path_of(each.path, suffix) for each in chunk.candidates for suffix in suffixes
    }
    for path in chunk.companions:
        if path not in seen:
            suffix = next(suffix for suffix in suffixes if path.endswith(suffix))
            yield path, path.removesuffix(suffix)


def _suffixes(tree: Tree) -> Iterable[str]:
    return (each.companion_suffix for each in tree.root.matchers if each.companion_suffix)


def _contradicts(text: str, rule: CompanionRule, done: DoneFile) -> bool:
    """Return whether it cannot be about the content that was registered, as far as known."""
    claim = companions.parse(text, rule.algorithm)
    if claim is None:
        return True
    is_other_size = claim.size is not None and done.size_bytes not in {None, claim.size}
    is_other_hash = rule.algorithm == "sha256" and done.sha256 not in {None, claim.digest}
    return is_other_size or is_other_hash
