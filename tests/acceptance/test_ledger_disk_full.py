"""The disk under a running daemon's ledger is full for a while: it waits, says so, and goes on."""

from __future__ import annotations

import os
import signal
from typing import TYPE_CHECKING

import pytest

from support.daemon import Host, until
from support.mounts import mounting

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@pytest.fixture
def host(tmp_path: Path) -> Iterator[Host]:
    """Return a host whose ledger has a disk of its own, of a few MiB."""
    small = tmp_path / "small"
    small.mkdir()
    with mounting() as mount:
        mount("-t", "tmpfs", "-o", "size=4m", "none", small)
        yield Host(tmp_path, {"ledger.url": '"sqlite:///TMP/small/ledger.db"'})


def fill(host: Host) -> Path:
    """Take all that is free there; return what takes it."""
    ballast = host.root / "small" / "ballast"
    free = os.statvfs(ballast.parent)
    with ballast.open("wb") as file:
        os.posix_fallocate(file.fileno(), 0, free.f_bavail * free.f_frsize)
    return ballast


def deliver(host: Host, first: int) -> None:
    for number in range(first, first + 30):  # more than finds room in the log that is there already
        host.deliver(f"a_{number}.csv", b"A;B\n" * (number + 1))


def test_the_daemon_waits_for_room_and_goes_on(host: Host) -> None:
    with host.daemon() as daemon:
        ballast = fill(host)
        deliver(host, 0)
        daemon.tells("no room for the ledger: all waits")
        assert "no room for the ledger" in host.admin("status").stdout
        ballast.unlink()
        daemon.tells("there is room for the ledger again")
        until(lambda: not host.local(), lambda: str(host.local()))
        assert daemon.stop() == 0
    assert len(host.rows()) == len(host.archived()) == 30
    assert not [line for line in daemon.told() if line["event"] == "file parked"]


def test_a_stop_does_not_wait_for_room(host: Host) -> None:
    with host.daemon() as daemon:
        ballast = fill(host)
        deliver(host, 0)
        daemon.tells("no room for the ledger: all waits")
        daemon.signal(signal.SIGTERM)
        daemon.tells("stopping")
        daemon.stop()  # a second one: at once
        ballast.unlink()
    with host.daemon() as daemon:
        until(lambda: not host.local(), lambda: str(host.local()))
        assert daemon.stop() == 0
    assert len(host.rows()) == len(host.archived()) == 30
