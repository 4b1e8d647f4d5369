"""Crowds at the daemon's doors keep no file waiting, and take none of its memory."""

from __future__ import annotations

import contextlib
import resource
import socket
import threading
import urllib.request
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from support.crowds import crowd
from support.daemon import Host, until
from support.processes import free_port

if TYPE_CHECKING:
    from collections.abc import Callable

DESCRIPTORS = 256  # of the daemon: fewer than come to its doors
CROWD = 300
ENDLESS = 8  # clients that never end a line
LONG = 32 * 1024 * 1024  # bytes that each of these would like to say
RESIDENT = 200  # MiB


def never_end(connect: Callable[[], socket.socket]) -> None:
    with connect() as endless, contextlib.suppress(OSError):
        for _ in range(LONG // 65536):
            endless.sendall(b"x" * 65536)


def resident(pid: int) -> int:
    """Return its memory, in MiB."""
    pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    return pages * resource.getpagesize() // 1024**2


@pytest.fixture
def host(tmp_path: Path) -> Host:
    return Host(tmp_path, {"metrics.listen": f'"127.0.0.1:{free_port()}"'})


def test_half_open_and_endless_connections_hold_nothing_up(host: Host) -> None:
    port = int(host.config.read_text().split('listen = "127.0.0.1:')[1].split('"')[0])

    def to_metrics() -> socket.socket:
        return socket.create_connection(("127.0.0.1", port), timeout=30)

    def to_control() -> socket.socket:
        one = socket.socket(socket.AF_UNIX)
        one.connect(str(host.root / "control.sock"))
        one.settimeout(30)
        return one

    with host.daemon() as daemon:
        resource.prlimit(daemon.process.pid, resource.RLIMIT_NOFILE, (DESCRIPTORS, DESCRIPTORS))
        talkers = [
            threading.Thread(target=never_end, args=[to])
            for to in (to_control, to_metrics)
            for _ in range(ENDLESS)
        ]
        with (
            crowd(CROWD, to_metrics, b"GET /metrics HT"),
            crowd(CROWD, to_control, b'{"verb": '),
        ):
            for talker in talkers:
                talker.start()
            for number in range(10):
                host.deliver(f"a_{number}.csv")
            until(
                lambda: set(host.standing().values()) == {"cleanup done"},
                lambda: str(host.standing()),
            )
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=30) as answer:
                assert b"backupd_files_done_total" in answer.read()
            assert "running since" in host.admin("status").stdout
            for talker in talkers:
                talker.join()
            assert resident(daemon.process.pid) < RESIDENT
        assert daemon.stop() == 0
    assert len(host.archived()) == 10
    assert not [line for line in daemon.told() if line["level"] in {"warning", "error"}]
