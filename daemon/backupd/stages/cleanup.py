"""cleanup: the only place that deletes, and only what is proven to be safe elsewhere."""

from __future__ import annotations

import errno
import os
import time
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

from backupd.core.dependencies import Dependency
from backupd.core.errors import LocalGoneError, PermanentError, RewindError, TransientError
from backupd.core.names import aside_name, escaped
from backupd.core.records import Result
from backupd.core.stages import Awaits, Stage, Status
from backupd.core.threads import sha256_in_steps
from backupd.localfs.directory import NOTHING_THERE
from backupd.localfs.files import NotRegularError, companion_text, has_coarse_times, open_file
from backupd.localfs.leases import Writers, writers_of
from backupd.localfs.removal import KeptAsideError, Removal, put_back, remove
from backupd.stages.local import open_feed, open_in, open_local

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterator

    from backupd.core.ports import Archive
    from backupd.core.records import FileRecord, Receipt, Task
    from backupd.localfs.directory import Directory
    from backupd.localfs.files import OpenFile
    from backupd.stages.local import FeedThreads

_LOOK_AGAIN = 60.0  # seconds
_FULL = {errno.ENOSPC, errno.EDQUOT}
# A companion that is gone, is no file any more (a socket cannot be opened), or belongs to others.
_NOT_OURS = {*NOTHING_THERE, errno.ENXIO, errno.EACCES, errno.EPERM}


@dataclass(frozen=True, kw_only=True, slots=True)
class CleanupRules:
    """Whether local files are removed, and whether one that is open for writing is spared."""

    delete: bool
    ask_writers: bool = True


class Cleanup:
    """Removes the local copy of one file, and its companion."""

    def __init__(
        self,
        archive: Archive,
        threads: FeedThreads,
        rules: CleanupRules,
        before_removal: Callable[[], object] = lambda: None,
    ) -> None:
        """`before_removal` is called before anything is removed: it may end the process instead."""
        self._archive = archive
        self._threads = threads
        self._rules = rules
        self._before_removal = before_removal

    async def __call__(self, task: Task) -> Result:
        """Remove what is proven.

        Raises PermanentError when the proof is not there or does not hold, RewindError while
        somebody has the file open for writing.
        """
        _wait_for_the_original(task)
        receipt = proof_of(task)
        if not self._rules.delete:
            if task.original is not None:
                await self._look_again(receipt, task)
            return Result(changes={}, detail="kept: action is keep")
        if not task.is_proven:
            await self._threads.run_small(task.feed, partial(self._refuse_writers, task))
            await self._look_again(receipt, task)
        run = self._threads.by_size(task.file.size_bytes or 0)
        read_on: Callable[[], Removal | None] = partial(next, self._remove(task, receipt))
        while (removal := await run(task.feed, read_on)) is None:
            pass
        leaned_on = () if task.is_proven else (Dependency.ARCHIVE,)
        return Result(changes={"local": False}, detail=_detail(removal), leaned_on=leaned_on)

    async def _look_again(self, receipt: Receipt, task: Task) -> None:
        """The copy was verified when it was shipped: it may have been lost or changed since."""
        found = await self._archive.checksum(receipt.archive_name)
        state = "is not there any more" if found is None else "has changed"
        if found is not None and found.sha256 == receipt.remote_sha256:
            if not await self._is_the_source(receipt, task):
                return
            state = "is this very file, by another name"
        whose, again = "its", "requeue it from ship"
        if task.original is not None:
            whose = f"a duplicate of {receipt.file_id}, whose"
            again = f"requeue {receipt.file_id} from ship while this copy is here, then this one"
        name = escaped(receipt.archive_name)
        raise PermanentError(f"not deleted: {whose} archive copy {name} {state}", hint=again)

    async def _is_the_source(self, receipt: Receipt, task: Task) -> bool:
        with suppress(LocalGoneError):
            async with self._threads.opened(task) as opened:
                return await self._archive.is_same_file(receipt.archive_name, opened.identity)
        return False

    def _refuse_writers(self, task: Task) -> None:
        """Raise RewindError while somebody writes to the file: the archive need not be asked."""
        with suppress(LocalGoneError), open_local(task) as opened:
            if self._writers(opened) is Writers.SOME:
                raise _in_use()

    def _remove(self, task: Task, receipt: Receipt) -> Iterator[Removal | None]:
        """Yield None after each step of comparing, and at last what became of the file."""
        self._before_removal()
        with ExitStack() as stack:
            try:
                root = stack.enter_context(open_feed(task))
            except LocalGoneError:  # the config has moved the feed: the file stays
                yield Removal.ELSEWHERE
                return
            if not task.is_first:
                _put_leftovers_back(root, task.file)
            removal = yield from self._remove_data(root, task.file, receipt)
            if removal is not Removal.OTHER:
                self._remove_companion(root, task.file)
        yield removal

    def _remove_data(
        self, root: Directory, file: FileRecord, receipt: Receipt
    ) -> Generator[None, None, Removal]:
        try:
            with open_in(root, file) as opened:
                return (yield from self._remove_opened(file, opened, receipt))
        except LocalGoneError:
            return Removal.OTHER if root.find(file.relative_path) else Removal.GONE

    def _remove_opened(
        self, file: FileRecord, opened: OpenFile, receipt: Receipt
    ) -> Generator[None, None, Removal]:
        if not (yield from self._is_the_shipped(file, opened, receipt)):
            return Removal.OTHER
        aside, ask_writers = aside_name(opened.name, file.id), self._rules.ask_writers
        try:
            removal = remove(opened, aside, opened.identity, ask_writers=ask_writers)
        except KeptAsideError as kept:
            raise PermanentError(
                "not deleted: another file came in its place, and one more after that; it is kept"
                f" as {escaped(kept.name)} beside it",
                hint="it was not shipped: give it a name of its own to have it taken",
            ) from kept
        except OSError as error:
            raise _undeletable(file, error) from error
        if removal is Removal.IN_USE:
            raise _in_use()
        return removal

    def _remove_companion(self, root: Directory, file: FileRecord) -> None:
        """The companion goes with its file, if it is still the one that was read."""
        name, ask_writers = file.relative_companion, self._rules.ask_writers
        if name is None or file.companion_text is None:
            return
        try:
            with suppress(KeptAsideError, NotRegularError), open_file(root, name) as opened:
                if companion_text(opened) != file.companion_text:
                    return
                aside = aside_name(opened.name, file.id)
                removal = remove(opened, aside, opened.identity, ask_writers=ask_writers)
                if removal is Removal.IN_USE:
                    raise _in_use("its companion")
        except OSError as error:
            if error.errno not in _NOT_OURS:  # else it stays, and is taken for one that came late
                raise TransientError(f"cannot delete its companion: {error.strerror}") from error

    def _is_the_shipped(
        self, file: FileRecord, opened: OpenFile, receipt: Receipt
    ) -> Generator[None, None, bool]:
        """Compare by identity; by content where that differs (a touch), or shows too little."""
        if opened.identity == file.identity and not self._tells_too_little(opened):
            return True
        if opened.identity != file.identity and _came_again_alone(file, opened):
            return False
        if opened.identity.size != file.identity.size:
            return False  # not read: a huge one would hold up all else that is under way here
        sha256 = yield from sha256_in_steps(opened.fd)
        return sha256 == receipt.sha256 and opened.identity_now() == opened.identity

    def _tells_too_little(self, opened: OpenFile) -> bool:
        """Return whether the content may have changed although size and times are the same.

        So it is where the kernel cannot say that nobody has written to a mapping of the file, which
        moves no time until later, and where time stamps are coarse.
        """
        is_unsure = self._writers(opened) in {Writers.NO_RIGHT, Writers.UNKNOWN}
        return is_unsure or has_coarse_times(opened.identity)

    def _writers(self, opened: OpenFile) -> Writers:
        return writers_of(opened.fd, ask=self._rules.ask_writers)


