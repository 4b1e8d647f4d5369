"""Ten feeds on one daemon, a small archive disk each, and senders that deliver at a steady pace."""

from __future__ import annotations

import contextlib
import itertools
import sqlite3
import statistics
import subprocess
import threading
import time
from collections import defaultdict
from contextlib import closing
from dataclasses import dataclass
from typing import TYPE_CHECKING

from support.daemon import PROGRAMS
from support.fault_site import Site
from support.verdicts import Book, Reader

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

NAMES = [f"c{number}" for number in range(10)]
FEEDS = f"""
[feeds.cdr]
customers = {NAMES}
directory = "{{directory}}/{{{{customer}}}}/cdr"
pattern = "*.csv*"
archive_directory = "{{{{customer}}}}/cdr"
"""
_MIB_OF_ARCHIVE = 96  # all that is shipped stays there, and a large file is to fit beside it
_PAUSE = 0.04  # seconds from one file to the next: about a tenth of what the daemon can do
_SETTLED = 60.0  # seconds


@dataclass(frozen=True)
class Pace:
    """How files came through in some time: seconds from arrival to the archive of each."""

    lags: Sequence[float]  # of all that came into the archive in that time
    delivered: int  # in the same time

    @property
    def p99(self) -> float:
        return statistics.quantiles(self.lags, n=100)[98] if len(self.lags) > 1 else 0.0

    @property
    def throughput(self) -> float:
        """Files that came through for each that was delivered."""
        return len(self.lags) / self.delivered if self.delivered else 0.0


class TenFeeds(Site):
    """`silent` feeds get no files just now."""

    def __init__(self, root: Path) -> None:
        super().__init__(root, feeds=FEEDS)
        self.book = Book()
        self.reader = Reader(self.places, self.book)
        self.silent: set[str] = set()
        self._numbers = itertools.count()
        self._arrivals: defaultdict[str, dict[str, float]] = defaultdict(dict)  # by feed and name
        for feed in NAMES:
            self.inbox_of(feed).mkdir(parents=True)
            self.archive_of(feed).mkdir(parents=True)

    def inbox_of(self, feed: str) -> Path:
        return self.places.feeds / feed / "cdr"

    def archive_of(self, feed: str) -> Path:
        return self.places.archive / feed / "cdr"

    @contextlib.contextmanager
    def disks(self) -> Iterator[None]:
        """Give each feed's archive directory a small disk of its own."""
        with contextlib.ExitStack() as stack:
            for feed in NAMES:
                place = str(self.archive_of(feed))
                options = f"size={_MIB_OF_ARCHIVE}m"
                command = ["mount", "-t", "tmpfs", "-o", options, "backupd-test", place]
                subprocess.run(command, check=True)
                stack.callback(subprocess.run, ["umount", "--lazy", place], check=True)
            yield

    def deliver(self, feed: str, name: str, data: bytes) -> None:  # type: ignore[override]
        """Deliver a file; what stood under its name is its sender's to lose."""
        path = self.inbox_of(feed) / name
        hidden = path.with_name(f".{name}")
        hidden.write_bytes(data)
        self.book.put(f"{feed}/cdr/{name}", data, b"" if name.endswith(".gz") else None)
        self._arrivals[feed][name] = time.time()
        hidden.rename(path)

    @contextlib.contextmanager
    def senders(self) -> Iterator[None]:
        """Deliver a file every so often, to one feed after the other."""
        stop = threading.Event()

        def send() -> None:
            for feed in itertools.cycle(NAMES):
                if stop.wait(_PAUSE):
                    return
                number = next(self._numbers)
                if feed not in self.silent:
                    self.deliver(feed, f"{number:06}.csv", b"%d;rows\n" % number * 100)

        thread = threading.Thread(target=send)
        thread.start()
        try:
            yield
        finally:
            stop.set()
            thread.join()

    def pace(self, feeds: Sequence[str], began: float, ended: float) -> Pace:
        """Return how files of these feeds came through in between (epoch seconds)."""
        lags, delivered = [], 0
        for feed in feeds:
            for name, at in list(self._arrivals[feed].items()):
                delivered += began <= at < ended
                shipped_at = self._shipped_at(feed, name)
                if shipped_at is not None and began <= shipped_at < ended:
                    lags.append(shipped_at - at)
        return Pace(lags, delivered)

    def _shipped_at(self, feed: str, name: str) -> float | None:
        """Return when it had its name in the archive; None while it has not."""
        with contextlib.suppress(OSError):
            return self.archive_of(feed).joinpath(f"{name}.gz").stat().st_ctime
        return None

    def incidents(self) -> list[tuple[str, bool]]:
        """Return `<kind> <cause>` of each incident so far, and whether it is open."""
        query = "SELECT kind || ' ' || cause, closed_at IS NULL FROM incidents ORDER BY opened_at"
        return [(str(told), bool(is_open)) for told, is_open in self._ask(query)]

    def parked(self, since: float) -> set[str]:
        """Return the feeds of which files were parked since then (epoch seconds)."""
        query = (
            "SELECT DISTINCT feed FROM files JOIN events ON events.file_id = files.id"
            " WHERE events.status = 'parked' AND events.at >= ?"
        )
        return {str(feed) for (feed,) in self._ask(query, since)}

    def settles(self) -> None:
        """Wait until nothing is under way any more and no incident is open."""
        self.until(self._is_settled, "all is done, no incident is open", _SETTLED)

    def _is_settled(self) -> bool:
        self._dismiss_parked()
        open_files = self._ask("SELECT 1 FROM files WHERE status <> 'done'")
        return not open_files and not any(is_open for _, is_open in self.incidents())

    def _dismiss_parked(self) -> None:
        """Close what is parked by now, as an operator does."""
        found = self._ask("SELECT id FROM files WHERE status = 'parked'")
        if ids := [str(file_id) for (file_id,) in found]:
            command = [str(PROGRAMS / "backupd-admin"), "--config", str(self.config), "dismiss"]
            subprocess.run([*command, *ids, "--why", "a fault of the campaign"], check=True)

    def _ask(self, query: str, *values: float) -> list[tuple[object, ...]]:
        with closing(sqlite3.connect(f"file:{self.places.ledger}?mode=ro", uri=True)) as ledger:
            return ledger.execute(query, values).fetchall()
