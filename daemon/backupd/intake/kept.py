"""Files that are done, or held by hand, and stay: what it means when only their ctime changed.

A new mode, owner, attribute or hard link changes it, and so does new content whose mtime was set
back afterwards. Only a hash shows which it was. Files are hashed beside the scans, one at a time,
so that a large file holds nothing up. If the content is the same, the new identity is noted, and
the file is not hashed again.
"""

from __future__ import annotations

import asyncio
import time
from contextlib import suppress
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING

from backupd.core.calls import DoesNotAnswerError
from backupd.core.records import Move
from backupd.core.stages import Status
from backupd.core.threads import sha256_in_steps
from backupd.localfs.files import open_file
from backupd.localfs.roots import open_root

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterator

    from backupd.core.records import FileRecord, Identity, Known
    from backupd.core.threads import DirectoryThreads
    from backupd.intake.ports import IntakeLedger
    from backupd.intake.scan import Candidate, Tree

    Take = Callable[[Tree, Candidate], Awaitable[None]]

_MOST = 5_000  # files that wait; the others are seen again by the next scan
_TICK = 0.02  # seconds: of two changes within one tick of the kernel's clock, one moves no time


class KeptFiles:
    """Compares them; `take` gets those that are other files by now."""

    def __init__(self, ledger: IntakeLedger, threads: DirectoryThreads, take: Take) -> None:
        self._ledger = ledger
        self._threads = threads
        self._take = take
        self._waiting: dict[str, tuple[Tree, Candidate, str]] = {}
        self._wake = asyncio.Event()
        self._turn = asyncio.Lock()

    def put_off(self, tree: Tree, candidate: Candidate, known: Known | None) -> bool:
        """Return whether a file is to be compared, before it may be taken for a new one."""
        if known is None or not known.stays or not _but_for_ctime(known.identity, candidate):
            return False
        if len(self._waiting) < _MOST:
            self._waiting[candidate.path] = (tree, candidate, known.last_id)
            self._wake.set()
        return True

    async def run(self) -> None:
        """Compare what waits, as it comes."""
        while True:
            await self._wake.wait()
            self._wake.clear()
            await self.compare()

    async def compare(self) -> None:
        """Compare all that waits."""
        async with self._turn:
            while self._waiting:
                path = next(iter(self._waiting))
                with suppress(DoesNotAnswerError):  # the next scan comes back to it
                    await self._compare(*self._waiting.pop(path))

    async def _compare(self, tree: Tree, candidate: Candidate, file_id: str) -> None:
        file = await self._ledger.file(file_id)
        if file is None or (file.status is Status.DONE and file.sha256 is None):
            await self._take(tree, candidate)
        elif file.sha256 is not None and file.identity != candidate.identity:
            sha256 = await self._sha256_of(tree, candidate)
            if sha256 == file.sha256:
                await self._ledger.move([_with_identity(file, candidate.identity)])
            elif sha256 is not None:
                await self._take(tree, candidate)

    async def _sha256_of(self, tree: Tree, candidate: Candidate) -> str | None:
        """Return the SHA-256 of its content; None where that cannot be known just now."""
        if abs(time.time() - candidate.identity.ctime_ns / 1e9) < _TICK:
            await asyncio.sleep(_TICK)
        read_on: Callable[[], str | None] = partial(next, _read(tree, candidate), "")
        try:
            while (sha256 := await self._threads.run(tree.root.directory, read_on)) is None:
                pass
        except OSError:
            return None
        return sha256 or None


def _but_for_ctime(before: Identity | None, candidate: Candidate) -> bool:
    return before is not None and candidate.identity == replace(
        before, ctime_ns=candidate.identity.ctime_ns
    )


def _with_identity(file: FileRecord, identity: Identity) -> Move:
    """Return the move that leaves the file where it is, without an event in its history."""
    return Move(
        file=file,
        stage=file.stage,
        status=file.status,
        changes={"identity": identity},
        at=time.time(),
        detail="",
    )


def _read(tree: Tree, candidate: Candidate) -> Iterator[str | None]:
    """Yield None after each step and the SHA-256 at last; nothing where it changed meanwhile."""
    name = tree.below(candidate.path)
    with open_root(tree.feed_root) as root, open_file(root, name) as opened:
        sha256 = yield from sha256_in_steps(opened.fd)
        is_the_one = opened.identity == opened.identity_now() == candidate.identity
    if is_the_one:
        yield sha256
