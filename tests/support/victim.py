"""A real `backupd run` to be killed from outside, and the moments at which to do it."""

from __future__ import annotations

import contextlib
import json
import sqlite3
import subprocess
import sys
import time
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

PROGRAM = Path(sys.executable).with_name("backupd")
LOOK_EVERY = 0.0005  # seconds: closer than any stage is short


@dataclass(frozen=True)
class Moment:
    """When to kill: `has_come` looks at the daemon from outside; then `delay` seconds later."""

    name: str
    has_come: Callable[[Victim], bool]
    delay: float = 0.0


class Victim:
    """One daemon after the other, on one config. Its journal is kept in `journal`."""

    def __init__(self, config: Path, ledger: Path, journal: Path) -> None:
        self.ledger = ledger
        self.journal = journal
        self._config = config
        self._process: subprocess.Popen[bytes] | None = None
        self._connection: sqlite3.Connection | None = None
        journal.touch()

    def start(self, *, once: bool = False) -> None:
        self._began = time.monotonic()
        self._told: Counter[str] = Counter()
        self._last_event = self._ask("SELECT max(seq) FROM events") or 0
        self._close()  # a reader that stays would spare the next daemon to recover the WAL
        command = [str(PROGRAM), "run", "--config", str(self._config), *["--once"] * once]
        with self.journal.open("ab") as journal:
            self._unread = journal.tell()
            self._process = subprocess.Popen(command, stderr=journal, stdout=journal)

    def reaches(self, moment: Moment, within: float) -> None:
        """Wait for a moment, `within` seconds at most."""
        assert self._process
        deadline = time.monotonic() + within
        while not moment.has_come(self):
            assert self._process.poll() is None, f"it ended by itself: {self.journal_end()}"
            assert time.monotonic() < deadline, f"no {moment.name}: {self.journal_end()}"
            time.sleep(LOOK_EVERY)
            self._read_journal()
        time.sleep(moment.delay)

    def kill(self) -> None:
        """SIGKILL, as `kill -9` does it. Ended already is no error."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None
        self._close()

    def ends(self, within: float) -> int:
        """Wait until it ends by itself; return its exit code."""
        assert self._process
        self._close()
        code = self._process.wait(within)
        self._process = None
        return code

    def what_ran(self) -> Counter[str]:
        """Count the files, by stage, that the last daemon was at work on when it was killed."""
        self._read_journal()
        if not self.told("started"):
            return Counter()  # what the ledger says is of the daemon before
        query = "SELECT stage, count(*) FROM files WHERE status = 'running' GROUP BY stage"
        with contextlib.closing(self._open()) as connection:
            return Counter(dict(connection.execute(query)))

    def journal_end(self) -> str:
        return self.journal.read_text()[-2_000:]

    # -- what moments look at --------------------------------------------------------------------

    @property
    def age(self) -> float:
        return time.monotonic() - self._began

    def told(self, event: str) -> int:
        """Return how often its journal has told an event."""
        return self._told[event]

    def new_events(self) -> int:
        """Return how many events stand in the ledger that it has written."""
        return self._ask("SELECT count(*) FROM events WHERE seq > ?", self._last_event)

    def new_claims(self, stage: str) -> int:
        """Return how many files it has begun to work on."""
        query = "SELECT count(*) FROM events WHERE seq > ? AND stage = ? AND status = 'running'"
        return self._ask(query, self._last_event, stage)

    def _ask(self, query: str, *values: object) -> int:
        if not self.ledger.exists():
            return 0
        if self._connection is None:
            self._connection = self._open()
        try:
            return int(self._connection.execute(query, values).fetchone()[0] or 0)
        except sqlite3.OperationalError:  # the first daemon is about to make its tables
            return 0

    def _open(self) -> sqlite3.Connection:
        return sqlite3.connect(f"file:{self.ledger}?mode=ro", uri=True)

    def _close(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def _read_journal(self) -> None:
        with self.journal.open("rb") as journal:
            journal.seek(self._unread)
            whole, newline, _ = journal.read().rpartition(b"\n")
        self._unread += len(whole + newline)
        for line in whole.splitlines():
            with contextlib.suppress(json.JSONDecodeError):
                self._told[json.loads(line)["event"]] += 1


def after(seconds: float) -> Moment:
    return Moment(f"{seconds:.2f} s after its start", lambda victim: victim.age >= seconds)


def after_telling(event: str) -> Moment:
    return Moment(f"after telling {event!r}", lambda victim: victim.told(event) > 0)


def after_events(number: int) -> Moment:
    return Moment(
        f"after {number} events in the ledger",
        lambda victim: bool(victim.told("started")) and victim.new_events() >= number,
    )


def after_claim(stage: str, delay: float = 0.0) -> Moment:
    return Moment(
        f"{delay * 1000:.0f} ms after beginning {stage}",
        lambda victim: bool(victim.told("started")) and victim.new_claims(stage) > 0,
        delay,
    )
