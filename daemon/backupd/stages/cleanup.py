"""cleanup: the only place that deletes, and only what is proven to be safe elsewhere."""

from __future__ import annotations

import asyncio
import hashlib
import os
import time
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from backupd.core import companions
from backupd.core.errors import LocalGoneError, PermanentError, RewindError, TransientError
from backupd.core.names import escaped
from backupd.core.records import Result
from backupd.core.stages import Stage, Status

if TYPE_CHECKING:
    from backupd.core.ports import Archive
    from backupd.core.records import Feed, FileRecord, Receipt, Task
    from backupd.stages.local import LocalFile, LocalFiles

_CHUNK = 256 * 1024  # bytes
_SMALL = 64 * 1024  # bytes: to change the thread takes longer than to remove such a file
_LOOK_AGAIN = 60.0  # seconds


class Cleanup:
    """Removes the local copy of one file, and its companion."""

    def __init__(self, archive: Archive, local: LocalFiles, *, delete: bool) -> None:
        """`delete` False keeps every local file."""
        self._archive = archive
        self._local = local
        self._delete = delete

    async def __call__(self, task: Task) -> Result:
        """Remove what is proven.

        Raises PermanentError when the proof is not there or does not hold.
        """
        _wait_for_the_original(task)
        receipt = proof_of(task)
        if task.original is not None:
            await self._look_again(receipt)
        if not self._delete:
            return Result(changes={}, detail="kept: action is keep")
        if (task.file.size_bytes or 0) <= _SMALL:
            return self._remove(task.file, task.feed, receipt)
        return await asyncio.to_thread(self._remove, task.file, task.feed, receipt)

    async def _look_again(self, receipt: Receipt) -> None:
        """A duplicate leans on a copy that was shipped long ago."""
        found = await self._archive.checksum(receipt.archive_name)
        if found is None or found.sha256 != receipt.remote_sha256:
            state = "is not there any more" if found is None else "has changed"
            raise PermanentError(
                f"a duplicate of {receipt.file_id}, whose archive copy"
                f" {escaped(receipt.archive_name)} {state}",
                hint=f"requeue {receipt.file_id} from ship while this copy is here, then this one",
            )

    def _remove(self, file: FileRecord, feed: Feed, receipt: Receipt) -> Result:
        if not self._local.exists(file, feed):
            _remove_companion(file)
            return Result(changes={"local": False}, detail="the local copy was gone already")
        try:
            with self._local.open(file, feed) as opened:
                proven = _is_the_shipped(file, opened, receipt)
        except LocalGoneError:
            proven = False
        if not proven:
            return Result(
                changes={"local": False},
                detail="not deleted: another file stands in its place by now",
            )
        try:
            Path(file.path).unlink()
        except FileNotFoundError:
            pass  # someone was faster: it is gone, as it should be
        except OSError as error:
            raise _undeletable(file, error) from error
        _remove_companion(file)
        return Result(changes={"local": False}, detail="local copy deleted")


def _wait_for_the_original(task: Task) -> None:
    """A duplicate leans on the first file's proof. The ledger wakes it; the look is to be sure."""
    if task.original is not None and task.original.status is not Status.DONE:
        raise RewindError(
            Stage.CLEANUP,
            f"duplicate of {task.original.id}: waits until that one is done",
            awaits="original",
            next_attempt_at=time.time() + _LOOK_AGAIN,
        )


def proof_of(task: Task) -> Receipt:
    """Return the receipt that covers the file. Raises PermanentError where it does not."""
    holder = task.original or task.file
    receipt = task.receipt
    if receipt is None or holder.row_seen_at is None:
        raise PermanentError(
            "there is no proof that it is safe elsewhere: not deleted", hint="requeue it from ship"
        )
    for flaw in receipt.flaws(task.file.sha256):
        raise PermanentError(f"{flaw}: not deleted", hint="requeue it from ship")
    return receipt


def _is_the_shipped(file: FileRecord, opened: LocalFile, receipt: Receipt) -> bool:
    """Compare by identity; where that differs (a touch, a chmod), by content."""
    if opened.identity == file.identity:
        return True
    if opened.identity.size != file.identity.size:
        return False  # not read: a huge one would hold up all else that is under way here
    digest = hashlib.sha256()
    while chunk := os.read(opened.fd, _CHUNK):
        digest.update(chunk)
    return digest.hexdigest() == receipt.sha256 and opened.identity_now() == opened.identity


def _remove_companion(file: FileRecord) -> None:
    """The companion goes with its file, if it is still the one that was read."""
    if file.companion_path is None or file.companion_text is None:
        return
    with suppress(OSError):
        fd = os.open(file.companion_path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
        try:
            text = companions.decode(os.read(fd, companions.MAX_BYTES))
        finally:
            os.close(fd)
        if text == file.companion_text:
            Path(file.companion_path).unlink()


def _undeletable(file: FileRecord, error: OSError) -> TransientError:
    return TransientError(
        f"cannot delete {escaped(file.path)}: {os.strerror(error.errno or 0)}",
        hint=f"give user {os.geteuid()} the right to write its directory",
    )
