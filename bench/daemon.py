"""The real `backupd`, as a process of its own."""

from __future__ import annotations

import contextlib
import os
import signal
import sqlite3
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from bench.corpus import CUSTOMERS, FILE_TYPES
from bench.process import MeasuringError, Peak, Run, cpu_of_all, run

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from support.sshd import SshServer

SETTLE_FOR = "100ms"
MAX_WAIT = "100ms"
_PROGRAM = str(Path(sys.executable).with_name("backupd"))
_READY_WITHIN = 300.0  # seconds
_STOP_WITHIN = 60.0

_CONFIG = """\
environment = "prod"
[ledger]
url = "sqlite:///{state}/ledger.db"
[intake]
settle_for = "{settle_for}"
rescan_every = "{rescan_every}"
[batch]
max_wait = "{max_wait}"
[warehouse.embedded]
root = "{state}/warehouse"
[archive]
{archive}
[control]
socket = "{state}/control.sock"
"""
_FEED = """\
[feeds.{file_type}]
customers = [{customers}]
directory = "{root}/{file_type}/{{customer}}"
pattern = "{{customer}}_*.csv"
timestamp_regex = '_(\\d{{14}})'
timestamp_format = "%Y%m%d%H%M%S"
"""
_SFTP = """\
url = "sftp://{server.username}@{server.host}:{server.port}{root}"
identity_file = "{server.identity}"
known_hosts_file = "{server.known_hosts}"
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Site:
    """One daemon's directories and config file. `state` holds its ledger, warehouse and log."""

    state: Path
    config: Path
    code: Path | None = None  # of another revision; None: this one

    @property
    def environ(self) -> dict[str, str]:
        """What the program is to run with."""
        return dict(os.environ) | ({"PYTHONPATH": str(self.code)} if self.code else {})

    @property
    def ledger(self) -> Path:
        """The ledger's file."""
        return self.state / "ledger.db"

    @property
    def log(self) -> Path:
        """What the daemon says."""
        return self.state / "backupd.log"


def site(
    state: Path, feeds_root: Path, archive: Path, server: SshServer | None = None, **intake: str
) -> Site:
    """Write a production config: all defaults, but for `intake` (settle_for, rescan_every).

    Without a server the archive is a local directory.
    """
    state.mkdir(parents=True, exist_ok=True)
    where = f'url = "file://{archive}"' if server is None else ""
    if server is not None:
        where = _SFTP.format(server=server, root=archive)
    times = {"settle_for": SETTLE_FOR, "rescan_every": "60s"} | intake | {"max_wait": MAX_WAIT}
    customers = ", ".join(f'"{customer}"' for customer in CUSTOMERS)
    text = _CONFIG.format(state=state, archive=where, **times)
    for file_type in FILE_TYPES:
        text += _FEED.format(file_type=file_type, customers=customers, root=feeds_root)
    config = state / "config.toml"
    config.write_text(text)
    return Site(state=state, config=config)


def run_once(where: Site) -> Run:
    """Run `backupd run --once`: it ends with 0 only when every file is done."""
    command = [_PROGRAM, "run", "--once", "--config", str(where.config)]
    return run(command, where.log, where.environ)


def take_through(where: Site, arriving: Mapping[Path, Path]) -> Run:
    """Let files arrive, by rename, at a daemon that waits for them; end when all are done.

    `arriving` maps where each file lies to where the daemon looks for it.
    """
    with running(where) as process:
        peak = Peak(process.pid)
        cpu = cpu_of_all(process.pid)
        began = time.perf_counter()
        for source, target in arriving.items():
            source.rename(target)
        _wait_until_done(where, process, len(arriving))
        seconds = time.perf_counter() - began
        cpu = cpu_of_all(process.pid) - cpu
    return Run(seconds, peak.mib(), cpu)


def _wait_until_done(where: Site, process: subprocess.Popen[bytes], files: int) -> None:
    """Count what it tells: asking the ledger would cost it time."""
    done, position = 0, 0
    while done < files:
        if process.poll() is not None:
            raise MeasuringError(f"backupd ended:\n{where.log.read_text()[-2000:]}")
        time.sleep(0.01)
        with where.log.open("rb") as log:
            log.seek(position)
            whole_lines = log.read().rpartition(b"\n")[0]
        done += whole_lines.count(b'"event": "cleanup finished"')
        position += len(whole_lines)


@contextlib.contextmanager
def running(where: Site) -> Iterator[subprocess.Popen[bytes]]:
    """Run the daemon until the end of the block; it is ready when the block begins."""
    with where.log.open("wb") as log:
        process = subprocess.Popen(
            [_PROGRAM, "run", "--config", str(where.config)],
            stdin=subprocess.DEVNULL,
            stderr=log,
            env=where.environ,
        )
    try:
        _wait_until_ready(where, process)
        yield process
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(_STOP_WITHIN)


def _wait_until_ready(where: Site, process: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + _READY_WITHIN
    while b'"event": "ready"' not in where.log.read_bytes():
        if process.poll() is not None or time.monotonic() > deadline:
            raise MeasuringError(f"backupd did not start:\n{where.log.read_text()[-2000:]}")
        time.sleep(0.005)


@contextlib.contextmanager
def looking_into(where: Site) -> Iterator[sqlite3.Connection]:
    """Read a ledger as `backupd-admin` does: from outside, read-only, at any moment."""
    connection = sqlite3.connect(f"file:{where.ledger}?mode=ro", uri=True)
    try:
        yield connection
    finally:
        connection.close()
