"""One host as a user sees it: feed directories, a config, and the real commands run on them."""

from __future__ import annotations

import contextlib
import fcntl
import gzip
import json
import os
import pty
import re
import signal
import struct
import subprocess
import sys
import termios
import time
from pathlib import Path
from tempfile import TemporaryFile
from typing import TYPE_CHECKING, Any

import pytest
from pyarrow import parquet as pq

from backupd.ledger import LedgerReader, reports
from support import configs
from support.admin import admin
from support.prepared import start

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from backupd.core.records import FileRecord
    from support.prepared import Program
    from support.sshd import SshServer

_STDOUT = 1  # of the tests, which a daemon shares
PATIENCE = 30.0  # seconds until a condition that does not come true fails its test
PROGRAMS = Path(sys.executable).parent
OURS = ("ENV_MODE", "BACKUPD_CONFIG")  # variables that mean something to the commands

QUICK: configs.Changes = {
    "warehouse.embedded.root": '"TMP/warehouse"',
    "control.socket": '"TMP/control.sock"',
    "intake.settle_for": '"50ms"',
    "batch.max_wait": '"100ms"',
    "retry.first": '"20ms"',
    "retry.cap": '"50ms"',
    "retry.attempts": "3",
    "feeds.traffic.pattern": '"*.csv*"',
    "feeds.traffic.header_lines": "1",
    "feeds.traffic.archive_directory": '"{customer}"',
}


def until(true: Callable[[], object], told: Callable[[], str], within: float = PATIENCE) -> None:
    """Wait until a condition is true; fail the test with what is `told` when it never is."""
    deadline = time.monotonic() + within
    while not true():
        if time.monotonic() > deadline:
            pytest.fail(f"never came true: {told()}")
        time.sleep(0.01)


