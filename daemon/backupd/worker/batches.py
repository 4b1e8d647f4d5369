"""Load and merge: batches are formed, and each goes through both, one at a time."""

from __future__ import annotations

import asyncio
import logging
import time
from contextlib import suppress
from dataclasses import replace
from typing import TYPE_CHECKING

import structlog

from backupd.core import moves
from backupd.core.dependencies import Dependency
from backupd.core.errors import BackupdError, DependencyDownError, LedgerError
from backupd.core.host import host_fault
from backupd.core.rows import RowCount, TouchedTable
from backupd.core.stages import Stage, Status
from backupd.ledger import batches
from backupd.stages import key_of, load, merge, rows_to_make
from backupd.worker.context import AT_ONCE

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

    from backupd.config.sections import BatchSection
    from backupd.core.ports import Warehouse
    from backupd.core.records import Batch, BatchMove, FileRecord
    from backupd.core.rows import RowKey
    from backupd.worker.context import WorkerContext

log = structlog.get_logger()

LATE = 600.0  # seconds; what was cancelled and goes on all the same has ended by then
_AHEAD = 2  # batches that wait for their load or are at it
_CLAIMS = 2  # of a batch that went through: its load and its merge


class BatchFormer:
    """Makes batches: of `max_files`, or smaller ones when waiting for more makes no sense.

    Never many ahead: what comes in meanwhile, of whatever feed, is in the next one.
    """

    def __init__(
        self,
        context: WorkerContext,
        section: BatchSection,
        nothing_can_join: Callable[[], Awaitable[bool]],
    ) -> None:
        self._context = context
        self.section = section
        self._nothing_can_join = nothing_can_join
        self._wake = context.ledger.wakes(Stage.LOAD)

    async def run(self) -> None:
        """Form batches until the stop."""
        await self._context.keep_looking(self._wake, self._form)

    async def _form(self) -> float | None:
        """Form what is due; return when to look again."""
        while (ripe_at := await self._ripe_at()) is not None:
            if ripe_at > self._context.now():
                return ripe_at
            max_files, feeds = self.section.max_files, self._context.feeds
            await self._context.ledger.form_batch(max_files, self._context.now(), feeds)
        return None

    async def _ripe_at(self) -> float | None:
        """Return when the next batch is to be formed; None where none can be, for now."""
        waiting, oldest = await self._context.ledger.ask(
            batches.next_batch, self.section.max_files, _AHEAD, self._context.now()
        )
        if oldest is None:
            return None
        if waiting >= self.section.max_files or await self._nothing_can_join():
            return oldest
        return oldest + self.section.max_wait


