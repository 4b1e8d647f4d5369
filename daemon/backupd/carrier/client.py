"""The first process's end: hands files to the carrier, keeps it alive."""

from __future__ import annotations

import asyncio
import itertools
import os
import socket
import sys
import time
from contextlib import suppress
from typing import TYPE_CHECKING, Protocol, Self, cast

import structlog

from backupd.carrier.wire import (
    Demand,
    Identify,
    LookForSnapshots,
    Outbox,
    ShipSnapshot,
    received,
)
from backupd.core.dependencies import Dependency
from backupd.core.errors import (
    BackupdError,
    DependencyDownError,
    PermanentError,
    TransientError,
    WorkerDiedError,
)
from backupd.core.host import cannot_start
from backupd.core.places import MARK_FILE

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

    from backupd.carrier.wire import Asked, CarrierConfig, Outcome
    from backupd.core.places import Witness
    from backupd.core.ports import Work
    from backupd.core.records import Result, Task
    from backupd.core.snapshots import Home, Shipped
    from backupd.core.stages import Stage

log = structlog.get_logger()

# Seconds from one start to the next: longer each time for a carrier that dies again and again.
_PAUSE, _LONGEST_PAUSE = 1.0, 60.0
_LEAVE_WITHIN = 5.0  # seconds


class Place(Protocol):
    """What the ledger knows of the archive's place."""

    async def known(self) -> tuple[str | None, Sequence[Witness]]:
        """Return its mark, None where there is none yet, and copies that must be there then."""
        ...

    async def identified(self, mark: str) -> None:
        """Take note of the mark that it has: a new one is to be remembered."""
        ...


class Carrier:
    """One carrier process, started anew whenever it has died. Use as an async context manager."""

    def __init__(self, config: CarrierConfig, place: Place) -> None:
        self._config = config
        self._place = place
        self._child: _Child | None = None
        self._starting = asyncio.Lock()
        self._pause = _PAUSE
        self._started_at = -_PAUSE

    async def __aenter__(self) -> Self:
        """Start it: it takes its time until the first file comes, which tries again if need be."""
        try:
            await self._living()
        except DependencyDownError as error:
            log.warning("the carrier process is not started yet", reason=str(error))
        return self

    async def __aexit__(self, *_: object) -> None:
        """End it."""
        child, self._child = self._child, None
        if child is not None:
            await child.end()

    def stage(self, stage: Stage) -> Work:
        """Return the stage as the carrier does it."""

        async def carried(task: Task) -> Result:
            child = await self._living()
            return await child.do(stage, task)

        return carried

    async def demand(self, directory: str) -> None:
        """Return where files are taken again in a directory of the archive: see `Scope.demand`."""
        child = await self._living()
        await child.demand(directory)

    def shelf(self, home: Home) -> CarrierShelf:
        """Return the snapshots of this home as the carrier reaches them."""
        return CarrierShelf(self._living, home)

    async def sign_of_life(self) -> None:
        """Return once the process has answered. One that died has been seen to: that is life."""
        if self._alive is not None:
            with suppress(WorkerDiedError):
                await self._alive.answer()

    @property
    def _alive(self) -> _Child | None:
        return None if self._child is None or self._child.dead else self._child

    async def _living(self) -> _Child:
        if self._alive is not None:
            return self._alive
        async with self._starting:
            if (child := self._alive) is None:
                lived_for = time.monotonic() - self._started_at
                await asyncio.sleep(self._pause - lived_for)
                again_so_soon = self._child is not None and lived_for < _LONGEST_PAUSE
                self._pause = min(2 * self._pause, _LONGEST_PAUSE) if again_so_soon else _PAUSE
                self._started_at = time.monotonic()
                child = self._child = await _start(self._config, self._place)
            return child


class CarrierShelf:
    """Implements `core.snapshots.Shelf`. Raises WorkerDiedError, too."""

    def __init__(self, living: Callable[[], Awaitable[_Child]], home: Home) -> None:
        self._living = living
        self._home = home

    async def names(self) -> list[str]:
        """See `Shelf`."""
        child = await self._living()
        return cast("list[str]", await child.reach(LookForSnapshots(home=self._home)))

    async def add(self, path: str, name: str, kept: int) -> Shipped:
        """See `Shelf`."""
        child = await self._living()
        asked = ShipSnapshot(home=self._home, path=path, name=name, kept=kept)
        return cast("Shipped", await child.reach(asked))


def _cannot_be_marked(error: BackupdError) -> DependencyDownError:
    """What stands in the way of a mark is no file's fault, and all files wait for it."""
    hint = (
        f"let the archive's user write {MARK_FILE} in the archive's root, or put one there by hand:"
        f" openssl rand -hex 16 > {MARK_FILE}"
    )
    return DependencyDownError(Dependency.ARCHIVE, f"it cannot be marked: {error}", hint=hint)


