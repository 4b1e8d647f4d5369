"""SIGKILL at any moment while snapshots are made: none that is there is broken, nothing is left."""

from __future__ import annotations

import asyncio
import gzip
import random
import socket
import sqlite3
import time
from contextlib import closing, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from support.daemon import Host, over_sftp, until
from support.ledgers import filled
from support.sshd import running_sshd

if TYPE_CHECKING:
    from collections.abc import Iterator

HOME = f".backupd/{socket.gethostname()}"
EVERY_SECOND = {"ledger.backup_every": '"1s"', "ledger.backups_kept": "3"}


@contextmanager
def the_archive(tmp_path: Path, kind: str) -> Iterator[dict[str, str]]:
    if kind == "directory":
        yield {}
        return
    with running_sshd(tmp_path / "sshd") as server:
        yield over_sftp(server, tmp_path / "archive")


def snapshots(host: Host) -> list[Path]:
    return [path for path in (host.archive / HOME).glob("*") if not path.name.startswith(".")]


def another_is_made(host: Host) -> None:
    before = set(snapshots(host))
    until(lambda: set(snapshots(host)) - before, lambda: str(before))


def demand_whole(snapshot: Path, unpacked: Path) -> None:
    unpacked.write_bytes(gzip.decompress(snapshot.read_bytes()))
    with closing(sqlite3.connect(f"file:{unpacked}?mode=ro&immutable=1", uri=True)) as connection:
        assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["directory", "sftp"])
async def test_kills_at_random_moments_leave_no_broken_snapshot(tmp_path: Path, kind: str) -> None:
    rng = random.Random(20261130)
    await filled(tmp_path / "ledger.db", 20_000)
    with the_archive(tmp_path, kind) as changes:
        host = Host(tmp_path, changes | EVERY_SECOND)
        half = 0
        for _ in range(12):
            with host.daemon() as daemon:
                another_is_made(host)
                await asyncio.sleep(rng.uniform(0.8, 1.4))  # about when the next one is made
                daemon.process.kill()
                daemon.process.wait()
            half += (tmp_path / "ledger.db.snapshot").exists()
            half += any(path.name.endswith(".part") for path in (host.archive / HOME).iterdir())
            for path in snapshots(host):
                demand_whole(path, tmp_path / "unpacked")
        assert half, "no kill hit a snapshot on its way"
        host.configure(changes | EVERY_SECOND)
        with host.daemon() as daemon:
            another_is_made(host)
            assert daemon.stop() == 0
        assert not list(tmp_path.glob("ledger.db.snapshot*"))
        assert not [path for path in (host.archive / HOME).iterdir() if path.suffix == ".part"]
        assert len(snapshots(host)) <= 4


@pytest.mark.slow
async def test_a_large_ledger_holds_nobody_up_and_takes_no_memory(tmp_path: Path) -> None:
    await filled(tmp_path / "ledger.db", 2)
    with closing(sqlite3.connect(tmp_path / "ledger.db")) as connection:
        # Not by its own hand: 200 MB of history take minutes to be made as files are.
        connection.execute(
            "WITH RECURSIVE n(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM n WHERE x < 200000)"
            " INSERT INTO events (file_id, at, stage, status, detail)"
            " SELECT printf('%020x', x), x, 'ship', 'waiting', hex(randomblob(480)) FROM n"
        )
        connection.commit()
    assert (tmp_path / "ledger.db").stat().st_size > 200_000_000
    host = Host(tmp_path, {"feeds.traffic.pattern": '"*.csv"'})
    with host.daemon() as daemon:
        before = resident(daemon.process.pid)
        asked = host.start_admin("backup", "--json")
        number = 0
        slowest = 0.0
        while asked.poll() is None:
            number += 1
            slowest = max(slowest, through(host, f"{number}.csv"))
        assert asked.returncode == 0
        assert number > 1
        assert slowest < 5.0  # as without a snapshot: 0.3 to 1 s on a busy machine
        assert resident(daemon.process.pid) - before < 60_000_000
        asked = host.start_admin("backup")
        until((tmp_path / "ledger.db.snapshot").exists, lambda: str(daemon.told()))
        began = time.monotonic()
        assert daemon.stop() == 0
        assert time.monotonic() - began < 10.0
        assert asked.wait() == 1
        assert not (tmp_path / "ledger.db.snapshot").exists()


def resident(pid: int) -> int:
    """Return the memory of a process in bytes, at most so far."""
    status = Path(f"/proc/{pid}/status").read_text()
    (line,) = [line for line in status.splitlines() if line.startswith("VmHWM:")]
    return int(line.split()[1]) * 1024


def through(host: Host, name: str) -> float:
    """Deliver a file; return the seconds until it is done."""
    began = time.monotonic()
    host.deliver(name)
    until(lambda: name not in host.local(), lambda: f"{name} is not done")
    return time.monotonic() - began
