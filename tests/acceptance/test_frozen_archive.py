"""A local archive that hangs, as on a network file system: it is down, and loses nothing by it."""

from __future__ import annotations

import signal
from typing import TYPE_CHECKING

import pytest

from backupd.core.stages import Status
from support.daemon import PATIENCE, Host
from support.freezing import freezing

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from support.daemon import Daemon
    from support.freezing import FreezingDirectory

pytestmark = pytest.mark.slow

IN_ALL = 30.0  # seconds from SIGTERM to the end
LARGE = 8 << 20  # bytes: sent in several steps


@pytest.fixture
def host(tmp_path: Path) -> Host:
    return Host(tmp_path)


@pytest.fixture
def frozen(host: Host) -> Iterator[FreezingDirectory]:
    """The archive's root."""
    host.archive.mkdir()
    with freezing(host.root, host.archive) as directory:
        yield directory


def left_over(directory: FreezingDirectory) -> list[str]:
    return [path.name for path in directory.backing.rglob(".*") if path.name != ".backupd-id"]


def down(host: Host, daemon: Daemon) -> None:
    """Wait until the archive is down; nothing else is told."""
    daemon.tells("incident opened", within=2 * PATIENCE)
    (told,) = host.shown_incidents()
    assert told["kind"] == "dependency"
    assert f"{host.archive} does not answer" in told["reason"]


def test_it_is_one_incident_costs_nothing_and_heals(host: Host, frozen: FreezingDirectory) -> None:
    with host.daemon() as daemon:
        before = host.deliver("before.csv")
        daemon.tells("cleanup finished", file=str(before))
        frozen.freeze()
        names = [f"meanwhile{number}.csv" for number in range(5)]
        for name in names:
            host.deliver(name)
        host.deliver("large.csv", b"A;B\n" + b"1;2\n" * (LARGE // 4))
        for name in [*names, "large.csv"]:
            daemon.tells("merge finished")
            daemon.tells("manifest finished", file=str(host.inbox / name))
        down(host, daemon)
        waiting = [file for file in host.files() if file.status is Status.WAITING]
        assert {file.attempts for file in waiting} == {0}, "a trial counts only while it runs"

        frozen.thaw()
        for name in [*names, "large.csv"]:
            daemon.tells("cleanup finished", file=str(host.inbox / name))
        daemon.tells("incident closed")
        assert daemon.stop() == 0
    assert len(host.shown_incidents("--all")) == 1
    assert set(host.standing().values()) == {"cleanup done"}
    assert {name.removesuffix(".gz") for name in host.archived()} == {
        f"a/{path.file_name}" for path in host.files()
    }
    assert left_over(frozen) == []
    assert len(host.rows()) == len(host.files()) == 7


def test_a_start_beside_a_frozen_archive_registers_and_can_be_stopped(
    host: Host, frozen: FreezingDirectory
) -> None:
    frozen.freeze()
    path = host.deliver("meanwhile.csv")
    with host.daemon() as daemon:
        daemon.tells("manifest finished", file=str(path))
        daemon.tells("merge finished")
        daemon.signal(signal.SIGTERM)
        assert daemon.process.wait(IN_ALL) == 0
    frozen.thaw()
    with host.daemon() as daemon:
        daemon.tells("cleanup finished", file=str(path))
        assert daemon.stop() == 0
    assert left_over(frozen) == []


def test_a_probe_tells_of_it(host: Host, frozen: FreezingDirectory) -> None:
    frozen.freeze()
    checked = host.backupd("check")
    assert checked.returncode == 0
    assert f"{host.archive} does not answer" in checked.stderr
