"""A ledger with a million done files, and more that left: what that costs those that come after."""

from __future__ import annotations

import asyncio
import secrets
import sqlite3
import time
from contextlib import closing
from dataclasses import dataclass
from itertools import count
from statistics import median
from typing import TYPE_CHECKING

from backupd.config import load
from backupd.core import moves
from backupd.core.records import Identity, Result, Sighting
from backupd.core.rows import row_id
from backupd.core.stages import Stage
from backupd.ledger import Ledger
from bench import corpus, daemon, ledger_bytes, watching
from bench.process import MeasuringError, memory_mib
from bench.report import Figure

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    from backupd.core.records import Feed, FileRecord, Move
    from bench.daemon import Site

_AT_ONCE = 32  # as many as the ship lane has places
_BATCH = 500  # the default of batch.max_files
_RESTARTS = 3
_LIE_THERE = 2_000  # files, in the directories


def measure(directory: Path, *, quick: bool, whole: bool = False) -> list[Figure]:
    """Compare a ledger with a handful of done files with one that has, and remembers, many more.

    A million done ones, and as many remembered; ten times as many with `whole`.
    """
    million, rounds = (20_000, 20) if quick else (1_000_000, 100)
    inbox, numbers = directory / "inbox", count(len(corpus.FEEDS))
    where = directory / "state", inbox, directory / "archive"
    site = daemon.site(*where)
    corpus.make(inbox, len(corpus.FEEDS), 1024)
    daemon.run_once(site)
    ledger_bytes.fold(site)
    site = daemon.site(*where, **watching.ONLY_FOUND)
    with watching.watched(site, inbox, numbers) as watch:
        watch.bring(_LIE_THERE)
    before, restart_before = _costs(site, inbox, numbers, rounds), _restart(site)
    began = time.perf_counter()
    multiply(site.ledger, million)
    remembered = million * (10 if whole else 1)
    remembering = remember(site.ledger, remembered)
    made_in = time.perf_counter() - began
    size = site.ledger.stat().st_size / 1e9
    after, restart = _costs(site, inbox, numbers, rounds), _restart(site)
    case = f"ledger, {million:,} done, {remembered:,} remembered"
    return [
        *_compared(case, before, after, rounds),
        Figure(
            case=case,
            name="start to ready",
            value=restart.seconds,
            unit="s",
            at_most=10,
            note=f"{restart_before.seconds:.2f} s with none done;"
            f" {size:.1f} GB, made in {made_in:.0f} s",
        ),
        Figure(
            case=case,
            name="resident, more than with none done",
            value=restart.mib - restart_before.mib,
            unit="MiB",
            at_most=20,
            note=f"{restart.mib:.0f} MiB when ready",
        ),
        Figure(
            case=case,
            name="a remembered file",
            value=remembering,
            unit="B",
            at_most=60,
            note="in pages of its table, filled in random order",
        ),
    ]


def _compared(
    case: str, before: Mapping[str, float], after: Mapping[str, float], rounds: int
) -> Iterator[Figure]:
    for name, seconds in after.items():
        yield Figure(
            case=case,
            name=name,
            value=seconds * 1000,
            unit="ms",
            note=f"median of {rounds}; {before[name] * 1000:.2f} ms with none done",
        )
        yield Figure(
            case=case,
            name="the same with none done",
            value=seconds / before[name],
            unit="x",
            at_most=1.25,
        )


def remember(ledger: Path, files: int) -> float:
    """Have a ledger remember so many files that left; return the bytes that each takes.

    No daemon may run.
    """
    lot = files // _LEAVING
    with closing(sqlite3.connect(ledger, isolation_level=None)) as connection:
        connection.execute("PRAGMA journal_mode = OFF")
        connection.execute("PRAGMA synchronous = OFF")
        connection.execute("PRAGMA cache_size = -1000000")
        for _ in range(_LEAVING):
            # Each lot sorted: what leaves together is written so, and falls between the others.
            connection.execute(
                "WITH RECURSIVE numbers(n) AS"
                f" (SELECT 0 UNION ALL SELECT n + 1 FROM numbers WHERE n + 1 < {lot:d})"
                " INSERT INTO remembered"
                " SELECT randomblob(16), 20000 + n % 400 FROM numbers ORDER BY 1"
            )
        query = "SELECT sum(pgsize) FROM dbstat WHERE name = 'remembered'"
        return float(connection.execute(query).fetchone()[0]) / (lot * _LEAVING)


_LEAVING = 50  # lots


def multiply(ledger: Path, files: int) -> None:
    """Put copies of a done file into a ledger, with all its history, as if long ago.

    No daemon may run. The ledger holds at least one done file, whose name ends in `_000000.csv`.
    """
    with closing(sqlite3.connect(ledger, isolation_level=None)) as connection:
        # Nothing of this has to survive a crash.
        connection.execute("PRAGMA journal_mode = OFF")
        connection.execute("PRAGMA synchronous = OFF")
        copies = _Copies(connection, files)
        copies.of("files", "id")
        copies.of("receipts", "file_id")
        copies.of("events", "file_id")
        copies.of("stories", "file_id")
        copies.of_batches()


