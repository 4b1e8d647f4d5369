"""manifest: one pass counts records and size, hashes, and checks the companion."""

from __future__ import annotations

import hashlib
import os
import re
import time
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from typing import TYPE_CHECKING, Any

from backupd.core import companions
from backupd.core.archive_names import archive_name, is_gzip_name, too_long
from backupd.core.errors import PermanentError, RewindError
from backupd.core.host import host_fault
from backupd.core.names import escaped
from backupd.core.records import Result
from backupd.core.rows import row_id
from backupd.core.stages import Stage
from backupd.core.threads import STEP
from backupd.core.times import has_date
from backupd.localfs.files import read_companion
from backupd.stages.counting import GzipLineCounter, LineCounter
from backupd.stages.local import open_local, refuse_other_content, unreadable

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from backupd.core.records import Feed, FileRecord, Identity, Task
    from backupd.core.shares import Shares
    from backupd.localfs.directory import Directory
    from backupd.localfs.files import OpenFile
    from backupd.stages.local import FeedThreads

_TICK = 0.02  # seconds: a kernel that runs at 100 Hz gives a file two ticks' time at most
_CHUNK = 256 * 1024  # bytes; fits the second-level cache, through which all the passes go
# Of a .gz: it may hold a thousand times as much text, or so many empty members that each costs more
# than its bytes.
_GZIP_CHUNK = 32 * 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class _Companion:
    identity: Identity
    text: str
    claim: companions.Claim


class Manifest:
    """Reads a file once, and says what its row and its shipment need to know."""

    def __init__(self, places: Shares, threads: FeedThreads, *, compress: bool) -> None:
        """`compress`: files are shipped as gzip. It is called by who holds one of the `places`."""
        self._places = places
        self._threads = threads
        self._compress = compress

    async def __call__(self, task: Task) -> Result:
        """Read the file.

        Raises RewindError to settle when it changed or disagrees with its companion,
        PermanentError when it can never be registered as it is.
        """
        steps = self._read(task)
        read_on: Callable[[], Result | None] = partial(next, steps)
        run = self._threads.by_size(task.file.identity.size)
        while (result := await run(task.feed, read_on, self._places.lent())) is None:
            await self._places.take_turns(task.feed.name)
        return result

    def _read(self, task: Task) -> Iterator[Result | None]:
        """Read in steps, each of which ends with None, the last one with what was found."""
        file, feed = task.file, task.feed
        name = archive_name(feed, file.relative_path, compress=self._compress)
        if too_long(name):
            raise PermanentError(
                f"its name in the archive would be longer than 255 bytes: {escaped(name)}",
                hint="have it delivered under a shorter name",
            )
        with open_local(task) as opened:
            _refuse_changed(opened.identity, file.identity)
            _let_a_tick_pass(opened.identity)
            companion = _companion_of(file, feed, opened.directory)
            sums = _Sums(file, feed)
            for step in sums.read(file, opened):
                _refuse_changed(opened.identity, opened.identity_now())  # or removed: read in vain
                yield step
        _refuse_changed(opened.identity, sums.identity_after)
        if companion is not None:
            _refuse_disagreement(sums, companion)
        sha256 = sums.sha256.hexdigest()
        if file.row_seen_at is not None:
            refuse_other_content(file, sha256)
        records = max(sums.lines() - feed.header_lines, 0)
        changes: dict[str, Any] = {
            "identity": opened.identity,
            "size_bytes": opened.identity.size,
            "record_count": records,
            "sha256": sha256,
            "row_id": row_id(file, sha256),
            "file_timestamp": file.file_timestamp
            if file.row_seen_at is not None
            else timestamp_of(file, feed, opened.identity),
            "companion_text": companion.text if companion else None,
            "archive_name": file.archive_name if file.row_seen_at else name,
        }
        yield Result(changes=changes, detail=f"{records} records, {opened.identity.size} bytes")