def _came_again_alone(file: FileRecord, opened: OpenFile) -> bool:
    """Return whether the companion that was read is gone while a data file is there.

    The data file goes first. So this one came later, and its own companion is still to come: it
    would find no file, and be taken for one that came late.
    """
    if file.relative_companion is None or file.companion_text is None:
        return False
    return opened.directory.find(file.relative_companion.rpartition("/")[2]) is None


def _wait_for_the_original(task: Task) -> None:
    """A duplicate leans on the first file's proof. The ledger wakes it; the look is to be sure."""
    original = task.original
    if original is None:
        return
    if original.status is not Status.DONE:
        raise RewindError(
            Stage.CLEANUP,
            f"duplicate of {original.id}: waits until that one is done",
            awaits=Awaits.ORIGINAL,
            next_attempt_at=time.time() + _LOOK_AGAIN,
        )
    if original.is_closed and task.receipt is None:
        raise RewindError(
            Stage.MANIFEST,
            f"{original.id}, which is the same file, was closed without proof: read again",
            duplicate_of=None,
        )


def proof_of(task: Task) -> Receipt:
    """Return the receipt that covers the file. Raises PermanentError where it does not."""
    receipt, again = task.receipt, f"requeue {task.holder.id} from ship"
    if receipt is None or task.holder.row_seen_at is None:
        raise PermanentError("there is no proof that it is safe elsewhere: not deleted", hint=again)
    for flaw in receipt.flaws(task.file.sha256):
        raise PermanentError(f"{flaw}: not deleted", hint=again)
    return receipt


def _in_use(what: str = "it") -> RewindError:
    # What it is now is not noted: it may have been written to, and has to be compared again.
    return RewindError(
        Stage.CLEANUP,
        f"not deleted yet: some process has {what} open for writing",
        awaits=Awaits.WRITER,
        next_attempt_at=time.time() + _LOOK_AGAIN,
    )


def _detail(removal: Removal) -> str:
    match removal:
        case Removal.REMOVED:
            return "local copy deleted"
        case Removal.GONE:
            return "the local copy was gone already"
        case Removal.ELSEWHERE:
            return "not deleted: the feed has another directory by now"
        case _:
            return "not deleted: another file stands in its place by now"


def _put_leftovers_back(root: Directory, file: FileRecord) -> None:
    """An earlier try may have ended in the middle of a removal."""
    for name in filter(None, (file.relative_path, file.relative_companion)):
        try:
            with root.parent_of(name) as (directory, last):
                put_back(directory, aside_name(last, file.id), last)
        except KeptAsideError as kept:
            raise PermanentError(
                "a removal was cut short, and another file has its name by now: it is kept as"
                f" {escaped(kept.name)} beside it",
                hint="compare it with its copy in the archive, which it should be the same as",
            ) from kept
        except OSError as error:
            if error.errno not in NOTHING_THERE:
                raise _undeletable(file, error) from error


def _undeletable(file: FileRecord, error: OSError) -> TransientError | RewindError:
    if error.errno in _FULL:
        # To move it aside may take a block of the directory. Other removals make room.
        return RewindError(
            Stage.CLEANUP,
            "not deleted yet: its disk is too full to move it aside",
            next_attempt_at=time.time() + _LOOK_AGAIN,
        )
    return TransientError(
        f"cannot delete {escaped(file.path)}: {os.strerror(error.errno or 0)}",
        hint=f"give user {os.geteuid()} the right to write its directory",
    )
