"""ship: the file goes into the archive, whole, under a name of its own, and is verified there."""

from __future__ import annotations

import asyncio
import hashlib
import time
import zlib
from contextlib import aclosing, suppress
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING

from backupd.core.archive_names import GZIP_WINDOW, archive_name, is_gzip_name, too_long, versioned
from backupd.core.dependencies import Dependency
from backupd.core.errors import (
    DependencyDownError,
    LocalGoneError,
    NameTakenError,
    TransientError,
)
from backupd.core.names import escaped
from backupd.core.ports import NOT_A_FILE, Checksum, Published
from backupd.core.records import Receipt, Result, VerifiedBy
from backupd.core.shares import Shares
from backupd.core.stages import Awaits
from backupd.stages.local import refuse_other_content
from backupd.stages.sending import send, verified

if TYPE_CHECKING:
    from backupd.core.ports import (
        Archive,
        Checksum,
        OpenStream,
        Stream,
        Totals,
        Upload,
    )
    from backupd.core.records import Feed, FileRecord, Task
    from backupd.localfs.files import OpenFile
    from backupd.stages.local import FeedThreads

_WRONG_BYTES = "look at its disk, move the wrong file away, then requeue from ship"


@dataclass(frozen=True, kw_only=True, slots=True)
class ShipRules:
    """How to ship: as gzip or as it is; seconds that the local copy stays afterwards.

    `at_once` files are sent side by side, however many wait for their verification.
    """

    compress: bool
    keep_for: float = 0.0
    at_once: int = 32


