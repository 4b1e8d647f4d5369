"""The ledger as the rest of the house sees it."""

from __future__ import annotations

import asyncio
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Concatenate, ParamSpec, TypeVar

from backupd.core.errors import LedgerError
from backupd.core.records import Batch, BatchMove, FileRecord, Known, Move, Receipt, Seen, Sighting
from backupd.core.stages import BATCHED, Stage, Status
from backupd.ledger import (
    batches,
    duplicates,
    engine,
    files,
    hive_memory,
    incidents,
    intake,
    places,
    renames,
    replacements,
    snapshots,
    start,
    stories,
)
from backupd.ledger.engine import LateCheck, LedgerReader, is_read_first
from backupd.ledger.lock import LedgerLock, real_path
from backupd.ledger.past import PastWriter
from backupd.ledger.writer import Writer

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping, Sequence
    from pathlib import Path

    import sqlalchemy as sa

    from backupd.core.history import Remembered
    from backupd.core.incidents import Case, Incident, Notice, Troubles
    from backupd.core.records import DoneFile, FeedMount, Identity, Renaming
    from backupd.core.rows import OwedRefresh, RowCount, RowKey, Statement
    from backupd.core.snapshots import LastSnapshot
    from backupd.core.times import Pauses

_P = ParamSpec("_P")
_T = TypeVar("_T")


