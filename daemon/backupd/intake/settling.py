"""Looks at the files that wait in settle, and moves them as readiness decides."""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass, field, replace
from itertools import compress
from typing import TYPE_CHECKING, Any, Protocol

import structlog

from backupd.core import moves
from backupd.core.names import escaped
from backupd.core.records import Move
from backupd.core.stages import Stage, Status
from backupd.intake.looking import look_at
from backupd.intake.readiness import NotYet, Ready, Refused, Rules, Verdict, decide, first_wait

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from backupd.core.records import Feed, FileRecord, Sighting
    from backupd.intake.health import FeedHealth
    from backupd.intake.ports import IntakeLedger

log = structlog.get_logger()

AT_ONCE = 1_000  # files a pass: bounds memory, and how long a companion's arrival has to wait

_NO_FEED_PAUSE = 60.0  # seconds; a reload of the config wakes nothing by itself

_VANISHED = Refused(
    reason="vanished before it was shipped", hint="deliver it again: it will be a new file"
)


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
    """The settle stage. One pass at a time."""

    ledger: IntakeLedger
    health: FeedHealth
    settings: Settings
    _turn: asyncio.Lock = field(default_factory=asyncio.Lock)

    def first_sight(self, sighting: Sighting) -> Sighting:
        """Say when a new file is to be looked at: not before it can be complete."""
        wait = first_wait(sighting.identity, self.settings.rules(sighting.feed), sighting.seen_at)
        if wait is None:
            return sighting
        return replace(sighting, reason=wait.reason, look_at=wait.look_again_at)

    async def run_pass(self) -> int:
        """Look at the files that are due, some of them at a time; return how many were."""
        async with self._turn:
            now = time.time()
            due = await self.ledger.due_settle(now, AT_ONCE)
            decided = await asyncio.to_thread(self._judge_all, due, now)
            applied = await self.ledger.move(decided)
        for move in compress(decided, applied):
            _tell(move)
        return len(due)

    async def companions_came(self, paths: Sequence[str]) -> None:
        """Have the files looked at that expect these companions.

        Never in the middle of a pass: it may have looked before the companion came, and would put
        the next look off afterwards.
        """
        async with self._turn:
            await self.ledger.wake_companions(paths, time.time())

    def _judge_all(self, due: Sequence[FileRecord], now: float) -> list[Move]:
        return [self._move(record, self._judge(record, now), now) for record in due]

    def _judge(self, record: FileRecord, now: float) -> Verdict:
        feed = self.settings.feed(record.feed)
        if feed is None:
            return _put_off(
                record, f"the config has no feed {record.feed} any more", now + _NO_FEED_PAUSE
            )
        rules = self.settings.rules(feed)
        if reason := self.health.away.get(feed.name):
            return _put_off(record, reason, now + rules.look_every)
        return self._judge_by_look(record, feed, rules, now)

    def _judge_by_look(self, record: FileRecord, feed: Feed, rules: Rules, now: float) -> Verdict:
        try:
            look = look_at(record.path, record.companion_path)
            if look is None and (reason := self.health.why_away(feed)):
                return _put_off(record, reason, now + rules.look_every)
            # Once more: the feed may have come back between the first look and the question.
            look = look or look_at(record.path, record.companion_path)
        except OSError as error:
            reason = f"cannot be looked at: {error.strerror}"
            return _put_off(record, reason, now + rules.look_every)
        return _VANISHED if look is None else decide(record, look, rules, now)

    def _move(self, record: FileRecord, verdict: Verdict, now: float) -> Move:
        if isinstance(verdict, Refused):
            reason = f"{verdict.reason} ({verdict.hint})"
            return moves.parked(record, reason, now, local=verdict is not _VANISHED)
        if isinstance(verdict, NotYet):
            return _waiting(record, verdict, now)
        return _ready(record, verdict, now)


def _tell(move: Move) -> None:
    """Tell of a file that settles no more, and for how long it did."""
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
    """Stay in settle; the history tells of it when the reason is a new one."""
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
