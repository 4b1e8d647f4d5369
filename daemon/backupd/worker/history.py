"""Done files leave the ledger for the history, beside all other work, which they never hold up."""

from __future__ import annotations

import time
from dataclasses import replace
from enum import StrEnum
from typing import TYPE_CHECKING

import structlog

from backupd.core.errors import BackupdError, DependencyDownError, LedgerError, TransientError
from backupd.core.history import Past, done_date
from backupd.core.host import host_fault
from backupd.core.incidents import HISTORY_CAUSE, Incident, Kind
from backupd.core.moves import explained
from backupd.core.pace import repeat
from backupd.core.records import first_id, new_id
from backupd.ledger import history as ledger_history
from backupd.ledger import remembered
from backupd.ledger.history import START, HistoryBatch, digest_of
from backupd.ledger.rows import in_chunks

if TYPE_CHECKING:
    from collections.abc import Sequence

    from backupd.config.sections import LedgerSection
    from backupd.core.history import History, Story
    from backupd.ledger.history import Leaving
    from backupd.worker.context import WorkerContext

log = structlog.get_logger()

_LOOK_EVERY = 1.0  # seconds
_SHARE = 4  # of the time, it takes one part in so many at most
_LOOKED_AT = 5_000  # done files in one look, where the last one found some that may leave
_GLANCED_AT = 500  # where it did not: those that stay are many, and others wait for the ledger
_BATCH = 1_000  # stories in one batch, a file of the history: some 20 MiB in memory
_AT_ONCE = 200  # files in one question to the ledger, or one transaction
_DAY = 86_400.0
_NEXT_PASS = 60.0  # seconds from one pass through the done files to the next, or sooner
_NEXT_IN_VAIN = 3600.0  # seconds from one that found none to the next, or a new day
_FIRST_PAUSE, _LONGEST_PAUSE = 5.0, 600.0  # seconds after a failure, doubled each time
_DOWN_FOR = 3600.0  # seconds: the warehouse has an incident of its own
_TURN = 2_000  # remembered files that are looked at, whether they are to be forgotten
_TURN_EVERY = 5.0  # seconds


class Use(StrEnum):
    """What the history is used for. Either may fail while the other does not."""

    WRITE = "write"
    READ = "read"


class HistoryHealth:
    """The incident of a history that cannot be written, or not be read, whoever tried it."""

    def __init__(self, context: WorkerContext) -> None:
        self._context = context
        self._since: dict[Use, float] = {}  # time.monotonic
        self._told: set[Use] = set()
        self._may_be_left = True  # by an earlier process

    async def failed(self, use: Use, error: Exception) -> None:
        """Note that it cannot be used so."""
        if not isinstance(error, BackupdError) and host_fault(error) is None:
            log.exception("unexpected error")
        error, now = host_fault(error) or error, self._context.now()
        since = self._since.setdefault(use, time.monotonic())
        log.info("the history cannot be used", use=use, reason=explained(error))
        lasts = time.monotonic() - since
        if isinstance(error, DependencyDownError) and lasts < _DOWN_FOR:
            return
        self._told.add(use)
        incident = Incident(
            id=new_id(now),
            kind=Kind.HISTORY,
            cause=HISTORY_CAUSE,
            feed="",
            trouble="",
            reason=explained(error),
            opened_at=now,
        )
        await self._context.ledger.note_incidents([incident])

    async def succeeded(self, use: Use) -> None:
        """Note that it was used so; another use may fail all the same."""
        self._since.pop(use, None)
        was_told = use in self._told or self._may_be_left
        self._told.discard(use)
        self._may_be_left = False
        if was_told and not self._told:
            await self._context.ledger.close_incidents([HISTORY_CAUSE], self._context.now())


