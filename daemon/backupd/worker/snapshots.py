"""Snapshots of the ledger go into the archive, beside all other work, which they never hold up."""

from __future__ import annotations

import asyncio
import math
import socket
import time
from typing import TYPE_CHECKING

import structlog

from backupd.core.errors import BackupdError, DependencyDownError, LedgerError
from backupd.core.host import host_fault
from backupd.core.incidents import BACKUP_CAUSE, Incident, Kind
from backupd.core.moves import explained
from backupd.core.pace import repeat
from backupd.core.records import new_id
from backupd.core.snapshots import LastSnapshot, home_of
from backupd.core.threads import unheard
from backupd.core.times import moment
from backupd.ledger import Snapshotting, last_snapshot, temporary_of
from backupd.worker.stopping import unless_stopped

if TYPE_CHECKING:
    from collections.abc import Callable

    from backupd.config.sections import LedgerSection
    from backupd.core.snapshots import Home, Shelf, Shipped
    from backupd.ledger import Ledger
    from backupd.worker.context import WorkerContext

log = structlog.get_logger()

_LOOK_EVERY = 1.0  # seconds
_FIRST_PAUSE, _LONGEST_PAUSE = 60.0, 3600.0  # seconds after a failure, doubled each time
_NO_SOONER = 1.0  # seconds between two snapshots: their names tell seconds
_STOP_EVERY = 0.1  # seconds
_GIVE_UP_WITHIN = 5.0  # seconds, to end a copy at the stop: its disk may hang


class StoppingError(BackupdError):
    """The daemon stops: the snapshot is left to the next one."""

    def __init__(self) -> None:
        super().__init__(
            "no snapshot is made: backupd is stopping", hint="start it, then try again"
        )


class SnapshotMaker:
    """Makes snapshots of one ledger, one at a time."""

    def __init__(
        self, ledger: Ledger, section: LedgerSection, shelf_of: Callable[[Home], Shelf]
    ) -> None:
        """`shelf_of` reaches the archive."""
        self.home = home_of(socket.gethostname(), ledger.path)
        self._ledger = ledger
        self._kept = section.backups_kept
        self._shelf = shelf_of(self.home)
        self._turn = asyncio.Lock()

    async def last(self) -> LastSnapshot | None:
        """Return the newest snapshot; None where the ledger knows nothing of any."""
        return await self._ledger.ask(last_snapshot, self.home.directory)

    async def remember(self, last: LastSnapshot) -> None:
        """Have the ledger know it."""
        await self._ledger.note_snapshot(self.home.directory, last)

    async def make(self) -> tuple[LastSnapshot, Shipped]:
        """Make one now, and have the ledger know it. Raises what stands in the way."""
        async with self._turn:
            began = time.monotonic()
            # First: no copy is made for an archive that is down.
            taken = await self._shelf.names()
            made = await self._free_second(taken)
            path = temporary_of(self._ledger.path)
            try:
                await _in_thread(Snapshotting(self._ledger.path, path))
                shipped = await self._shelf.add(str(path), made.name, self._kept)
            finally:
                path.unlink(missing_ok=True)
            await self.remember(made)
        _log(made, shipped, time.monotonic() - began)
        return made, shipped

    async def _free_second(self, taken: list[str]) -> LastSnapshot:
        now = time.time()
        if self.home.name(now) in taken:
            await asyncio.sleep(1 - now % 1)
            now = time.time()
        return LastSnapshot(name=self.home.name(now), at=now)