class Ship:
    """Sends one file, or finds that it is there already."""

    def __init__(
        self, archive: Archive, open_stream: OpenStream, threads: FeedThreads, rules: ShipRules
    ) -> None:
        self._archive = archive
        self._threads = threads
        self._open_stream = open_stream
        self._compress = rules.compress
        self._keep_for = rules.keep_for
        self._sending = Shares(rules.at_once)

    async def __call__(self, task: Task) -> Result:
        """Ship the file.

        Raises LocalGoneError when the registered content is not there any more, NameTakenError
        when both of its names hold other content, and what the archive raises.
        """
        if task.receipt is not None and await self._still_there(task, task.receipt):
            detail = f"still in the archive: {task.receipt.archive_name}"
            return Result(changes=self._what_follows(task), detail=detail)
        names = self._names(task.file, task.feed)
        if not task.is_first:
            for name in names:  # an earlier run may have ended at any of them
                await self._archive.discard_parts(name, _earlier_parts(task))
        try:
            async with self._threads.opened(task) as opened:
                return await self._ship(task, opened, names)
        except LocalGoneError:
            if (shipped := await self._shipped_before(task, names)) is None:
                raise
            return shipped

    async def _shipped_before(self, task: Task, names: list[str]) -> Result | None:
        """Find the copy of a file that is gone: a ledger that was restored may not know of it."""
        for name in names:
            found = await self._archive.checksum(name)
            if found is not None and await self._holds(task.file, name, found):
                await self._archive.flush(name)
                receipt = await self._receipt_of_found(task.file, name, found)
                changes = {"archive_name": name} | self._what_follows(task)
                detail = f"its local copy is gone, and it is in the archive already as {name}"
                return Result(changes=changes, detail=detail, receipt=receipt)
        return None

    async def _holds(self, file: FileRecord, name: str, found: Checksum) -> bool:
        if self._compresses(file):
            return await self._same_text(file, name, found)
        return found.sha256 == file.sha256

    async def _receipt_of_found(self, file: FileRecord, name: str, found: Checksum) -> Receipt:
        sent_bytes = await self._archive.size(name) or 0
        found = replace(found, how=VerifiedBy.SAME_CONTENT)
        totals = _Found(file.sha256 or "", sent_bytes, found.sha256)
        return _receipt(file, name, totals, found, Published(flushed=False, named_by=""))

    def _names(self, file: FileRecord, feed: Feed) -> list[str]:
        """Return the file's name, and the one for other content under a name that is taken."""
        name = file.archive_name or archive_name(feed, file.relative_path, compress=self._compress)
        other = versioned(name, file.sha256 or "")
        return [name] if too_long(other) else [name, other]

    def _what_follows(self, task: Task) -> dict[str, object]:
        """Put cleanup off for as long as the local copy is to stay; else its proof is fresh now."""
        if not self._keep_for:
            return {"proven_at": time.time()} if task.is_first else {}
        until = time.time() + self._keep_for
        reason = f"kept for {self._keep_for:g} s after shipping"
        return {"next_attempt_at": until, "awaits": Awaits.KEEP, "reason": reason}

    async def _still_there(self, task: Task, receipt: Receipt) -> bool:
        found = await self._archive.checksum(receipt.archive_name)
        if found is None or found.sha256 != receipt.remote_sha256:
            return False
        with suppress(LocalGoneError):
            async with self._threads.opened(task) as opened:
                return not await self._is_the_source(task, opened, receipt.archive_name)
        return True

    async def _ship(self, task: Task, opened: OpenFile, names: list[str]) -> Result:
        """Take the first of the names that is free, or holds this very file already."""
        for candidate in names:
            receipt = await self._send_or_find(task, opened, candidate)
            if receipt is not None:
                changes = {"archive_name": candidate, "identity": opened.identity}
                changes |= self._what_follows(task)
                detail = f"in the archive as {candidate}, {receipt.sent_bytes} bytes"
                detail += f", {receipt.evidence}"
                return Result(changes=changes, detail=detail, receipt=receipt)
        raise NameTakenError(
            f"the archive holds other content as {' and as '.join(names)}",
            hint="look at both, move the wrong one away, then requeue from ship",
        )

    async def _send_or_find(self, task: Task, opened: OpenFile, name: str) -> Receipt | None:
        """Return the receipt for this name; None when it holds other content."""
        if not task.is_first and await self._archive.size(name) is not None:
            return await self._find(task, opened, name)
        try:
            async with self._sending.place(task.feed.name):
                totals, published = await self._send(task, opened, name)
        except NameTakenError:
            await self._discard_part(task.file, name)
            return await self._find(task, opened, name)
        found, published = await verified(self._archive, name, totals, published, _WRONG_BYTES)
        return _receipt(task.file, name, totals, found, published)

    async def _send(self, task: Task, opened: OpenFile, name: str) -> tuple[Totals, Published]:
        stream = self._stream(task, opened)
        size = opened.identity.size
        async with self._archive.upload(name, _part(task.file), size) as upload:
            await self._refuse_own_directory(task, opened, name, upload)
            await send(stream, upload)
            refuse_other_content(task.file, stream.totals.sha256)
            published = await upload.publish()
        return stream.totals, published

    async def _find(self, task: Task, opened: OpenFile, name: str) -> Receipt | None:
        """The name exists: an earlier try got there, or it holds other content."""
        found = await self._archive.checksum(name)
        if found is None:
            raise TransientError(f"{name} was there and is gone again")
        file = task.file
        totals = await self._read(task, opened)
        same_bytes = found.sha256 == totals.sent_sha256
        if not same_bytes and not await self._same_text(file, name, found):
            return None
        if await self._is_the_source(task, opened, name):
            return None
        await self._archive.flush(name)  # the try that named it may not have come so far
        found = replace(found, how=VerifiedBy.SAME_CONTENT)
        receipt = _receipt(file, name, totals, found, Published(flushed=False, named_by=""))
        if same_bytes:
            return receipt
        return replace(receipt, sent_bytes=await self._archive.size(name) or 0)

    async def _read(self, task: Task, opened: OpenFile) -> Totals:
        """Make the sums of what would be sent."""
        stream = self._stream(task, opened)
        async with aclosing(stream.blocks()) as blocks:
            async for _ in blocks:
                pass
        refuse_other_content(task.file, stream.totals.sha256)
        return stream.totals

    async def _is_the_source(self, task: Task, opened: OpenFile, name: str) -> bool:
        """Return whether the archive's file is the local one by another name, so no copy of it.

        While a temporary file of ours stands beside the archive's, none may stand beside ours.
        """
        async with self._archive.upload(name, _part(task.file), 0) as upload:
            await self._refuse_own_directory(task, opened, name, upload)
        await self._discard_part(task.file, name)
        return await self._archive.is_same_file(name, opened.identity)

    async def _discard_part(self, file: FileRecord, name: str) -> None:
        """Leave nothing behind: an upload is silent about what it cannot remove."""
        await self._archive.discard_parts(name, [_part(file)])

    def _stream(self, task: Task, opened: OpenFile) -> Stream:
        run = self._threads.by_size(opened.identity.size)
        compress = self._compresses(task.file)
        return self._open_stream(opened.fd, partial(run, task.feed), compress=compress)

    async def _refuse_own_directory(
        self, task: Task, opened: OpenFile, name: str, upload: Upload
    ) -> None:
        """While our temporary file stands beside the archive's, none may stand by the source."""
        look = partial(opened.directory.find, upload.part_name)
        if await self._threads.run_small(task.feed, look) is not None:
            directory = escaped(task.file.path.rpartition("/")[0])
            raise DependencyDownError(
                Dependency.ARCHIVE,
                f"the archive directory of {name} is the feed's own directory, {directory}:"
                " the file itself would be taken for its copy",
                hint="have it shipped elsewhere: change archive.url or the feed's"
                " archive_directory",
            )

    async def _same_text(self, file: FileRecord, name: str, found: Checksum) -> bool:
        """Return whether it is the same file, compressed by other hands: compare what is inside."""
        if not self._compresses(file) or found == NOT_A_FILE:
            return False
        inside = _Inside()
        async with aclosing(self._archive.contents(name)) as blocks:
            async for block in blocks:
                if not await asyncio.to_thread(inside.update, block):
                    return False
        return inside.sha256() == file.sha256 and inside.sha256_of_gzip() == found.sha256

    def _compresses(self, file: FileRecord) -> bool:
        return self._compress and not is_gzip_name(file.file_name)