class HistoryLane:
    """Moves done files older than `keep` into the history, those of a date together.

    Which ones is written down before they are written there; they are read back and compared; then
    they are removed here, if they are still the same.
    """

    def __init__(
        self,
        context: WorkerContext,
        history: History,
        health: HistoryHealth,
        host: str,
        section: LedgerSection,
    ) -> None:
        """`host` is written with each story; the section has `keep` and `remember`."""
        self._context = context
        self._ledger = context.ledger
        self._history = history
        self._health = health
        self._host = host
        self._keep = section.keep
        self._remember = section.remember
        self._behind = START
        self._not_before = 0.0  # time.monotonic
        self._pause = 0.0
        self._forgot_to = remembered.any_key()
        self._forgets_at = 0.0  # time.monotonic
        self._is_through = False
        self._finds = True  # the last look did
        self._is_in_vain = True  # no look of this pass has found any
        self._passed_before = 0.0

    @property
    def is_at_work(self) -> bool:
        """Whether there may be files to move; not while that fails."""
        return not self._is_through and not self._pause

    async def run(self) -> None:
        """Work until the stop."""
        await self._ledger.past.writes_as(self._host)
        await repeat(self._look, _LOOK_EVERY, self._context.stop, share=_SHARE)

    async def run_through(self) -> None:
        """Work without a pause until nothing is to be moved, that fails, or the stop."""
        while self.is_at_work and not self._context.stop.is_set():
            await self._look()

    async def _look(self) -> None:
        await self._forget_some()
        if self._is_new_day():
            self._not_before = 0.0
        if time.monotonic() < self._not_before:
            return
        try:
            await self._step()
        except LedgerError:
            raise
        except Exception as error:  # noqa: BLE001 -- whatever it is, it is told and tried again
            self._pause = min(2 * self._pause or _FIRST_PAUSE, _LONGEST_PAUSE)
            self._not_before = time.monotonic() + self._pause
            await self._health.failed(Use.WRITE, error)
        else:
            self._pause = 0.0

    async def _step(self) -> None:
        """Finish the batch that was begun, or move the next files."""
        batch = await self._ledger.ask(ledger_history.open_batch)
        if batch is not None:
            await self._move(batch)
            return
        limit = _LOOKED_AT if self._finds else _GLANCED_AT
        found = await self._ledger.ask(
            ledger_history.leaving, self._behind, self._before(), limit, self._context.now()
        )
        self._finds = bool(found.new or found.known)
        self._is_in_vain &= not self._finds
        await self._take(found)

    async def _take(self, found: Leaving) -> None:
        for some in in_chunks(found.known, _AT_ONCE):
            await self._remove_known(some)
        for ids in in_chunks(found.new, _BATCH):
            now = self._context.now()
            batch = HistoryBatch(id=new_id(now), done_date=found.done_date, members=tuple(ids))
            await self._ledger.past.begin(batch)
            await self._move(batch)
            if self._context.stop.is_set():
                return
        self._is_through = found.reached is None
        self._behind = found.reached or START
        if self._is_through:
            self._end_pass()

    def _end_pass(self) -> None:
        whole_days = self._keep >= _DAY
        pause = _NEXT_IN_VAIN if self._is_in_vain and whole_days else min(_NEXT_PASS, self._keep)
        self._not_before = time.monotonic() + pause
        self._passed_before = self._before()
        self._finds = self._is_in_vain = True

    def _is_new_day(self) -> bool:
        """Return whether more files are old enough than in the last pass, which went well."""
        waits = self._is_through and not self._pause and self._keep >= _DAY
        return waits and self._before() != self._passed_before

    def _before(self) -> float:
        """Return before which time files must be done: whole days, so that each has few files."""
        before = self._context.now() - self._keep
        return before // _DAY * _DAY if self._keep >= _DAY else before

    async def _move(self, batch: HistoryBatch) -> None:
        began = time.monotonic()
        here = await self._stories(batch.members)
        seen = await self._history.seen(batch.id, batch.done_date)
        if not seen:
            of_date = [story for story in here if story.done_date == batch.done_date]
            here = await self._not_there_yet(of_date)
            batch = await self._narrowed(batch, here)
            if here:
                await self._history.write(batch.id, batch.done_date, here)
                seen = await self._history.seen(batch.id, batch.done_date)
        _demand_all(batch, seen)
        await self._health.succeeded(Use.WRITE)
        removed = await self._remove(here, seen)
        await self._ledger.past.end(batch)
        log.info(
            "done files moved to the history",
            done_date=batch.done_date,
            files=removed,
            duration_s=round(time.monotonic() - began, 3),
        )

    async def _narrowed(self, batch: HistoryBatch, here: Sequence[Story]) -> HistoryBatch:
        """Leave out of a batch what is not going to be written under it."""
        members = tuple(story.file.id for story in here)
        if len(members) == len(batch.members):
            return batch
        narrowed = replace(batch, members=members)
        await self._ledger.past.begin(narrowed)
        return narrowed

    async def _stories(self, ids: Sequence[str]) -> list[Story]:
        found: list[Story] = []
        for some in in_chunks(ids, _AT_ONCE):
            found += await self._ledger.ask(ledger_history.stories_of, self._host, some)
        return found

    async def _not_there_yet(self, here: list[Story]) -> list[Story]:
        """Remove those that left before, since a snapshot of this ledger was taken.

        Only files that were seen before it was put in place can have: an id begins with when.
        """
        restored = first_id(await self._ledger.ask(ledger_history.last_restore))
        ids = [story.file.id for story in here if story.file.id < restored]
        if not ids:
            return here
        # Under any day: they may have been done, or done again, only after the snapshot was taken.
        there = [story async for story in self._history.find(Past(names=ids))]
        await self._remove(here, there)
        known = {story.file.id for story in there}
        return [story for story in here if story.file.id not in known]

    async def _remove(self, here: Sequence[Story], seen: Sequence[Story]) -> int:
        """Remove what was seen as it is here. What is another story by now stays for good."""
        there = {digest_of(story) for story in seen}
        same = [story for story in here if digest_of(story) in there]
        others = {story.file.id for story in seen} - {story.file.id for story in same}
        if went_on := await self._ledger.past.keep_for_good(sorted(others)):
            log.warning("stories in the history are of an earlier state", files=went_on)
        removed = 0
        for some in in_chunks(same, _AT_ONCE):
            removed += await self._ledger.past.remove(some)
        return removed

    async def _remove_known(self, ids: Sequence[str]) -> None:
        """Remove files that came back, if their stories are what they were."""
        digests = await self._ledger.ask(ledger_history.digests, ids)
        here = await self._stories(ids)
        same = [s for s in here if digests.get(s.file.id) == digest_of(s)]
        await self._ledger.past.remove(same)
        changed = {story.file.id for story in here} - {story.file.id for story in same}
        await self._ledger.past.keep_for_good(sorted(changed))

    async def _forget_some(self) -> None:
        """Look at some of the remembered files in turn: a pass through all may take a day."""
        if time.monotonic() < self._forgets_at:
            return
        self._forgets_at = time.monotonic() + _TURN_EVERY
        before = done_date(max(self._context.now() - self._remember, 0.0))
        expired, self._forgot_to = await self._ledger.ask(
            remembered.expired, self._forgot_to, _TURN, before
        )
        await self._ledger.past.forget(expired)


def _demand_all(batch: HistoryBatch, seen: Sequence[Story]) -> None:
    """Raise TransientError where a reader does not see all that was written."""
    missing = set(batch.members) - {story.file.id for story in seen}
    if missing:
        raise TransientError(
            f"{len(missing)} of {len(batch.members)} stories that were written to the history,"
            f" under {batch.done_date}, are not seen there",
            hint="see whether backupd may read all rows of the history, and whether what it asks"
            " knows of all its files",
        )
