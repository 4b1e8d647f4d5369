"""A host that loads into a scripted Hive."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

from support.daemon import Host
from support.hive_compaction import DATE, production, read_rows
from support.past_files import FILES, assert_nothing_differs

if TYPE_CHECKING:
    from pathlib import Path

    from support.hive_server import HiveServer


def a_host(root: Path, server: HiveServer, **changes: str | None) -> Host:
    """Make a host that loads into the server's table."""
    server.sasl = False
    host = Host(root)
    in_hive(host, server, **changes)
    return host


def in_hive(host: Host, server: HiveServer, **changes: str | None) -> None:
    """Configure a host for a server that asks for no login."""
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


def assert_sound(host: Host, server: HiveServer, files: int = FILES) -> None:
    """Each file has one row, and nothing differs."""
    rows = read_rows(server, [DATE])
    assert Counter(rows.values()) == {1: files}
    assert_nothing_differs(host)


def count_files(server: HiveServer) -> int:
    """Return how many files the date's partition is read from."""
    return len(list(production(server).of(DATE).iterdir()))