class SnapshotLane:
    """Makes a snapshot every `backup_every`, and one whenever a person asks for it.

    When the last one was made stands in the ledger. One that fails is an incident. If it fails for
    what is down, which has an incident of its own, that is so only once it is overdue by a whole
    `backup_every`.
    """

    def __init__(self, context: WorkerContext, maker: SnapshotMaker, every: float) -> None:
        """`every` so many seconds; 0: never by itself."""
        self._context = context
        self._maker = maker
        self._every = max(every, _NO_SOONER) if every else math.inf
        self._not_before = 0.0  # time.monotonic
        self._pause = 0.0
        self.last: LastSnapshot | None = None

    async def run(self) -> None:
        """Work until the stop."""
        self.last = await self._maker.last()
        if self.last is None:
            self.last = LastSnapshot(name="", at=self._context.now())
            await self._maker.remember(self.last)
        await repeat(self._look, _LOOK_EVERY, self._context.stop)

    async def make_now(self) -> tuple[LastSnapshot, Shipped]:
        """Make one now. Raises what stands in the way, StoppingError at the stop."""
        stop = self._context.stop
        made, shipped = await unless_stopped(self._maker.make(), stop, StoppingError())
        await self._succeeded(made)
        return made, shipped

    @property
    def is_at_work(self) -> bool:
        """Whether one is due, or being made."""
        return self.last is None or (self._is_due() and not self._pause)

    def _is_due(self) -> bool:
        return self._late_by() >= 0

    def _late_by(self) -> float:
        """Return for how many seconds one has been due. If the clock was set back, one is due."""
        since = self.last.at if self.last else math.inf
        age = self._context.now() - since
        return age - self._every if age >= 0 or math.isinf(self._every) else 0.0

    async def _look(self) -> None:
        if not self._is_due() or time.monotonic() < self._not_before:
            return
        try:
            await self.make_now()
        except StoppingError:
            pass  # the next daemon makes it
        except LedgerError:
            raise
        except Exception as error:
            if not isinstance(error, BackupdError) and host_fault(error) is None:
                log.exception("unexpected error")
            await self._failed(host_fault(error) or error)

    async def _succeeded(self, made: LastSnapshot) -> None:
        self.last, self._pause, self._not_before = made, 0.0, 0.0
        await self._context.ledger.close_incidents([BACKUP_CAUSE], self._context.now())

    async def _failed(self, error: Exception) -> None:
        """Try again after a pause, and say so, if it is to be said."""
        longest = min(_LONGEST_PAUSE, self._every)
        self._pause = min(2 * self._pause or _FIRST_PAUSE, longest)
        self._not_before = time.monotonic() + self._pause
        reason = explained(error)
        if isinstance(error, DependencyDownError) and self._late_by() < self._every:
            log.info("no snapshot of the ledger", reason=reason, next_try_s=self._pause)
            return
        await self._context.ledger.note_incidents([self._incident(reason)])

    def _incident(self, why: str) -> Incident:
        now, last = self._context.now(), self.last
        before = "there is none yet"
        if last is not None and last.name:
            before = f"the last snapshot is of {moment(last.at)}"
        return Incident(
            id=new_id(now),
            kind=Kind.BACKUP,
            cause=BACKUP_CAUSE,
            feed="",
            trouble="",
            reason=f"{before}; the next one failed: {why}",
            opened_at=now,
        )


async def _in_thread(copying: Snapshotting) -> None:
    """Run it; who is cancelled meanwhile has it end, and does not wait long."""
    running = asyncio.ensure_future(asyncio.to_thread(copying.run))
    try:
        await asyncio.shield(running)
    except asyncio.CancelledError:
        given_up_at = time.monotonic() + _GIVE_UP_WITHIN
        while not running.done() and time.monotonic() < given_up_at:
            copying.stop()
            await asyncio.wait([running], timeout=_STOP_EVERY)
        raise
    finally:
        running.add_done_callback(unheard)


def _log(made: LastSnapshot, shipped: Shipped, took: float) -> None:
    log.info(
        "snapshot of the ledger made",
        name=made.name,
        sent_bytes=shipped.sent_bytes,
        duration_s=round(took, 3),
    )
    if shipped.kept_more:
        log.warning("older snapshots could not be removed", reason=shipped.kept_more)
