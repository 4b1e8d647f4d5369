"""A host whose files of one past date are in a scripted Hive, each in a batch of its own."""

from __future__ import annotations

import json
import os
from collections import Counter
from typing import TYPE_CHECKING, Any

from support.daemon import Host, until
from support.hive_compaction import DATE, production, read_rows
from support.rows import NOON

if TYPE_CHECKING:
    from pathlib import Path

    from support.hive_server import HiveServer

FILES = 3


def a_host(root: Path, server: HiveServer, **changes: str | None) -> Host:
    """Make a host that loads into the server's table."""
    server.sasl = False
    host = Host(root)
    host.configure(
        {
            "warehouse.kind": '"hive"',
            "warehouse.hive.host": f'"{server.host}"',
            "warehouse.hive.port": str(server.port),
            "warehouse.hive.auth": '"NOSASL"',
            "warehouse.hive.staging_url": '"file://TMP/hive/staging"',
            **changes,
        }
    )
    return host


def deliver(host: Host, number: int) -> str:
    """Deliver a file of that date."""
    name = f"{number}.csv"
    hidden = host.deliver(f".{name}", f"A;B\n{number};2\n".encode())
    os.utime(hidden, (NOON, NOON))
    hidden.rename(host.inbox / name)
    return name


def run_each(host: Host) -> None:
    """Have each of a few files in a batch of its own."""
    for number in range(FILES):
        deliver(host, number)
        assert host.once().returncode == 0


def comes_to_its_end(host: Host, name: str) -> None:
    """Wait until a daemon has taken this file through all stages."""
    until(lambda: host.standing().get(name) == "cleanup done", lambda: str(host.standing()))


def compacted(host: Host, exit_code: int = 0) -> list[dict[str, Any]]:
    """Have all dates compacted; return what is said of each."""
    answer = host.admin("compact", "--json")
    assert answer.returncode == exit_code, answer.stderr
    return [json.loads(line) for line in answer.stdout.splitlines()]


def assert_sound(host: Host, server: HiveServer, files: int = FILES) -> None:
    """Each file has one row, and nothing differs."""
    rows = read_rows(server, [DATE])
    assert Counter(rows.values()) == {1: files}
    reconciled = host.admin("reconcile")
    assert (reconciled.returncode, reconciled.stdout) == (0, "")
    assert host.admin("prove", "0.csv").returncode == 0


def count_files(server: HiveServer) -> int:
    """Return how many files the date's partition is read from."""
    return len(list(production(server).of(DATE).iterdir()))
