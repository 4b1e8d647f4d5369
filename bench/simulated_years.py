"""Lets a daemon live through years; its books must balance in the end. A process of its own.

    python -m bench.simulated_years INBOX CONFIG OUT FILES_A_DAY DAYS EVERY

Every so many days the files of these days are delivered: new ones, and some that came before. A
person requeues some that are done, holds some and releases them weeks later. What is there at the
end of each month goes into OUT, as JSON.
"""

from __future__ import annotations

import asyncio
import json
import logging
import os
import sqlite3
import sys
import time
from collections import Counter
from contextlib import closing
from dataclasses import asdict, dataclass
from itertools import pairwise
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Any

import structlog

from backupd.cli.past import open_past, ours, take
from backupd.config import load
from backupd.control import Action, FileRequest, carry_out
from backupd.core import moves
from backupd.core.dependencies import Dependency
from backupd.core.history import Past
from backupd.core.stages import Stage
from backupd.ledger import LedgerReader, incidents, places, reports
from backupd.warehouse import open_warehouse
from backupd.worker import QUIET_FOR
from bench.corpus import FEEDS, HEADER
from bench.process import MeasuringError, memory_mib
from bench.simulated_daemon import Clock, alive

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator, Sequence

    from backupd.config.sections import Config
    from backupd.core.history import Story
    from backupd.core.records import FileRecord
    from bench.simulated_daemon import Daemon

