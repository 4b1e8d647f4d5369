"""Asks the daemon; where none runs, does by itself what the daemon would have done."""

from __future__ import annotations

import asyncio
import time
from dataclasses import asdict, dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

from backupd.cli.times import moment, span
from backupd.control import (
    Answer,
    DaemonAbsentError,
    ask_daemon,
    carry_out,
    excuse,
    remember_place,
)
from backupd.core.dependencies import Dependency
from backupd.core.errors import BackupdError
from backupd.core.rows import Compaction
from backupd.ledger import Ledger, LedgerLockedError
from backupd.ledger import places as ledger_places
from backupd.ledger.lock import holder

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Iterable, Iterator, Sequence
    from pathlib import Path

    from backupd.cli.options import Places
    from backupd.completeness.judging import Excuse
    from backupd.control import FileRequest
    from backupd.core.ports import PlaceMemory

_LONGEST_LOOK = 600  # seconds for the list of all dates: Hive may have years of them
_LONGEST_COMPACTION = 3600  # seconds for a date


@dataclass(frozen=True, slots=True, kw_only=True)
class DaemonState:
    """How the daemon is. `pid` also names a process that holds the ledger and does not answer."""

    state: str  # running | not running | not answering
    pid: str | None
    since: float | None
    trouble: str = ""

    @property
    def runs(self) -> bool:
        """Whether files go on by themselves just now."""
        return self.state == "running"

    def __str__(self) -> str:
        if self.runs and self.since is not None:
            age = span(time.time() - self.since)
            running = f"running since {moment(self.since)} ({age}), pid {self.pid}"
            return f"{running}; {self.trouble}: all waits" if self.trouble else running
        return f"{self.state}: {self.trouble}" if self.trouble else self.state


def daemon_state(places: Places) -> DaemonState:
    """Ask the daemon how it is, and the ledger's lock where it does not answer."""
    try:
        answer = ask_daemon(places.socket, {"verb": "status"})
    except BackupdError as error:
        return _silent(places, error)
    return DaemonState(
        state="running",
        pid=str(answer["pid"]),
        since=float(answer["since"]),
        trouble=answer.get("trouble", ""),
    )


def request_of_daemon(
    places: Places, request: FileRequest, groups: Iterable[Sequence[str]]
) -> Iterator[list[Answer]]:
    """Do it to groups of files (ids); yield what became of each group.

    Raises BackupdError when neither the daemon nor this process can.
    """
    try:
        ask_daemon(places.socket, {"verb": "status"})
    except DaemonAbsentError:
        yield from _here(places, request, groups)
        return
    for ids in groups:
        answer = ask_daemon(places.socket, request.message(ids))
        yield [Answer(**each) for each in answer["answers"]]


def compact_dates(places: Places, before: str) -> Iterator[Compaction]:
    """Compact the dates before this one; yield what became of each.

    Raises BackupdError when neither the daemon nor this process can.
    """
    request = {"verb": "dates to compact", "before": before}
    try:
        dates = ask_daemon(places.socket, request, _LONGEST_LOOK)["dates"]
    except DaemonAbsentError:
        yield from _compact_here(places, before)
        return
    for date in dates:
        answer = ask_daemon(places.socket, {"verb": "compact", "date": date}, _LONGEST_COMPACTION)
        yield Compaction(**answer["compaction"])


def record_excuse(places: Places, said: Excuse) -> None:
    """Record what will never come, by the daemon where one runs.

    Raises BackupdError when neither the daemon nor this process can.
    """
    try:
        ask_daemon(places.socket, {"verb": "excuse", "excuse": asdict(said)})
    except DaemonAbsentError:
        _record_here(places.ledger, places.socket, partial(excuse, said=said))


def record_place(ledger: Path, socket: Path, name: str, mark: str) -> None:
    """Record the mark of a place in the ledger, by the daemon where one runs.

    Raises BackupdError when neither the daemon nor this process can.
    """
    try:
        ask_daemon(socket, {"verb": "place", "name": name, "mark": mark})
    except DaemonAbsentError:
        place = partial(remember_place, name=name, mark=mark, now=time.time())
        _record_here(ledger, socket, place)


def _record_here(
    path: Path, socket: Path, record: Callable[[Ledger], Coroutine[Any, Any, None]]
) -> None:
    ledger = locked(path, socket)
    with asyncio.Runner() as runner:
        try:
            runner.run(record(ledger))
        finally:
            runner.run(ledger.close())


def _silent(places: Places, error: BackupdError) -> DaemonState:
    pid = holder(places.ledger)
    if pid is None:
        return DaemonState(state="not running", pid=None, since=None)
    trouble = f"process {pid} holds the ledger, but {error}"
    return DaemonState(state="not answering", pid=pid, since=None, trouble=trouble)


def _here(
    places: Places, request: FileRequest, groups: Iterable[Sequence[str]]
) -> Iterator[list[Answer]]:
    ledger = locked(places.ledger, places.socket)
    with asyncio.Runner() as runner:
        try:
            for ids in groups:
                yield runner.run(carry_out(ledger, request, ids, time.time()))
        finally:
            runner.run(ledger.close())


def _compact_here(places: Places, before: str) -> Iterator[Compaction]:
    # It takes its libraries with it: other commands go without.
    from backupd.warehouse.embedded.warehouse import EmbeddedWarehouse  # noqa: PLC0415

    section = places.config().warehouse
    if section.kind != "embedded":
        raise BackupdError(
            "partitions in Hive are compacted by the daemon, and none runs",
            hint="start it, then try again",
        )
    with places.reader() as reader:
        if reader.ask(ledger_places.place, Dependency.WAREHOUSE) is None:
            return  # nothing was ever written there
    ledger = locked(places.ledger, places.socket)
    with asyncio.Runner() as runner:
        warehouse = EmbeddedWarehouse(section, runner.run(_warehouse_place(ledger)))
        try:
            for date in runner.run(warehouse.dates_to_compact(before)):
                yield runner.run(warehouse.compact(date))
        finally:
            runner.run(warehouse.aclose())
            runner.run(ledger.close())


async def _warehouse_place(ledger: Ledger) -> PlaceMemory:
    from backupd.worker import LedgerPlace  # noqa: PLC0415 - and so does this

    return LedgerPlace(ledger, Dependency.WAREHOUSE)


def locked(path: Path, socket: Path) -> Ledger:
    """Open the ledger for what the daemon would do, where none runs. Raises BackupdError."""
    try:
        return Ledger(path)
    except LedgerLockedError as error:
        raise BackupdError(
            f"process {error.pid} holds the ledger, yet no daemon answers on {socket}",
            hint="it may be starting or stopping: try again; else compare its control.socket",
        ) from error