class Ledger:
    """The one holder of the ledger: reads, and moves by the one writer.

    Who waits for work asks for a wake-up of its own by `wakes`.
    """

    def __init__(self, path: Path, alive: Callable[[], None] = lambda: None) -> None:
        """Take the lock, check, migrate. Raises LedgerLockedError or LedgerError.

        A large ledger is checked beside the work (see `engine.LateCheck`), and may take minutes to
        migrate, while which `alive` is called again and again.
        """
        self._lock = LedgerLock(path)
        self._lock.acquire()
        path = self.path = real_path(path)
        try:
            snapshots.remove_leftovers(path)
            self._engine = engine.open_for_writing(path, alive)
            self._refuse_replaced()
        except BaseException:
            self._lock.release()
            raise
        self._writer = Writer(self._engine, path)
        self.past = PastWriter(self._writer, path)
        self._check = None if is_read_first(path) else LateCheck(path, self._writer.refuse)
        self._reader = LedgerReader(path)
        self._reading = ThreadPoolExecutor(1, thread_name_prefix="ledger-reader")
        self._wakes: dict[Stage, list[asyncio.Event]] = {stage: [] for stage in Stage}
        self.wake_settle = self.wakes(Stage.SETTLE)

    def _refuse_replaced(self) -> None:
        try:
            self._lock.refuse_replaced()
        except LedgerError:
            self._engine.dispose()
            raise

    @property
    def error(self) -> LedgerError | None:
        """Why the ledger takes no more changes; None while it does."""
        return self._writer.error

    @property
    def commits(self) -> int:
        """Transactions so far: goes up while the writer makes progress."""
        return self._writer.commits

    async def sign_of_life(self) -> None:
        """Return once the writer has done a transaction, or found no room on its disk once more."""
        await self._writer.sign_of_life(files.nothing)

    @property
    def lacks_room(self) -> bool:
        """Whether nothing can be written just now, as its disk is full."""
        return self._writer.lacks_room

    def wait_for_room(self, *, wait: bool = True) -> None:
        """Have changes wait while the disk is full, or (at first) fail with LedgerError."""
        self._writer.waits_for_room = wait

    async def ask(
        self, report: Callable[Concatenate[sa.Connection, _P], _T], *args: _P.args, **kw: _P.kwargs
    ) -> _T:
        """Answer one of `reports` without holding up the event loop."""
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(
            self._reading, lambda: self._reader.ask(report, *args, **kw)
        )

    def wakes(self, stage: Stage) -> asyncio.Event:
        """Return a new event that is set whenever work may have become due in a stage.

        Its owner clears it, then looks: so that nothing is missed.
        """
        wake = asyncio.Event()
        self._wakes[stage].append(wake)
        return wake

    def wake(self, *stages: Stage) -> None:
        """Say that work may have become due."""
        for stage in stages:
            for wake in self._wakes[stage]:
                wake.set()

    async def close(self) -> None:
        """Write what was handed over, and give the lock back."""
        if self._check is not None:
            await asyncio.to_thread(self._check.stop)
        await asyncio.to_thread(self._writer.close)
        self._reading.shutdown()
        self._reader.close()
        self._engine.dispose()
        self._lock.release()

    # -- files ---------------------------------------------------------------------------------

    async def claim(
        self,
        stage: Stage,
        limit: int,
        now: float,
        feeds: Collection[str],
        *,
        each: int | None = None,
    ) -> list[FileRecord]:
        """Make up to `limit` due files of a stage running, up to `each` of each of these feeds."""
        request = files.Claim(
            stage=stage, limit=limit, now=now, feeds=tuple(feeds), each=each or limit
        )
        (claimed,) = await self._writer.apply(files.claim, [request])
        return list(claimed)

    async def move(self, moves: Sequence[Move]) -> list[bool]:
        """Apply moves durably; False for one whose file stood elsewhere by now."""
        if not moves:
            return []
        applied = await self._writer.apply(files.move, moves)
        self._wake_next(moves)
        return applied

    async def manifest_done(self, moves: Sequence[Move]) -> list[bool | Remembered]:
        """Apply moves out of manifest; duplicates are noticed and take their own way.

        Not applied is what may be a duplicate of a file that left for the history.
        """
        applied = await self._writer.apply(duplicates.manifest_done, moves)
        self._wake_next(moves)
        self.wake(Stage.CLEANUP)
        return applied

    async def set_right(self, now: float) -> int:
        """Forget the proofs of an earlier process, close phantoms; return how many these were."""
        (phantoms,) = await self._writer.apply(start.set_right, [now])
        return int(phantoms)

    async def bring_forward(self, now: float, pauses: Pauses) -> None:
        """The clock was set: have nothing wait for longer than `pauses` say."""
        step = start.ClockSet(now=now, pauses=pauses)
        await self._writer.apply(start.bring_forward, [step])
        self.wake(*Stage)

    async def due(self, stage: Stage, feeds: Collection[str]) -> float | None:
        """Return when the next waiting file of a stage and of these feeds is due."""
        return await self.ask(files.next_due, stage, feeds)

    async def receipts(self, file_ids: Sequence[str]) -> dict[str, Receipt]:
        """Return the receipts of these files, by file id."""
        return await self.ask(stories.receipts_of, file_ids)

    def _wake_next(self, moves: Sequence[Move]) -> None:
        self.wake(*{move.stage for move in moves})
        ended = [move for move in moves if move.status is Status.DONE]
        if ended:
            self.wake(Stage.CLEANUP)  # duplicates may have waited for it
        if any(move.changes.get("reason") for move in ended):
            self.wake(Stage.MANIFEST)  # or are read anew, for it was closed

    # -- intake --------------------------------------------------------------------------------

    async def known(self, paths: Sequence[str]) -> dict[str, Known]:
        """Return what the ledger holds of these paths; those without any row are left out."""
        return await self.ask(intake.known, paths)

    async def see(self, sightings: Sequence[Sighting]) -> list[Seen]:
        """Write rows for the files that are new; say of each sighting what became of it."""
        if not sightings:
            return []
        answers = await self._writer.apply(intake.see, sightings)
        self.wake(Stage.SETTLE)
        return answers

    async def by_identity(
        self, identities: Sequence[Identity]
    ) -> dict[tuple[Identity, str], FileRecord]:
        """Return the files below feeds' directories last seen as these, by identity and name."""
        return await self.ask(renames.by_identity, identities)

    async def rename(self, renamings: Sequence[Renaming]) -> list[bool]:
        """Give files the paths that they have now; False where something came between."""
        if not renamings:
            return []
        applied = await self._writer.apply(renames.rename, renamings)
        self.wake(*Stage)
        return applied

    async def file(self, file_id: str) -> FileRecord | None:
        """Return a file by its id; None: no such file is known."""
        found = await self.ask(files.by_ids, [file_id])
        return found[0] if found else None

    async def due_settle(
        self, now: float, limit: int, without: Collection[str] = ()
    ) -> list[FileRecord]:
        """Return files that wait in settle and are due, but not those of the feeds `without`."""
        return await self.ask(files.due_settle, now, limit, without)

    async def next_settle_at(self, without: Collection[str] = ()) -> float | None:
        """Return when the next file in settle is due, but not of the feeds `without`."""
        return await self.ask(files.next_settle, without)

    async def wake_companions(self, paths: Sequence[str], now: float) -> None:
        """Make the files due that settle with these companions."""
        if paths:
            items = [(path, now) for path in paths]
            await self._writer.apply(intake.wake_companions, items)
            self.wake(Stage.SETTLE)

    async def late_companions(self, stems: Mapping[str, str]) -> dict[str, DoneFile]:
        """Return which of these companions no file needs any more, with the last that did."""
        return await self.ask(intake.late_companions, stems)

    async def feed_mounts(self) -> dict[str, FeedMount]:
        """Return where each feed was last seen, for feeds whose files may be missed."""
        return await self.ask(places.mounts)

    async def remember_root(self, feed: str, root: FeedMount) -> None:
        """Write where a feed was seen."""
        await self._writer.apply(places.remember_roots, [(feed, root)])

    # -- places --------------------------------------------------------------------------------

    async def place(self, name: str) -> str | None:
        """Return the mark of a place that this ledger writes to; None: it knows no such place."""
        return await self.ask(places.place, name)

    async def remember_place(self, name: str, mark: str, now: float) -> None:
        """Write the mark of a place, over what was known of it."""
        await self._writer.apply(places.remember_places, [(name, mark, now)])

    async def remember_files(self, sums: Mapping[str, str]) -> None:
        """Write the SHA-256 of files of the embedded warehouse, by their names there."""
        await self._writer.apply(places.remember_warehouse_files, list(sums.items()))

    async def forget_files(self, names: Collection[str]) -> None:
        """Forget files that are in the embedded warehouse no more."""
        await self._writer.apply(places.forget_warehouse_files, list(names))

    # -- snapshots -----------------------------------------------------------------------------

    async def note_snapshot(self, directory: str, last: LastSnapshot) -> None:
        """Write the newest snapshot of this ledger in a directory of the archive."""
        await self._writer.apply(snapshots.note_snapshots, [(directory, last)])

    # -- batches -------------------------------------------------------------------------------

    async def form_batch(
        self, max_files: int, now: float, feeds: Collection[str] = ()
    ) -> str | None:
        """Make a batch of the files that have waited longest; None where none waits.

        Each of `feeds` has a share of it first, so that a burst of one does not keep the others
        waiting.
        """
        request = batches.FormBatch(max_files=max_files, now=now, feeds=tuple(feeds))
        (batch_id,) = await self._writer.apply(batches.form_batch, [request])
        if batch_id is not None:
            self.wake(Stage.LOAD)
        return batch_id if batch_id is None else str(batch_id)

    async def claim_batch(self, stage: Stage, now: float) -> Batch | None:
        """Make a due batch running, its members with it; None where none is due."""
        request = batches.ClaimBatch(stage=stage, now=now)
        (batch,) = await self._writer.apply(batches.claim_batch, [request])
        return batch if isinstance(batch, Batch) else None

    async def move_batch(self, move: BatchMove) -> bool:
        """Move a batch and all its members durably; False where it stood elsewhere by now."""
        (applied,) = await self._writer.apply(batches.move_batch, [move])
        self.wake(*BATCHED, move.file_stage)
        return bool(applied)

    async def members(self, batch: Batch) -> list[FileRecord]:
        """Return the files of a batch, in order."""
        return await self.ask(files.by_ids, batch.members)

    # -- statements ----------------------------------------------------------------------------

    async def write_statement(self, statement: Statement) -> None:
        """Write the statement that a batch comes to."""
        await self._writer.apply(hive_memory.write_statements, [statement])

    async def possibly_running_statements(self) -> list[Statement]:
        """Return the statements of all batches that may still run."""
        return await self.ask(hive_memory.possibly_running)

    async def forget_statement(self, batch_id: str) -> None:
        """Forget the statement of a batch: its end is known."""
        await self._writer.apply(hive_memory.forget_statements, [batch_id])

    async def note_servers(self, in_use: Mapping[str, str]) -> None:
        """Write which servers are in use, by what they are."""
        await self._writer.apply(hive_memory.note_servers, [in_use])

    # -- counting rows -------------------------------------------------------------------------

    async def note_row_counts(self, counts: Sequence[RowCount]) -> None:
        """Write whose rows are to be counted again, and when."""
        await self._writer.apply(hive_memory.note_row_counts, counts)

    async def due_row_counts(self, now: float, limit: int) -> list[RowKey]:
        """Return rows that are to be counted by now, those of a date together."""
        return await self.ask(hive_memory.rows_to_count, now, limit)

    async def doubled_rows(self) -> list[RowKey]:
        """Return the files that were last seen with more than one row."""
        return await self.ask(hive_memory.doubled_rows)

    # -- Impala --------------------------------------------------------------------------------

    async def owed_refreshes(self) -> list[OwedRefresh]:
        """Return the tables of whose new rows Impala has not been notified."""
        return await self.ask(hive_memory.owed_refreshes)

    async def refreshed(self, refreshes: Sequence[OwedRefresh]) -> None:
        """Write that Impala was notified, or need not be; what was merged since stays owed."""
        await self._writer.apply(hive_memory.refreshed, refreshes)

    async def note_replacement(self, change: replacements.Change) -> None:
        """Write how far the compaction of a partition has come."""
        await self._writer.apply(replacements.note, [change])
        self.wake(Stage.MERGE)  # Impala may be owed a REFRESH

    # -- incidents -----------------------------------------------------------------------------

    async def troubles(self) -> Troubles:
        """Return the open incidents, and the files that are in trouble."""
        return await self.ask(incidents.troubles)

    async def cases(self) -> list[Case]:
        """Return the incidents that are open, or of whose end someone is still to be notified."""
        return await self.ask(incidents.cases_to_notify)

    async def last_mail(self) -> Notice | None:
        """Return the newest notice by mail that was sent, or may have been."""
        return await self.ask(incidents.last_mail)

    async def note_incidents(self, noted: Sequence[Incident]) -> None:
        """Write incidents, or newer words in the open ones of the same causes."""
        await self._writer.apply(incidents.note_incidents, noted)

    async def close_incidents(self, causes: Sequence[str], now: float) -> None:
        """Close the open incidents of these causes."""
        await self._writer.apply(incidents.close_incidents, [(each, now) for each in causes])

    async def note_notices(self, notices: Sequence[Notice]) -> None:
        """Write who is being notified, or the outcome; each replaces what was written before."""
        await self._writer.apply(incidents.note_notices, notices)

    async def mark_interrupted_notices_unknown(self, detail: str) -> None:
        """Make those notices unknown that were being sent when the last process ended."""
        await self._writer.apply(incidents.mark_interrupted_notices_unknown, [detail])
