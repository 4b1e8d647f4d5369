"""One host under attack: feeds, ledger, warehouse, archive, and a real daemon on them."""

from __future__ import annotations

import contextlib
import signal
import sqlite3
import subprocess
import time
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from support.daemon import PROGRAMS, environment
from support.verdicts import Book, Places, Reader, files_below

if TYPE_CHECKING:
    import random
    from collections.abc import Callable, Mapping

CONFIG = """
[ledger]
url = "sqlite:///{places.ledger}"

[intake]
rescan_every = "1s"
settle_for = "{settle_for}"

[batch]
max_files = 50
max_wait = "100ms"

[retry]
first = "100ms"
cap = "1s"

[warehouse.embedded]
root = "{places.warehouse}"

[control]
socket = "{places.socket}"

[archive]
url = "{url}"
compression = "{compression}"
"""
KEYS = """
identity_file = "{server.identity}"
known_hosts_file = "{server.known_hosts}"
"""
ONE_FEED = """
[feeds.cdr]
customers = ["eLUX"]
directory = "{directory}/{{customer}}/cdr"
pattern = "*"
recursive = true
archive_directory = "{{customer}}/cdr"
"""
# Seconds after which a file is tried again that was being written to, or that was too large: the
# longest pause of the config, and its jitter. "stopped": a run ended while it tried such a file.
AGAIN = {"writer": 61.0, "room": 2.0, "stopped": 2.0}
PATIENCE = 60.0  # seconds for anything that must come about by itself


class Server(Protocol):
    """Whoever serves the archive by SFTP."""

    host: str
    port: int
    username: str
    identity: Path
    known_hosts: Path


