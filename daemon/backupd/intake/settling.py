"""Looks at the files that wait in settle, and moves them as readiness decides."""

from __future__ import annotations

import asyncio
import stat
import time
from collections import defaultdict
from contextlib import suppress
from dataclasses import dataclass, field, replace
from functools import partial
from itertools import compress
from typing import TYPE_CHECKING, Any, Protocol

import structlog

from backupd.core import moves
from backupd.core.calls import DoesNotAnswerError
from backupd.core.host import host_fault
from backupd.core.names import escaped
from backupd.core.records import NO_ROOT, Identity, Move
from backupd.core.stages import Stage, Status
from backupd.core.threads import in_steps
from backupd.core.times import StepFinder
from backupd.intake.oddities import kind
from backupd.intake.readiness import (
    CompanionLook,
    Look,
    NotYet,
    Ready,
    Refused,
    Rules,
    Verdict,
    decide,
    first_wait,
    still_written,
)
from backupd.localfs.files import NotRegularError, is_open_for_writing, read_companion
from backupd.localfs.roots import OpenRoots, unavailable

if TYPE_CHECKING:
    import os
    from collections.abc import Iterator, Mapping, Sequence

    from backupd.core.records import Feed, FileRecord, Sighting
    from backupd.core.threads import DirectoryThreads
    from backupd.intake.health import FeedHealth
    from backupd.intake.ports import IntakeLedger
    from backupd.localfs.directory import Directory

log = structlog.get_logger()

AT_ONCE = 1_000  # files a pass: bounds memory, and how long a companion's arrival has to wait

_UNANSWERED_PAUSE = 5.0  # seconds: until a directory that does not answer is looked at again
_SLOW = 1.0  # seconds: from then on, what else is due does not wait for a directory
_NO_FEED_PAUSE = 60.0  # seconds; a reload of the config wakes nothing by itself

_VANISHED = Refused(reason=moves.VANISHED, hint="deliver it again: it will be a new file")


class Settings(Protocol):
    """What settling has to know of the feeds, as it is at this moment."""

    def feed(self, name: str) -> Feed | None:
        """Return a feed by name; None: the config has no such feed any more."""
        ...

    def rules(self, feed: Feed) -> Rules:
        """Return how the feed's files are to be judged."""
        ...


@dataclass(slots=True)
class Settling:
    """The settle stage. One pass at a time, in each directory."""

    ledger: IntakeLedger
    health: FeedHealth
    settings: Settings
    threads: DirectoryThreads
    _turns: dict[str, asyncio.Lock] = field(default_factory=lambda: defaultdict(asyncio.Lock))
    _passes: dict[asyncio.Task[None], str] = field(default_factory=dict)  # feeds being looked at
    _shortage: OSError | None = None  # what the host did not give
    _clock: StepFinder = field(default_factory=StepFinder)
    _steady_since: float = 0.0

    def first_sight(self, sighting: Sighting) -> Sighting:
        """Say when a new file is to be looked at: not before it can be complete."""
        wait = first_wait(sighting.identity, self._rules(sighting.feed), sighting.seen_at)
        if wait is None:
            return sighting
        return replace(sighting, reason=wait.reason, look_at=wait.look_again_at)

    async def run_pass(self) -> int:
        """Look at the files that are due, some of them at a time; return how many were.

        A feed whose directory is slow is left to itself, until it has been looked at. Raises
        OSError when the host gave too little to look at some of them: they are put off.
        """
        now = time.time()
        if self._clock.step():
            self._steady_since = now
        due = await self.ledger.due_settle(now, AT_ONCE, self.busy())
        by_feed: defaultdict[str, list[FileRecord]] = defaultdict(list)
        for record in due:
            by_feed[record.feed].append(record)
        begun = {asyncio.create_task(self._pass(*each, now)): each[0] for each in by_feed.items()}
        self._passes |= begun
        if begun:
            _, slow = await asyncio.wait(begun, timeout=_SLOW)
            for each in slow:
                each.add_done_callback(lambda _: self.ledger.wake_settle.set())
        self.busy()
        return len(due)

    def busy(self) -> list[str]:
        """Return the feeds that are being looked at. Raises what has ended a look."""
        for ended in [each for each in self._passes if each.done()]:
            del self._passes[ended]
            ended.result()
        return list(self._passes.values())

    def close(self) -> None:
        """Give up what is being looked at."""
        for each in self._passes:
            each.cancel()

    async def _pass(self, feed: str, due: Sequence[FileRecord], now: float) -> None:
        directory = self._directory(feed)
        async with self._turns[directory]:
            run = partial(self.threads.run, directory)
            try:
                decided = await in_steps(run, self._judge_all(due, now))
            except DoesNotAnswerError as error:
                decided = [self._unanswered(record, error, now) for record in due]
            applied = await self.ledger.move(decided)
        for move in compress(decided, applied):
            _log(move)
        self._raise_shortage()

    def _directory(self, feed: str) -> str:
        known = self.settings.feed(feed)
        return known.directory if known else ""

    async def companions_came(self, directory: str, paths: Sequence[str]) -> None:
        """Have the files looked at that expect these companions, in a feed's directory.

        Never in the middle of a pass: it may have looked before the companion came, and would put
        the next look off afterwards.
        """
        async with self._turns[directory]:
            await self.ledger.wake_companions(paths, time.time())

    def _raise_shortage(self) -> None:
        shortage, self._shortage = self._shortage, None
        if shortage is not None:
            raise shortage

    def _unanswered(self, record: FileRecord, error: OSError, now: float) -> Move:
        reason = unavailable(self._directory(record.feed), error)
        return _waiting(record, _put_off(record, reason, now + _UNANSWERED_PAUSE), now)

    def _judge_all(self, due: Sequence[FileRecord], now: float) -> Iterator[Move]:
        with OpenRoots() as roots:
            for record in due:
                yield self._move(record, self._judge(record, roots, now), now)

    def _judge(self, record: FileRecord, roots: OpenRoots, now: float) -> Verdict:
        feed = self.settings.feed(record.feed)
        if feed is None:
            return _put_off(
                record, f"the config has no feed {record.feed} any more", now + _NO_FEED_PAUSE
            )
        rules = self._rules(feed)
        try:
            root = roots.at(self.health.roots.get(feed.name, NO_ROOT))
        except OSError as error:
            self._note(error)
            away = self.health.away.get(feed.name) or unavailable(feed.directory, error)
            return _put_off(record, away, now + rules.look_every)
        try:
            return _judged(record, root, rules, now)
        except OSError as error:
            self._note(error)
            reason = f"cannot be looked at: {error.strerror}"
            return _put_off(record, reason, now + rules.look_every)

    def _note(self, error: OSError) -> None:
        if host_fault(error):
            self._shortage = error

    def _rules(self, feed: Feed) -> Rules:
        return replace(self.settings.rules(feed), steady_since=self._steady_since)

    def _move(self, record: FileRecord, verdict: Verdict, now: float) -> Move:
        if isinstance(verdict, Refused):
            reason = f"{verdict.reason} ({verdict.hint})"
            return moves.parked(record, reason, now, local=verdict is not _VANISHED)
        if isinstance(verdict, NotYet):
            return _waiting(record, verdict, now)
        return _ready(record, verdict, now)


