"""Hosts with a daemon and a ledger each, that share their tables in a real Hive."""

from __future__ import annotations

import contextlib
import gzip
import hashlib
import os
import sqlite3
import sys
import time
from collections import Counter
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from backupd.config.sample import toml
from support.daemon import Host
from support.hadoop_tables import new_table, run
from support.hives import DATABASE
from support.verdicts import files_below

if TYPE_CHECKING:
    import random
    from collections.abc import Sequence

    from backupd.config.sections import HiveSection
    from support.daemon import Daemon
    from support.hadoop import Hadoop

_ON_ANOTHER_HOST = Path(__file__).with_name("on_another_host.py")
_LEDGER = ("ledger.db", "ledger.db-wal", "ledger.db-shm", "ledger.db.lock")
_IN_THE_END = 1800.0  # seconds for all that is left to be done
_LOOK_EVERY = 0.5  # seconds


@dataclass(frozen=True, kw_only=True)
class Delivered:
    """A file as its sender wrote it, and to which host."""

    host: str
    name: str
    data: bytes

    @property
    def sha256(self) -> str:
        return hashlib.sha256(self.data).hexdigest()

    @property
    def row(self) -> tuple[object, ...]:
        """Its name, SHA-256, bytes and records, as the tables have them."""
        return self.name, self.sha256, len(self.data), self.data.count(b"\n") - 1


class Edge(Host):
    """One host of the fleet. Its daemon is started and killed by hand; close it in the end."""

    def __init__(self, root: Path, name: str, changes: dict[str, str], *, apart: bool) -> None:
        """`apart`: it sees no claims of others, nor they its own, as on another machine."""
        root.mkdir(parents=True)
        super().__init__(root, changes)
        self.name = name
        rename = ["unshare", "--uts", *["--map-root-user"] * (os.geteuid() != 0)]
        called = ["sh", "-c", 'hostname "$0" && exec "$@"', name]
        alone = [sys.executable, "-P", str(_ON_ANOTHER_HOST), name] if apart else []
        self._launcher = [*rename, *called, *alone]
        self._stack = ExitStack()
        self._daemon: Daemon | None = None
        self._starts = 0

    def start(self) -> None:
        """Start the daemon; return once it is ready. The logs of earlier ones stay."""
        if self._starts:
            (self.root / "log").rename(self.root / f"log.{self._starts}")
        self._starts += 1
        self._daemon = self._stack.enter_context(self.daemon(*self._launcher))

    def kill(self) -> None:
        """SIGKILL."""
        self._stack.close()

    def stop(self) -> int:
        """SIGTERM; return its exit code."""
        assert self._daemon
        return self._daemon.stop()

    def unfinished(self) -> int:
        """Return how many files the ledger holds that are not parked, done ones too."""
        url = f"file:{self.root}/ledger.db?mode=ro"
        with contextlib.closing(sqlite3.connect(url, uri=True)) as ledger:
            query = "SELECT count(*) FROM files WHERE status != 'parked'"
            (number,) = ledger.execute(query).fetchone()
        return int(number)

    def lose_ledger(self) -> dict[str, str]:
        """Throw the ledger away while no daemon runs; return the stage of each file in it."""
        aside = self.root / "thrown"
        aside.mkdir()
        for name in _LEDGER:
            with contextlib.suppress(FileNotFoundError):
                (self.root / name).rename(aside / name)
        with contextlib.closing(sqlite3.connect(aside / "ledger.db")) as ledger:
            found = ledger.execute("SELECT path, stage FROM files").fetchall()
        return {Path(os.fsdecode(path)).name: stage for path, stage in found}