class Host:
    """Everything of one daemon below `root`; deliveries go to the feed `traffic/a`."""

    def __init__(self, root: Path, changes: Mapping[str, str | None] | None = None) -> None:
        self.root = root
        self.inbox = root / "in" / "a"
        self.archive = root / "archive"
        self.configure(changes or {})

    def configure(self, changes: Mapping[str, str | None]) -> None:
        """Write the config anew; the keys are those of `support.configs`."""
        self.config = configs.write(self.root, QUICK | dict(changes))

    def deliver(self, name: str | bytes, content: bytes = b"A;B\n1;2\n") -> Path:
        """Put a whole file into the feed's directory."""
        path = self.inbox / os.fsdecode(name)
        path.write_bytes(content)
        return path

    def deliver_to_other(self, name: str) -> Path:
        """Put a small file into the second feed's directory."""
        path = self.root / "in" / "b" / name
        path.write_bytes(b"A;B\n1;2\n")
        return path

    # -- commands --------------------------------------------------------------------------------

    def backupd(self, *arguments: str, **environ: str) -> subprocess.CompletedProcess[str]:
        """Run `backupd` to its end, with variables added to the environment."""
        return _run("backupd", [*arguments, "--config", str(self.config)], environ)

    def once(self, **environ: str) -> subprocess.CompletedProcess[str]:
        """Run `backupd run --once`."""
        return self.backupd("run", "--once", **environ)

    def admin(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Run `backupd-admin`."""
        return _run("backupd-admin", ["--config", str(self.config), *arguments], {})

    def ask(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Run `backupd-admin` in this process, which spares the start of another."""
        shown = admin(self.config, *arguments, env=dict.fromkeys(OURS))
        return subprocess.CompletedProcess(arguments, shown.exit_code, shown.stdout, shown.stderr)

    def start_admin(self, *arguments: str) -> subprocess.Popen[bytes]:
        """Start `backupd-admin`, whose end is not waited for."""
        command = [str(PROGRAMS / "backupd-admin"), "--config", str(self.config), *arguments]
        return subprocess.Popen(command, stdout=subprocess.DEVNULL, env=environment({}))

    def shown_incidents(self, *options: str) -> list[dict[str, Any]]:
        """Return the open incidents, as `backupd-admin incidents --json` has them."""
        shown = self.ask("incidents", "--json", *options).stdout
        return [json.loads(line) for line in shown.splitlines()]

    @contextlib.contextmanager
    def daemon(self, *launcher: str, once: bool = False) -> Iterator[Daemon]:
        """Run `backupd run`, by a launcher, while the block lasts; ready from its start."""
        program, arguments = str(PROGRAMS / "backupd"), ["--once"] if once else []
        command = [*launcher, program, "run", *arguments, "--config", str(self.config)]
        log = self.root / "log"
        with log.open("wb") as stderr:
            process = _begun(command, {}, _STDOUT, stderr.fileno(), prepared=not launcher)
        daemon = Daemon(process, log)
        try:
            daemon.tells("ready")
            yield daemon
        finally:
            process.kill()
            process.wait()

    # -- what became of it -----------------------------------------------------------------------

    def files(self) -> list[FileRecord]:
        """Return all files that the ledger knows, as they were first seen."""
        reader = LedgerReader(self.root / "ledger.db")
        try:
            return reader.ask(reports.select, reports.Wanted())
        finally:
            reader.close()

    def standing(self) -> dict[str, str]:
        """Return `<stage> <status>` by file name; the last file of a name counts."""
        return {file.file_name: f"{file.stage} {file.status}" for file in self.files()}

    def reason(self, name: str) -> str:
        """Return why the last file of this name waits or is parked."""
        return [file.reason for file in self.files() if file.file_name == name][-1]

    def rows(self) -> list[dict[str, Any]]:
        """Return the production table's rows, by file name."""
        rows: list[dict[str, Any]] = []
        for path in (self.root / "warehouse" / "production").rglob("*.parquet"):
            with pq.ParquetFile(path) as file:
                rows += file.read().to_pylist()
        return sorted(rows, key=lambda row: str(row["file_name"]))

    def archived(self) -> dict[str, bytes]:
        """Return the text of each file in the archive, by its path there."""
        return {
            str(path.relative_to(self.archive)): gzip.decompress(path.read_bytes())
            for path in self.archive.rglob("*")
            if path.is_file() and path.name != ".backupd-id"
        }

    def local(self) -> set[str]:
        """Return the names in the feed's directory."""
        return {path.name for path in self.inbox.iterdir()}


class Daemon:
    """A running `backupd run`."""

    def __init__(self, process: Program, log: Path) -> None:
        self.process = process
        self._log = log

    def told(self) -> list[dict[str, Any]]:
        """Return its log so far."""
        return log_of(self._log.read_text())

    def tells(self, event: str, within: float = PATIENCE, **fields: object) -> dict[str, Any]:
        """Wait until it has told this event with these fields; return the first such line."""
        wanted = {"event": event, **fields}.items()

        def found() -> list[dict[str, Any]]:
            return [line for line in self.told() if wanted <= line.items()]

        until(lambda: found() or self.process.poll() is not None, self._log.read_text, within)
        assert found(), f"it ended without telling {event!r}: {self._log.read_text()}"
        return found()[0]

    def threads(self) -> int:
        """Count its threads."""
        return len(list(Path(f"/proc/{self.process.pid}/task").iterdir()))

    def signal(self, number: signal.Signals) -> None:
        """Send it a signal."""
        self.process.send_signal(number)

    def stop(self) -> int:
        """Send SIGTERM; return its exit code."""
        self.signal(signal.SIGTERM)
        return self.process.wait(PATIENCE)


def over_sftp(server: SshServer, archive: Path) -> dict[str, str]:
    """Return the changes to a config that put the archive behind a server."""
    address = f"{server.username}@{server.host}:{server.port}"
    return {
        "archive.url": f'"sftp://{address}{archive}"',
        "archive.identity_file": f'"{server.identity}"',
        "archive.known_hosts_file": f'"{server.known_hosts}"',
    }


def log_of(stderr: str) -> list[dict[str, Any]]:
    """Return the log lines; each must be whole JSON."""
    whole, _, _ = stderr.rpartition("\n")
    return [json.loads(line) for line in whole.splitlines()]


def environment(environ: Mapping[str, str]) -> dict[str, str]:
    """Return this process's environment with nothing in it that means something to backupd."""
    kept = {name: value for name, value in os.environ.items() if name not in OURS}
    return kept | dict(environ)


def on_a_terminal(
    command: list[str], columns: int = 100, environ: Mapping[str, str] | None = None
) -> tuple[int, str]:
    """Run one of our programs on a terminal; return its exit code and the text it showed.

    The sequences that move the cursor and colour are left out: what is redrawn is there each time.
    """
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("4H", 50, columns, 0, 0))
    variables = environment({"TERM": "xterm", **(environ or {})})
    process = subprocess.Popen(
        [PROGRAMS / command[0], *command[1:]], stdout=theirs, stderr=theirs, env=variables
    )
    os.close(theirs)
    shown = _read_all(ours).decode()
    return process.wait(PATIENCE), re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", shown)


def _read_all(terminal: int) -> bytes:
    """Read until all others have closed it."""
    data = b""
    with contextlib.suppress(OSError):  # EIO: the other end is closed
        while block := os.read(terminal, 65536):
            data += block
    os.close(terminal)
    return data


def _begun(
    command: list[str], environ: Mapping[str, str], stdout: int, stderr: int, *, prepared: bool
) -> Program:
    variables = environment(environ)
    if prepared:
        return start(command, variables, stdout, stderr)
    return subprocess.Popen(command, stdout=stdout, stderr=stderr, env=variables)


def _run(
    program: str, arguments: list[str], environ: Mapping[str, str]
) -> subprocess.CompletedProcess[str]:
    command = [str(PROGRAMS / program), *arguments]
    with TemporaryFile("w+") as stdout, TemporaryFile("w+") as stderr:
        outputs = stdout.fileno(), stderr.fileno()
        ran = _begun(command, environ, *outputs, prepared=not environ)
        try:
            code = ran.wait(PATIENCE)
        finally:
            ran.kill()
        stdout.seek(0)
        stderr.seek(0)
        return subprocess.CompletedProcess(command, code, stdout.read(), stderr.read())