def _receipt(
    file: FileRecord, name: str, totals: Totals, found: Checksum, published: Published
) -> Receipt:
    now = time.time()
    return Receipt(
        file_id=file.id,
        archive_name=name,
        sha256=totals.sha256,
        sent_sha256=totals.sent_sha256,
        remote_sha256=found.sha256,
        sent_bytes=totals.sent_bytes,
        verified_by=found.how,
        flushed=published.flushed,
        named_by=published.named_by,
        shipped_at=now,
        verified_at=now,
    )


@dataclass(frozen=True, slots=True)
class _Found:
    """The totals of a copy that was found: all that is known of it is what the archive holds."""

    sha256: str
    sent_bytes: int
    sent_sha256: str


class _Inside:
    """The SHA-256 of the text in a .gz, a bounded piece at a time."""

    _PIECE = 1 << 20

    def __init__(self) -> None:
        self._member = zlib.decompressobj(GZIP_WINDOW)
        self._hash = hashlib.sha256()
        self._gzip_hash = hashlib.sha256()

    def update(self, block: bytes) -> bool:
        """Add the next block; False when it is no gzip."""
        self._gzip_hash.update(block)
        try:
            while block:
                self._hash.update(self._member.decompress(block, self._PIECE))
                block = self._member.unconsumed_tail
        except zlib.error:
            return False
        return True

    def sha256_of_gzip(self) -> str:
        """Return the digest of all blocks, as they came."""
        return self._gzip_hash.hexdigest()

    def sha256(self) -> str | None:
        """Return the digest; None when the end is missing or more follows it."""
        if not self._member.eof or self._member.unused_data:
            return None
        return self._hash.hexdigest()


def _part(file: FileRecord) -> str:
    return f"{file.id}.{file.claims}"


def _earlier_parts(task: Task) -> list[str]:
    file = task.file
    return [f"{file.id}.{earlier}" for earlier in range(1, file.claims + task.is_repeat)]