class _Sums:
    """All that one pass over the data shows."""

    def __init__(self, file: FileRecord, feed: Feed) -> None:
        self.sha256 = hashlib.sha256()
        is_gzip = is_gzip_name(file.file_name)
        self._lines = GzipLineCounter() if is_gzip else LineCounter()
        self._chunk = _GZIP_CHUNK if is_gzip else _CHUNK
        self._checker = companions.checker(feed.companion.algorithm) if feed.companion else None

    def read(self, file: FileRecord, opened: OpenFile) -> Iterator[None]:
        """Read the open file to its end, in steps."""
        step_ends = time.monotonic() + STEP
        try:
            while chunk := os.read(opened.fd, self._chunk):
                self._add(chunk)
                if time.monotonic() >= step_ends:
                    yield
                    step_ends = time.monotonic() + STEP
        except OSError as error:
            raise unreadable(file, error) from error
        self.identity_after = opened.identity_now()

    def _add(self, chunk: bytes) -> None:
        self.sha256.update(chunk)
        self._lines.update(chunk)
        if self._checker is not None:
            self._checker.update(chunk)

    def lines(self) -> int:
        """Return the number of lines; PermanentError for a .gz that is cut short."""
        return self._lines.lines()

    def claim(self) -> companions.Claim | None:
        """Return what a companion has to say."""
        return self._checker.claim() if self._checker else None


def timestamp_of(file: FileRecord, feed: Feed, identity: Identity) -> float:
    """Return the file's time, seconds since the epoch, UTC: from its name, else its mtime.

    Raises PermanentError when it is not there, or lies outside the years 1 to 9999.
    """
    if feed.timestamp_regex is None:
        return _changed_at(identity)
    match = re.search(feed.timestamp_regex, file.file_name)
    if match is None or match[1] is None:
        raise PermanentError(
            f"no timestamp in its name: {feed.timestamp_regex!r} is not found in it",
            hint=f"correct timestamp_regex of feeds.{feed.file_type}, or the file's name",
        )
    with suppress(ValueError, OverflowError):
        at = datetime.strptime(match[1], feed.timestamp_format)  # noqa: DTZ007 - UTC is set below
        seconds = at.replace(tzinfo=at.tzinfo or UTC).timestamp()
        if has_date(seconds):  # a zone may move it out of all years
            return seconds
    raise PermanentError(
        f"the timestamp in its name, {match[1]!r}, is not a valid date of the form"
        f" {feed.timestamp_format}",
        hint=f"correct timestamp_format of feeds.{feed.file_type}, or the file's name",
    )


def _changed_at(identity: Identity) -> float:
    seconds = identity.mtime_ns / 1e9
    if not has_date(seconds):
        raise PermanentError(
            f"the time of its last change, {seconds:.0f} s from 1970, is in no year from 1 to 9999",
            hint="set its time right, as with touch, then requeue it",
        )
    return seconds


def _refuse_changed(before: Identity, after: Identity) -> None:
    if before != after:
        raise RewindError(
            Stage.SETTLE, "it changed while it was read: waits until it stays as it is"
        )


def _let_a_tick_pass(identity: Identity) -> None:
    """Of two changes within one tick of the kernel's clock, the second moves no time."""
    age = time.time() - max(identity.mtime_ns, identity.ctime_ns) / 1e9
    if 0 <= age < _TICK:
        time.sleep(_TICK - age)


def _companion_of(file: FileRecord, feed: Feed, directory: Directory) -> _Companion | None:
    """Read the companion, where there is one. Settle reports one that cannot be read at all."""
    if feed.companion is None or file.companion_path is None:
        return None
    try:
        identity, text = read_companion(directory, file.companion_path.rpartition("/")[2])
    except OSError as error:
        if host_fault(error):
            raise
        if feed.companion.required:
            raise RewindError(Stage.SETTLE, "its companion went away: waits for it") from None
        return None
    claim = companions.parse(text, feed.companion.algorithm)
    if claim is None:
        raise RewindError(Stage.SETTLE, "its companion changed: looks at both again")
    return _Companion(identity=identity, text=text, claim=claim)


def _refuse_disagreement(sums: _Sums, companion: _Companion) -> None:
    claim = sums.claim()
    if claim is None or claim.agrees(companion.claim):
        return
    raise RewindError(
        Stage.SETTLE,
        f"its companion says {companion.claim}, the file has {claim}",
        disagreement=companions.disagreement_key(
            sums.identity_after, companion.identity, companion.text
        ),
    )