_DAY, _HOUR = 86_400.0, 3_600.0
MONTH = 365 / 12  # days
_AT_ONCE = 32  # files in a claim: as many as the ship lane has places
_RESTARTS = 3
FULL_RATE = 300_000  # files a day, of which this has a share
_TURNS = 17_280  # a day in which a daemon looks at remembered files: one in 5 seconds
_REQUEUED, _HELD, _HELD_FOR_LONG = 4, 5, 6  # numbers of a day's files: none that comes again
_SHORT_HOLD = 20  # days


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What is delivered on which day. The first day, 0, begins at `start`; all is in days."""

    inbox: Path
    start: float
    files_a_day: int
    days: int
    every: int  # the files of so many days come together
    keep: int
    remember: int

    def path(self, day: int, number: int) -> Path:
        """Return where a file of a day is delivered."""
        file_type, customer = FEEDS[number % len(FEEDS)]
        stamp = time.strftime("%Y%m%d%H%M%S", time.gmtime(self.start + day * _DAY + number))
        name = f"{customer}_HOL_01_{stamp}_{number:06d}.csv"
        return self.inbox / file_type / customer / name

    def delivered_on(self, day: int) -> Iterator[tuple[int, int]]:
        """Yield the day and number of each file that comes on a day, again or for the first time.

        Again: while it is in the ledger, from the history, and when it is not remembered any more.
        """
        yield from ((day, number) for number in range(self.files_a_day * self.every))
        again = (self.keep // 3, self.long_hold, self.remember // 2, self.remember + self.keep)
        yield from ((day - ago, n) for n, ago in enumerate(again) if self.has(day - ago))

    def has(self, day: int) -> bool:
        """Return whether files were delivered on a day."""
        return day >= 0 and day % self.every == 0

    @property
    def long_hold(self) -> int:
        """Days that some files are held: longer than others are in the ledger."""
        return self.keep + self.keep // 3

    @property
    def turns(self) -> int:
        """Looks at remembered files between two deliveries: as large a share as at full rate."""
        return max(1, round(_TURNS * self.every * self.files_a_day / FULL_RATE))

    def months(self) -> Iterator[list[int]]:
        """Yield the days of each month on which files are delivered."""
        count = round(self.days / MONTH)
        ends = [round(number * self.days / count) for number in range(count + 1)]
        for first, end in pairwise(ends):
            yield [day for day in range(first, end) if self.has(day)]


@dataclass(frozen=True, slots=True, kw_only=True)
class Month:
    """What there was when a month was over."""

    number: int  # from 1
    files_ever: int
    in_ledger: int
    remembered: int
    ledger_bytes: int  # with its log
    tables: dict[str, int]  # bytes of the pages in use, by table or index
    history_bytes: int
    history_files: int
    history_dates: int
    restart: float  # seconds, until files can be claimed
    claim: float  # seconds, of 32 files
    peak_mib: float  # resident, since the beginning
    took: float  # seconds that the month took here


@dataclass(frozen=True, slots=True, kw_only=True)
class Books:
    """What was found in the end, by those who read the ledger and the history for people."""

    in_ledger: int
    in_history: int
    back: int  # in the ledger and in the history: they count once
    duplicates: int
    rows: int  # in production
    by_name: float  # seconds to find a file by its name in the history


# -- a life --------------------------------------------------------------------------------------


async def live(config: Config, plan: Plan, clock: Clock) -> list[Month]:
    """Let all days pass, and begin anew after each month; return what there was then."""
    found: list[Month] = []
    for number, days in enumerate(plan.months(), start=1):
        began = time.perf_counter()
        async with alive(config) as daemon:
            for day in days[:-1]:
                await _live_through(daemon, plan, day, clock)
            claim = await _live_through(daemon, plan, days[-1], clock, timed=True)
            if opened := await daemon.ledger.ask(incidents.all_open):
                raise MeasuringError(f"{opened[0].cause}: {opened[0].reason}")
            ever = sum(count.files for count in await daemon.ledger.ask(reports.counts))
            held = _held(config)
        restarts = [await _restart(config) for _ in range(_RESTARTS)]
        month = Month(
            number=number,
            files_ever=ever,
            claim=claim,
            restart=median(restarts),
            peak_mib=memory_mib(os.getpid(), "VmHWM"),
            took=time.perf_counter() - began,
            **held,
        )
        print(f"month {number}: {ever:,} files, {month.took:.0f} s", flush=True)
        found.append(month)
    return found


async def _live_through(
    daemon: Daemon, plan: Plan, day: int, clock: Clock, *, timed: bool = False
) -> float:
    """Let a day pass, and those to the next delivery.

    With `timed`, return the seconds that a claim of files takes.
    """
    clock.set_to(plan.start + day * _DAY + 6 * _HOUR)
    await _act_by_hand(daemon, plan, day)
    _deliver(plan, day)
    clock.go_on(60.0)
    await daemon.discover()
    await _hold(daemon, plan, day)
    claim = await _time_claims(daemon) if timed else 0.0
    await daemon.work_through(Stage.MANIFEST)
    clock.go_on(60.0)
    await daemon.register()
    await daemon.work_through(Stage.SHIP)
    await daemon.work_through(Stage.CLEANUP)
    clock.go_on(2 * QUIET_FOR)
    await daemon.fold()
    clock.set_to(plan.start + (day + plan.every) * _DAY + _HOUR)
    await daemon.pass_through_done()
    for _ in range(plan.turns):
        clock.go_on(5.0)
        await daemon.look_at_past()
    return claim


def _deliver(plan: Plan, day: int) -> None:
    for of_day, number in plan.delivered_on(day):
        path = plan.path(of_day, number)
        path.write_bytes(HEADER + f"{of_day};{number}\n".encode())


async def _hold(daemon: Daemon, plan: Plan, day: int) -> None:
    for number in (_HELD, _HELD_FOR_LONG):
        await _ask(daemon, FileRequest(action=Action.HOLD), plan.path(day, number))


async def _act_by_hand(daemon: Daemon, plan: Plan, day: int) -> None:
    """Release what was held for so long, and have a row looked for again of a file that is done."""
    release = FileRequest(action=Action.RELEASE)
    requeue = FileRequest(action=Action.REQUEUE, stage=Stage.LOAD)
    for request, number, ago in (
        (release, _HELD, _SHORT_HOLD),
        (release, _HELD_FOR_LONG, plan.long_hold),
        (requeue, _REQUEUED, plan.keep // 3),
    ):
        if plan.has(day - ago):
            await _ask(daemon, request, plan.path(day - ago, number))


async def _ask(daemon: Daemon, request: FileRequest, path: Path) -> None:
    (file,) = await daemon.ledger.ask(reports.matching, str(path))
    (answer,) = await carry_out(daemon.ledger, request, [file.id], time.time())
    if not answer.done:
        raise MeasuringError(f"{request.action} of {path}: {answer.text}")


async def _time_claims(daemon: Daemon) -> float:
    """Return the median time of claims, each of other files; give these back."""
    ledger, feeds, now = daemon.ledger, daemon.context.open_feeds(), time.time()
    times: list[float] = []
    claimed: list[FileRecord] = []
    while True:
        began = time.perf_counter()
        some = await ledger.claim(Stage.MANIFEST, _AT_ONCE, now, feeds)
        claimed += some
        if len(some) < _AT_ONCE:
            break
        times.append(time.perf_counter() - began)
    await ledger.move([moves.given_back(file, "claimed in vain", now, now) for file in claimed])
    return median(times)


async def _restart(config: Config) -> float:
    """Return the seconds until a ledger that was closed can give files to be worked on."""
    began = time.perf_counter()
    async with alive(config) as daemon:
        feeds = list(daemon.context.feeds)
        if await daemon.ledger.claim(Stage.MANIFEST, _AT_ONCE, time.time(), feeds):
            raise MeasuringError("files were left to be claimed at the end of a day")
        return time.perf_counter() - began


# -- what there is -------------------------------------------------------------------------------


def _held(config: Config) -> dict[str, Any]:
    """Return what is in the ledger and in the history."""
    history = config.warehouse.embedded_root / "history"
    sizes = [path.stat().st_size for path in history.glob("*/*.parquet")]
    with closing(sqlite3.connect(f"file:{config.ledger.path}?mode=ro", uri=True)) as ledger:
        (in_ledger,) = ledger.execute("SELECT count(*) FROM files").fetchone()
        (remembered,) = ledger.execute("SELECT count(*) FROM remembered").fetchone()
        pages = ledger.execute("SELECT name, sum(pgsize) FROM dbstat GROUP BY name").fetchall()
    log = config.ledger.path.with_name(f"{config.ledger.path.name}-wal")
    return {
        "in_ledger": in_ledger,
        "remembered": remembered,
        "ledger_bytes": config.ledger.path.stat().st_size + log.stat().st_size,
        "tables": dict(pages),
        "history_bytes": sum(sizes),
        "history_files": len(sizes),
        "history_dates": len(list(history.glob("*"))),
    }


# -- the books -----------------------------------------------------------------------------------


async def balance(config: Config, plan: Plan) -> Books:
    """Find each file that was ever made just once, and its row. Raises MeasuringError."""
    reader = LedgerReader(config.ledger.path)
    try:
        here = reader.ask(reports.select, reports.Wanted())
        past, back = await _past_files(config, reader)
        mark = reader.ask(places.place, Dependency.WAREHOUSE)
        by_name = await _find_by_name(config, plan, reader)
    finally:
        reader.close()
    files = [*here, *past]
    if len({file.id for file in files}) != len(files):
        raise MeasuringError("files are in the ledger or in the history more than once")
    made = (
        plan.path(*of) for days in plan.months() for day in days for of in plan.delivered_on(day)
    )
    _compare("files", Counter(file.path for file in files), Counter(map(str, made)))
    rows = await _rows(config, plan, mark)
    registered = {file.row_id for file in files if file.row_seen_at is not None}
    _compare("rows", rows, Counter(registered))
    return Books(
        in_ledger=len(here),
        in_history=len(past),
        back=back,
        duplicates=sum(file.duplicate_of is not None for file in files),
        rows=rows.total(),
        by_name=by_name,
    )


def _compare(what: str, found: Counter[Any], expected: Counter[Any]) -> None:
    missing, surplus = expected - found, found - expected
    if missing or surplus:
        raise MeasuringError(
            f"{what}: {missing.total()} are missing, as {[*missing][:3]};"
            f" {surplus.total()} too many, as {[*surplus][:3]}"
        )


async def _past_files(config: Config, reader: LedgerReader) -> tuple[list[FileRecord], int]:
    """Return the files of the history alone, and how many more are in the ledger too."""
    files: list[FileRecord] = []
    back = 0
    async for page in _pages(config, reader, Past()):
        mine = ours(config.warehouse, reader, page)
        files += [story.file for story in mine]
        back += len(page) - len(mine)
    return files, back


async def _pages(
    config: Config, reader: LedgerReader, past: Past
) -> AsyncIterator[Sequence[Story]]:
    history = open_past(config.warehouse, reader)
    if history is None:
        raise MeasuringError("there is no history")
    try:
        found = history.find(past)
        while page := await take(found):
            yield page
    finally:
        await history.aclose()


async def _find_by_name(config: Config, plan: Plan, reader: LedgerReader) -> float:
    """Return the seconds that it takes to look through the whole history for a file's name."""
    began = time.perf_counter()
    name = plan.path(plan.keep, _REQUEUED).name
    found = [story async for page in _pages(config, reader, Past(names=[name])) for story in page]
    if len(found) != 1:
        raise MeasuringError(f"{name} was found {len(found)} times in the history")
    return time.perf_counter() - began