class Fleet:
    """All of it. What goes wrong is for the test to find; this only works and looks."""

    def __init__(
        self, root: Path, hadoop: Hadoop, names: Sequence[str], *, shared_feed: bool = False
    ) -> None:
        """With `shared_feed` all hosts have one directory, as by NFS."""
        section = new_table(hadoop).hive
        assert section
        self._hadoop = hadoop
        self.production = f"{DATABASE}.{section.production_table}"
        self.history = f"{DATABASE}.{section.history_table}"
        self.archive = root / "archive"
        self.staging = {name: section.staging.url.path + f"/{name}" for name in names}
        self.delivered: list[Delivered] = []
        changes = _changes(hadoop, section) | {"archive.url": toml(f"file://{self.archive}")}
        if shared_feed:
            (root / "in" / "a").mkdir(parents=True)
            changes["feeds.traffic.directory"] = toml(f"{root}/in/{{customer}}")
        self.edges: list[Edge] = []
        for name in names:
            own = {"warehouse.hive.staging_url": toml(f"{section.staging.url.text}/{name}")}
            self.edges.append(Edge(root / name, name, changes | own, apart=shared_feed))
        inboxes = [edge.inbox for edge in self.edges]
        self._inboxes = [root / "in" / "a"] if shared_feed else inboxes

    def close(self) -> None:
        """Kill what runs."""
        for edge in self.edges:
            edge.kill()

    def deliver(self, count: int, rng: random.Random) -> None:
        """Deliver some more files to each host in turn, whole at once, as platforms do."""
        for number in range(len(self.delivered), len(self.delivered) + count):
            turn = number % len(self._inboxes)
            day = f"202611{20 + number % 3:02}"
            name = f"a_{day}120000_{number:06}.csv"
            lines = rng.randbytes(rng.randint(20, 2_000)).hex("\n", 30)
            data = f"A;B\n{lines}\n{number}\n".encode()
            hidden = self._inboxes[turn] / f".{name}"
            hidden.write_bytes(data)
            self.delivered.append(Delivered(host=self.edges[turn].name, name=name, data=data))
            hidden.rename(self._inboxes[turn] / name)

    def until_all_is_done(self) -> None:
        """Wait until nothing is left in the feeds, and in the ledgers only what is parked."""
        deadline = time.monotonic() + _IN_THE_END
        while self.local() or any(edge.unfinished() for edge in self.edges):
            assert time.monotonic() < deadline, self._standing()
            time.sleep(_LOOK_EVERY)

    def _standing(self) -> str:
        counts = {each.name: Counter(each.standing().values()) for each in self.edges}
        return f"{counts}, {len(self.local())} files in the feeds"

    # -- what is where, by other readers ---------------------------------------------------------

    def local(self) -> set[str]:
        """Return all that stands in the feeds, hidden files too."""
        return set().union(*map(files_below, self._inboxes))

    def rows(self) -> Counter[tuple[Any, ...]]:
        """Return what stands in the production table, as `Delivered.row` has it."""
        return Counter(self._all(self.production, "file_name, sha256, size_bytes, record_count"))

    def row_ids(self) -> Counter[str]:
        """Return how often each id stands there."""
        return Counter(file_id for (file_id,) in self._all(self.production, "file_id"))

    def copies(self) -> dict[str, bytes]:
        """Return the content of each copy in the archive, by its name."""
        names = (name for name in files_below(self.archive) if not name.startswith(".backupd"))
        return {name: gzip.decompress((self.archive / name).read_bytes()) for name in names}

    def stories(self) -> Counter[tuple[Any, ...]]:
        """Return host, file name, SHA-256, status and archive name of each story in the history."""
        columns = "host, file_name, sha256, status, receipt.archive_name"
        return Counter(self._all(self.history, columns))

    def _all(self, table: str, columns: str) -> list[tuple[Any, ...]]:
        return run(self._hadoop, f"SELECT {columns} FROM {table}")  # noqa: S608 -- tables of ours

    def staged(self) -> list[str]:
        """Return what is staged in the batch folders, which stay for a while when all was moved."""
        return [name for folder in self.staging.values() for name in self._hadoop.staged(folder)]


def _changes(hadoop: Hadoop, section: HiveSection) -> dict[str, str]:
    """Return what the configs of all hosts have in common."""
    keys = hadoop.config_keys() | {
        "database": DATABASE,
        "production_table": section.production_table,
        "history_table": section.history_table,
        "statement_timeout": "60s",
    }
    return _QUICK | {f"warehouse.hive.{key}": toml(value) for key, value in keys.items()}


_QUICK = {
    "ledger.keep": '"1s"',
    "batch.max_wait": '"1s"',
    "retry.first": '"100ms"',
    "retry.cap": '"1s"',
    "retry.attempts": "8",
    "warehouse.kind": '"hive"',
    "feeds.traffic.timestamp_regex": r"'_(\d{14})'",
    "feeds.traffic.timestamp_format": '"%Y%m%d%H%M%S"',
    "feeds.traffic.customers": '["a"]',
}