@dataclass(slots=True)
class _Copies:
    """Statements that copy all the rows of one done file, each copy with ids and a name of its own.

    They take the columns from the ledger as it is, so that they follow its schema.
    """

    connection: sqlite3.Connection
    files: int

    def of(self, table: str, key: str) -> None:
        """Copy the file's rows of a table, by the column that holds its id."""
        columns = [name for name in self._columns(table) if name != "seq"]
        values = ", ".join(_copied(name, key) for name in columns)
        self._run(
            f"INSERT INTO {table} ({', '.join(columns)}) SELECT {values}"
            f" FROM numbers CROSS JOIN {table} WHERE {table}.{key} = ({_TEMPLATE})",
            self.files,
        )

    def of_batches(self) -> None:
        """Copy the file's batch, for every so many copies of the file."""
        columns = self._columns("batches")
        values = ", ".join(_BATCH_ID.format("n") if name == "id" else name for name in columns)
        self._run(
            f"INSERT INTO batches ({', '.join(columns)}) SELECT {values}"
            " FROM numbers CROSS JOIN (SELECT * FROM batches LIMIT 1)",
            -(-self.files // _BATCH),
        )
        self._run(
            "INSERT INTO batch_members (batch_id, position, file_id)"
            f" SELECT {_BATCH_ID.format(f'n / {_BATCH}')}, n % {_BATCH}, {_FILE_ID} FROM numbers",
            self.files,
        )

    def _columns(self, table: str) -> list[str]:
        return [row[1] for row in self.connection.execute(f"PRAGMA table_info({table})")]

    def _run(self, statement: str, rows: int) -> None:
        numbers = (
            "WITH RECURSIVE numbers(n) AS"
            f" (SELECT 0 UNION ALL SELECT n + 1 FROM numbers WHERE n + 1 < {rows:d}) "
        )
        self.connection.execute(numbers + statement)


# Ids sort by time: these are older than all that the daemon gives.
_FILE_ID = "printf('%011x%09x', n, n)"
_BATCH_ID = "printf('%011x%09x', {0}, 0)"
_TEMPLATE = "SELECT id FROM files WHERE CAST(relative_path AS TEXT) LIKE '%_000000.csv'"
_NAMED = ("path", "relative_path", "file_name")
_TOLD = ("archive_name", "detail")


def _copied(column: str, key: str) -> str:
    """Return the expression for a column of a copy."""
    if column in (key, "row_id"):
        return _FILE_ID
    if column == "batch_id":
        return _BATCH_ID.format(f"n / {_BATCH}")
    renamed = f"replace(CAST({column} AS TEXT), '_000000.csv', printf('_%07d.csv', n))"
    if column in _NAMED:
        return f"CAST({renamed} AS BLOB)"
    return renamed if column in _TOLD else column


@dataclass(frozen=True, slots=True, kw_only=True)
class _Start:
    seconds: float  # until it was ready
    mib: float  # resident then


def _restart(site: Site) -> _Start:
    starts = [_start(site) for _ in range(_RESTARTS)]
    return _Start(
        seconds=median(each.seconds for each in starts), mib=median(each.mib for each in starts)
    )


def _start(site: Site) -> _Start:
    began = time.perf_counter()
    with daemon.running(site) as process:
        return _Start(seconds=time.perf_counter() - began, mib=memory_mib(process.pid))


def _costs(site: Site, inbox: Path, numbers: Iterator[int], rounds: int) -> dict[str, float]:
    """Return the median seconds of what a daemon does again and again."""
    costs = asyncio.run(_ledger_costs(site, rounds))
    costs[f"rescan {_LIE_THERE:,} files"] = asyncio.run(watching.time_rescans(site, rounds))
    with watching.watched(site, inbox, numbers) as watch:
        times = [watch.time_to_row(watching.rename_there) for _ in range(rounds)]
    return costs | {"detect a file": median(times)}


async def _ledger_costs(site: Site, rounds: int) -> dict[str, float]:
    """Return the median seconds of what is done with some files at a time."""
    feed = load(site.config, environ={}).feeds[0]
    ledger = Ledger(site.ledger)
    try:
        now = time.time()
        await ledger.see([_sighting(feed, n, now) for n in range(rounds * _AT_ONCE)])
        times = [await _time_round(ledger, feed, now) for _ in range(rounds)]
        return {name: median(each[name] for each in times) for name in times[0]}
    finally:
        await ledger.close()


async def _time_round(ledger: Ledger, feed: Feed, now: float) -> dict[str, float]:
    began = time.perf_counter()
    claimed = await ledger.claim(Stage.SETTLE, _AT_ONCE, now, [feed.name])
    finished = Result(changes={}, detail="complete")
    moved = await ledger.move([moves.advance(file, finished, now) for file in claimed])
    moved_at = time.perf_counter()
    running = await ledger.claim(Stage.MANIFEST, _AT_ONCE, now, [feed.name])
    registered = await ledger.manifest_done([_read(file, now) for file in running])
    read_at = time.perf_counter()
    await ledger.known([f"{feed.directory}/{secrets.token_hex(8)}.csv" for _ in claimed])
    known_at = time.perf_counter()
    if moved != [True] * _AT_ONCE or registered != moved:
        raise MeasuringError(f"of {_AT_ONCE} files, {sum(moved)} were claimed and moved")
    return {
        f"claim and move {_AT_ONCE} files": moved_at - began,
        f"claim and register {_AT_ONCE} files": read_at - moved_at,
        f"look up paths of {_AT_ONCE} files": known_at - read_at,
    }


def _read(file: FileRecord, now: float) -> Move:
    sha256 = secrets.token_hex(32)
    changes = {
        "sha256": sha256,
        "row_id": row_id(file, sha256),
        "size_bytes": 1,
        "record_count": 1,
        "file_timestamp": now,
        "archive_name": f"{file.relative_path}.gz",
    }
    return moves.advance(file, Result(changes=changes, detail="1 records, 1 bytes"), now)


def _sighting(feed: Feed, number: int, now: float) -> Sighting:
    name = f"{feed.customer}_{now:.6f}_{number}.csv"
    return Sighting(
        feed=feed,
        path=f"{feed.directory}/{name}",
        relative_path=name,
        identity=Identity(dev=1, ino=number, size=0, mtime_ns=0, ctime_ns=0),
        companion_path=None,
        seen_at=now,
    )