class Site:
    """Everything of one daemon below `root`; a place that `moved` names is there instead.

    The `book` is to be told of all that is delivered.
    """

    def __init__(
        self, root: Path, *, feeds: str = ONE_FEED, moved: Mapping[str, Path] | None = None
    ) -> None:
        """`feeds` are sections of the config; `{directory}` in them is the feeds' directory."""
        self.root = root
        self.places = _places(root, moved or {})
        self.feed = self.places.feeds / "eLUX" / "cdr"  # of ONE_FEED
        self.book = Book(header_lines=0 if feeds is ONE_FEED else 1)
        self.reader = Reader(self.places, self.book)
        self.journal = root / "journal"
        self.config = root / "config.toml"
        self.environ: dict[str, str] = {}  # more of it, for the daemon
        self._feeds = feeds
        self._process: subprocess.Popen[bytes] | None = None
        for directory in (self.places.ledger.parent, self.places.socket.parent):
            directory.mkdir(parents=True, exist_ok=True)
        if feeds is ONE_FEED:
            self.feed.mkdir(parents=True)
        self.journal.touch()
        self.configure()

    def configure(
        self,
        server: Server | None = None,
        *,
        settle_for: str = "100ms",
        compression: str = "gzip",
        remote: str = "",
    ) -> None:
        """Write the config; the archive is a directory, reached through `server` if given.

        `remote` is what the server calls that directory, where it has a name of its own for it.
        """
        url, keys = f"file://{self.places.archive}", ""
        if server is not None:
            address = f"{server.username}@{server.host}:{server.port}"
            url, keys = (
                f"sftp://{address}{remote or self.places.archive}",
                KEYS.format(server=server),
            )
        text = CONFIG.format(
            places=self.places, url=url, settle_for=settle_for, compression=compression
        )
        self.config.write_text(text + keys + self._feeds.format(directory=self.places.feeds))

    # -- the daemon ------------------------------------------------------------------------------

    @property
    def pid(self) -> int:
        assert self._process, "no daemon was started"
        return self._process.pid

    def is_running(self) -> bool:
        return self._process is not None and self._process.poll() is None

    def start(self) -> None:
        """Start `backupd run`; return once it is ready, or ended at once."""
        self._began_at = self.journal.stat().st_size
        self._process = self._run()
        self.until(lambda: self.told("ready") or not self.is_running(), "the daemon is ready")

    def carrier(self) -> int | None:
        """Return the pid of the daemon's second process; None while there is none."""
        children = Path(f"/proc/{self.pid}/task/{self.pid}/children")
        with contextlib.suppress(FileNotFoundError, ProcessLookupError):
            for child in children.read_text().split():
                if b"carrier" in Path(f"/proc/{child}/cmdline").read_bytes():
                    return int(child)
        return None

    def kill(self) -> None:
        """SIGKILL. Ended already is no error."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None

    def stop(self) -> None:
        """SIGTERM, and wait until it ended."""
        if self.is_running():
            self._process.send_signal(signal.SIGTERM)  # type: ignore[union-attr]  # it is running
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._process.wait(PATIENCE)  # type: ignore[union-attr]  # it is running
        self.kill()

    def finish(self, within: float = 10 * PATIENCE) -> None:
        """Let it do in peace what is left to be done: `backupd run --once`.

        Once more for files that a run leaves to the next: somebody was found writing to them, or
        the archive had no room for them just then.
        """
        self.stop()
        for _ in range(3):
            self._process = self._run("--once")
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._process.wait(within)
            self.stop()
            awaited = {AGAIN[each] for each in self._awaited() if each in AGAIN}
            if not awaited:
                break
            time.sleep(max(awaited))

    def _awaited(self) -> set[str]:
        """Return what files wait for, beside their time."""
        if not self.places.ledger.exists():
            return set()  # it refused its config: it has never begun
        url = f"file:{self.places.ledger}?mode=ro&immutable=1"  # nothing is left beside it
        with contextlib.closing(sqlite3.connect(url, uri=True)) as ledger:
            query = (
                "SELECT DISTINCT iif(reason LIKE 'stopped before%', 'stopped', awaits)"
                " FROM files WHERE status = 'waiting'"
            )
            return {str(awaits) for (awaits,) in ledger.execute(query)}

    def _run(self, *arguments: str) -> subprocess.Popen[bytes]:
        command = [str(PROGRAMS / "backupd"), "run", "--config", str(self.config), *arguments]
        with self.journal.open("ab") as journal:
            return subprocess.Popen(
                command, stdout=journal, stderr=journal, env=environment(self.environ)
            )

    # -- what is seen of it ----------------------------------------------------------------------

    def told(self, event: str) -> bool:
        """Return whether the daemon that was started last has told this event."""
        with self.journal.open("rb") as journal:
            journal.seek(self._began_at)
            return f'"event": "{event}"'.encode() in journal.read()

    def has_done(self) -> bool:
        """Return whether nothing is left in the feeds but what is to stay there."""
        stay = self.book.untouched | set(self.book.refused)
        return files_below(self.places.feeds) <= stay

    def until(self, true: Callable[[], object], what: str, within: float = PATIENCE) -> None:
        """Wait for a condition; AssertionError that names it where it does not come true."""
        deadline = time.monotonic() + within
        while not true():
            assert time.monotonic() < deadline, f"not within {within:.0f} s: {what}; {self.root}"
            time.sleep(0.02)

    def does_all(self, within: float = PATIENCE) -> None:
        """Wait until it has done all; what it leaves undone is for the reader to find."""
        with contextlib.suppress(AssertionError):
            self.until(self.has_done, "all is done", within)

    # -- deliveries ------------------------------------------------------------------------------

    def deliver(self, name: str, data: bytes, text: bytes | None = None) -> None:
        """Deliver into the one feed as platforms do: a hidden name, then a rename.

        `text` is what is in it, where it is compressed. What stood there is the sender's to lose.
        """
        path = self.feed / name
        path.parent.mkdir(parents=True, exist_ok=True)
        hidden = path.with_name(f".{hash(name):x}")
        hidden.write_bytes(data)
        self.book.put(f"eLUX/cdr/{name}", data, text)
        hidden.rename(path)


def records(rng: random.Random, most: int = 8_000) -> bytes:
    """Return a text of CDR-like lines, at most about so many bytes, no two alike."""
    digits = rng.randbytes(rng.randint(16, most // 2)).hex()
    return "".join(f"{digits[at : at + 60]}\n" for at in range(0, len(digits), 60)).encode()


def _places(root: Path, moved: Mapping[str, Path]) -> Places:
    return Places(
        feeds=moved.get("feeds", root / "feeds"),
        archive=moved.get("archive", root / "archive"),
        warehouse=moved.get("warehouse", root / "warehouse"),
        ledger=moved.get("ledger", root / "ledger") / "ledger.db",
        socket=root / "run" / "control.sock",
    )