class BatchLane:
    """Load or merge: one batch at a time, so that no two statements ever race."""

    def __init__(
        self, context: WorkerContext, stage: Stage, warehouse: Warehouse, refreshes: str = ""
    ) -> None:
        """`refreshes` is the table of whose new rows Impala is to be notified."""
        self._refreshes = refreshes
        self._context = context
        self._stage = stage
        self._warehouse = warehouse
        self._wake = context.ledger.wakes(stage)

    async def run(self) -> None:
        """Work until the stop."""
        await self._context.keep_looking(self._wake, self._look)

    async def _look(self) -> float | None:
        """Work on a batch that is due; return when to look again."""
        batch = await self._claim()
        if batch is None:
            return await self._due()
        await self._process(batch)
        return AT_ONCE

    async def _claim(self) -> Batch | None:
        if self._context.breakers.is_paused(Dependency.WAREHOUSE):
            return None
        return await self._context.ledger.claim_batch(self._stage, self._context.now())

    async def _due(self) -> float | None:
        due = await self._context.ledger.ask(batches.next_due_batch, self._stage)
        return (
            due if due is None else max(due, self._context.breakers.opens_at(Dependency.WAREHOUSE))
        )

    async def _process(self, batch: Batch) -> None:
        began = time.monotonic()
        try:
            move = await self._attempt(batch)
        except asyncio.CancelledError:
            now = self._context.now()
            move = moves.batch_given_back(batch, "stopped before it was finished", now, now)
            await self._context.ledger.move_batch(move)
            raise
        if await self._context.ledger.move_batch(move):
            self._log(move, time.monotonic() - began)

    async def _attempt(self, batch: Batch) -> BatchMove:
        try:
            is_last = batch.attempts >= self._context.policy.attempts
            with self._context.measure(self._stage, is_last=is_last):
                move = await self._work(batch)
        except DependencyDownError as error:
            return await self._given_back(batch, error)
        except LedgerError:
            raise
        except Exception as error:
            if down := host_fault(error):
                return await self._given_back(batch, down)
            if not isinstance(error, BackupdError):
                log.exception("unexpected error", batch=batch.id)
            return await self._failed(batch, error)
        await self._context.breakers.succeeded(Dependency.WAREHOUSE)
        return move

    async def _work(self, batch: Batch) -> BatchMove:
        files = await self._context.ledger.members(batch)
        if self._stage is Stage.LOAD:
            return await self._loaded(batch, files)
        doubled = await merge(self._warehouse, batch, files)
        dates = tuple(sorted({file.file_date for file in files if file.file_date}))
        touched = TouchedTable(name=self._refreshes, dates=dates) if self._refreshes else None
        merged = moves.batch_merged(batch, self._context.now())
        return replace(merged, refresh=touched, row_counts=self._row_counts(batch, files, doubled))

    async def _loaded(self, batch: Batch, files: Sequence[FileRecord]) -> BatchMove:
        before = await self._context.ledger.ask(batches.previously_batched, batch.members, batch.id)
        rows = await rows_to_make(self._warehouse, batch, files, before)
        staged_at = await load(self._warehouse, batch, rows)
        return moves.batch_advanced(batch, staged_at, self._context.now())

    def _row_counts(
        self, batch: Batch, files: Sequence[FileRecord], doubled: Sequence[RowKey]
    ) -> tuple[RowCount, ...]:
        """Return whose rows are to be counted again.

        At once those that are doubled. Later, where a try before this one did not come to its end,
        all: what it had begun may yet.
        """
        now = self._context.now()
        later = now + LATE if batch.claims > _CLAIMS else None
        keys = dict.fromkeys(map(key_of, files))
        counts = [
            RowCount(key=key, doubled=key in doubled, due_at=now if key in doubled else later)
            for key in keys
        ]
        return tuple(count for count in counts if count.due_at is not None)

    async def _given_back(self, batch: Batch, down: DependencyDownError) -> BatchMove:
        """What is down is not the batch's fault."""
        due = await self._context.breakers.failed(down)
        return moves.batch_given_back(batch, moves.explained(down), self._context.now(), due)

    async def _failed(self, batch: Batch, error: Exception) -> BatchMove:
        """A batch that is split or parked leaves nothing staged."""
        move = moves.batch_failed(batch, error, self._context.now(), self._context.policy)
        if move.status is not Status.WAITING:
            with suppress(BackupdError):  # the sweep at the next start takes what stays
                await self._warehouse.discard(batch.id)
        return move

    def _log(self, move: BatchMove, seconds: float) -> None:
        moved_on = move.status is Status.DONE or move.stage is not self._stage
        event = f"{self._stage} {'finished' if moved_on else 'did not finish'}"
        log.log(
            self._level(move, moved_on=moved_on),
            event,
            batch=move.batch.id,
            stage=str(self._stage),
            files=len(move.batch.members),
            detail=move.detail,
            duration_s=round(seconds, 3),
        )

    def _level(self, move: BatchMove, *, moved_on: bool) -> int:
        """Return the level: parked files need a person; the breaker logs an outage once for all."""
        if move.file_status is Status.PARKED:
            return logging.WARNING
        is_held_up = not moved_on and self._context.breakers.is_trying(Dependency.WAREHOUSE)
        return logging.DEBUG if is_held_up else logging.INFO