def _judged(record: FileRecord, root: Directory, rules: Rules, now: float) -> Verdict:
    look = look_at(root, record)
    if look is None:
        return _VANISHED
    verdict = decide(record, look, rules, now)
    if isinstance(verdict, Ready) and rules.ask_writers and _is_written(root, record):
        return still_written(record, verdict, rules, now)
    return verdict


def _is_written(root: Directory, record: FileRecord) -> bool:
    """Return whether some process writes to it. The manifest stage reports a file it may not read.

    Raises OSError when the file cannot be opened just now.
    """
    with suppress(PermissionError):
        return is_open_for_writing(root, record.relative_path)
    return False


def _log(move: Move) -> None:
    """Log a file that no longer settles, and how long it did."""
    if move.stage is Stage.SETTLE and move.status is Status.WAITING:
        return
    parked = move.status is Status.PARKED
    tell = log.warning if parked else log.info
    tell(
        "file parked" if parked else "settle finished",
        file=escaped(move.file.path),
        file_id=move.file.id,
        feed=move.file.feed,
        stage=str(Stage.SETTLE),
        detail=move.detail,
        duration_s=round(move.at - move.file.stage_since, 3),
    )


def _put_off(record: FileRecord, reason: str, until: float) -> NotYet:
    """Nothing could be seen of the file: what was known of it stays.

    What was compared is forgotten, for its reason is: it will be compared anew.
    """
    return NotYet(
        reason=reason,
        look_again_at=until,
        identity=record.identity,
        unchanged_since=record.unchanged_since,
    )


def _waiting(record: FileRecord, verdict: NotYet, now: float) -> Move:
    """Keep the file in settle; add an event to its history when the reason is new."""
    changes = {
        "reason": verdict.reason,
        "next_attempt_at": verdict.look_again_at,
        "identity": verdict.identity,
        "unchanged_since": verdict.unchanged_since,
        "disagreement": verdict.disagreement,
        "awaits": verdict.awaits,
    }
    detail = "" if verdict.reason == record.reason else verdict.reason
    return _to(record, Stage.SETTLE, changes, now, detail)


def _ready(record: FileRecord, verdict: Ready, now: float) -> Move:
    changes = moves.FRESH | {
        "identity": verdict.identity,
        "unchanged_since": verdict.unchanged_since,
        "disagreement": None,
        "next_attempt_at": now,
        "stage_since": now,
    }
    return _to(record, Stage.MANIFEST, changes, now, "complete")


def _to(
    record: FileRecord, stage: Stage, changes: Mapping[str, Any], now: float, detail: str
) -> Move:
    return Move(
        file=record, stage=stage, status=Status.WAITING, changes=changes, at=now, detail=detail
    )


def look_at(root: Directory, file: FileRecord) -> Look | None:
    """Return what is there now; None: no file. Raises OSError when that cannot be known.

    The data file is not opened. The companion is looked at last: one that is written after the
    data file can then not be older than what is known of the data.
    """
    found = root.find(file.relative_path)
    if found is None:
        return None
    problem = "" if stat.S_ISREG(found.st_mode) else f"it is {kind(found.st_mode)} now"
    companion = file.relative_companion
    return Look(
        identity=Identity.of(found),
        companion=_companion_at(root, companion) if companion else None,
        problem=problem,
    )


def _companion_at(root: Directory, name: str) -> CompanionLook | None:
    found = root.find(name)
    if found is None:
        return None
    try:
        identity, text = read_companion(root, name)
    except FileNotFoundError:
        return None
    except OSError as error:
        if host_fault(error):
            raise
        return _unread(error, found)
    return CompanionLook(identity=identity, text=text)


def _unread(error: OSError, found: os.stat_result) -> CompanionLook:
    is_regular = stat.S_ISREG(found.st_mode) and not isinstance(error, NotRegularError)
    return CompanionLook(
        identity=Identity.of(found),
        text="",
        problem=f"cannot be read: {error.strerror}" if is_regular else f"is {kind(found.st_mode)}",
        may_pass=is_regular and not isinstance(error, PermissionError),
    )