async def _rows(config: Config, plan: Plan, mark: str | None) -> Counter[str | None]:
    """Return how many rows each id has in production."""
    starts = (plan.start + day * _DAY for day in range(plan.days))
    dates = [time.strftime("%Y-%m-%d", time.gmtime(start)) for start in starts]
    warehouse = open_warehouse(config.warehouse, mark=mark)
    try:
        return Counter([key.file_id async for key in warehouse.rows(dates)])
    finally:
        await warehouse.aclose()


async def _simulate(config: Config, plan: Plan) -> dict[str, Any]:
    clock = Clock()
    with clock.ruling():
        months = await live(config, plan, clock)
    books = await balance(config, plan)
    return {"months": [asdict(month) for month in months], "books": asdict(books)}


def main() -> None:
    """Simulate, and write what was seen. MeasuringError ends it with 1."""
    inbox, config_path, out = map(Path, sys.argv[1:4])
    files_a_day, days, every = map(int, sys.argv[4:7])
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.WARNING))
    config = load(config_path, environ={})
    plan = Plan(
        inbox=inbox,
        start=(time.time() // _DAY + 1) * _DAY,
        files_a_day=files_a_day,
        days=days,
        every=every,
        keep=int(config.ledger.keep // _DAY),
        remember=int(config.ledger.remember // _DAY),
    )
    out.write_text(json.dumps(asyncio.run(_simulate(config, plan))))


if __name__ == "__main__":
    main()