async def _start(config: CarrierConfig, place: Place) -> _Child:
    """Start a process. Its config goes over the socket: it may hold a secret."""
    try:
        ours, theirs = socket.socketpair()
        with theirs:
            process = await _spawned(ours, theirs)
    except (OSError, RuntimeError, MemoryError) as error:
        raise cannot_start(error) from error
    reader, writer = await asyncio.open_unix_connection(sock=ours)
    child = _Child(process, reader, writer, place)
    child.outbox.put(config)
    return child


async def _spawned(ours: socket.socket, theirs: socket.socket) -> asyncio.subprocess.Process:
    try:
        return await asyncio.create_subprocess_exec(
            sys.executable,
            "-X",
            "utf8",
            "-P",  # without it, `-m` imports from the working directory first, whoever writes there
            "-m",
            "backupd.carrier.process",
            str(theirs.fileno()),
            str(os.getpid()),
            pass_fds=[theirs.fileno()],
            stdin=asyncio.subprocess.DEVNULL,
        )
    except BaseException:
        ours.close()
        raise


class _Child:
    """One process, and the files that it has in hand."""

    def __init__(
        self,
        process: asyncio.subprocess.Process,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        place: Place,
    ) -> None:
        self._process = process
        self._place = place
        self._identifying = asyncio.Lock()
        self._has_begun = False
        self._is_identified = False  # whether the archive is known to be the one that is meant
        self._writer = writer
        self.outbox = Outbox(writer)
        self._numbers = itertools.count()
        self._in_hand: dict[int, asyncio.Future[Outcome | None]] = {}
        self._listening = asyncio.create_task(self._listen(reader))
        self.dead = False

    async def do(self, stage: Stage, task: Task) -> Result:
        """Have one file done. Raises what the stage raises, or WorkerDiedError."""
        return cast("Result", await self.reach(task, stage, is_proven=task.is_proven))

    async def reach(
        self, asked: Asked, stage: Stage | None = None, *, is_proven: bool = False
    ) -> Outcome | None:
        """Have something done in the archive, which is identified first.

        Unless it `is_proven`: then the archive is not looked at. Raises what is raised there, or
        WorkerDiedError.
        """
        await self._begin()
        try:
            if not is_proven:
                await self._identify()
            return await self._ask(stage, asked)
        except DependencyDownError as error:
            if error.dependency == Dependency.ARCHIVE:
                self._is_identified = False  # when it is back, it may be another place
            raise

    async def demand(self, directory: str) -> None:
        """Have a directory of the archive tried. Raises what is down, or WorkerDiedError."""
        await self._begin()
        await self._identify()
        await self._ask(None, Demand(directory=directory))

    async def _begin(self) -> None:
        """Wait until it is at work. What ends it before that is no file's fault.

        Nor is it the host's where it was killed.
        """
        if self._has_begun:
            return
        try:
            await self.answer()
        except WorkerDiedError as error:
            if (self._process.returncode or 0) < 0:
                raise
            raise cannot_start(error) from error

    async def _identify(self) -> None:
        """Have the archive identified, once."""
        async with self._identifying:
            if self._is_identified:
                return
            expected, witnesses = await self._place.known()
            asked = Identify(expected=expected, witnesses=witnesses)
            try:
                mark = cast("str", await self._ask(None, asked))
            except (PermanentError, TransientError) as error:
                raise _cannot_be_marked(error) from error
            await self._place.identified(mark)
            self._is_identified = True

    async def answer(self) -> None:
        """Return once the process has answered; nothing is done there. Raises WorkerDiedError."""
        await self._ask(None, None)
        self._has_begun = True

    async def _ask(self, stage: Stage | None, task: Asked | None) -> Outcome | None:
        number = next(self._numbers)
        self._in_hand[number] = asyncio.get_running_loop().create_future()
        try:
            self.outbox.put((number, stage, task))
            return await self._in_hand[number]
        finally:
            del self._in_hand[number]

    async def end(self) -> None:
        """Let it end: it does as soon as it sees its socket closed."""
        self._listening.cancel()
        self._give_up("the carrier process was ended")
        self._writer.close()
        with suppress(TimeoutError):
            await asyncio.wait_for(self._process.wait(), _LEAVE_WITHIN)
        if self._process.returncode is None:
            self._process.kill()
            await self._process.wait()

    async def _listen(self, reader: asyncio.StreamReader) -> None:
        async for number, outcome in received(reader):
            self._settle(self._in_hand.get(number), outcome)
        self.dead = True
        code = await self._process.wait()
        log.error("the carrier process died", code=code, files_in_hand=len(self._in_hand))
        self._give_up(f"the carrier process died (code {code})")

    def _give_up(self, why: str) -> None:
        for future in list(self._in_hand.values()):
            self._settle(future, WorkerDiedError(why))

    @staticmethod
    def _settle(
        future: asyncio.Future[Outcome | None] | None, outcome: Outcome | BackupdError | None
    ) -> None:
        if future is None or future.done():
            return  # nobody waits for it any more
        if isinstance(outcome, BackupdError):
            future.set_exception(outcome)
        else:
            future.set_result(outcome)
