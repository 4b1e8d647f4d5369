"""`backupd run`: the daemon takes files as they come, and stops when it is told to."""

from __future__ import annotations

import os
import signal
import time
from typing import TYPE_CHECKING

import pytest

from support.daemon import PATIENCE, Host, over_sftp, until
from support.sshd import SshServer

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

BOUND = 20.0  # seconds that running files get to end after SIGTERM


@pytest.fixture
def server(tmp_path: Path) -> Iterator[SshServer]:
    """An SFTP server as the archive, to be frozen by the test."""
    started = SshServer(tmp_path / "sshd")
    started.start()
    yield started
    started.stop()


def test_takes_files_that_come_while_it_runs(tmp_path: Path) -> None:
    host = Host(tmp_path)
    host.deliver("before.csv")
    with host.daemon() as daemon:
        host.deliver("meanwhile.csv")
        (host.inbox / "coming.csv.tmp").write_bytes(b"A;B\n1;2\n")
        (host.inbox / "coming.csv.tmp").rename(host.inbox / "renamed.csv")
        names = ("before.csv", "meanwhile.csv", "renamed.csv")
        for name in names:
            daemon.tells("cleanup finished", file=str(host.inbox / name))

        assert set(host.standing().values()) == {"cleanup done"}
        assert daemon.stop() == 0

    assert set(host.archived()) == {f"a/{name}.gz" for name in names}
    assert host.local() == set()
    assert not (tmp_path / "control.sock").exists()


def test_reads_its_config_anew_when_told_to(tmp_path: Path) -> None:
    host = Host(tmp_path)
    with host.daemon() as daemon:
        other = host.deliver("other.dat")
        host.configure({"feeds.traffic.pattern": '"*.dat"'})
        daemon.signal(signal.SIGHUP)
        daemon.tells("cleanup finished", file=str(other))
        later = host.deliver("later.dat")
        daemon.tells("cleanup finished", file=str(later))
        assert daemon.stop() == 0


def test_a_config_with_mistakes_is_refused_and_the_old_one_stays(tmp_path: Path) -> None:
    host = Host(tmp_path)
    with host.daemon() as daemon:
        host.configure({"batch.max_files": "0", "retry.attempts": '"many"'})
        daemon.signal(signal.SIGHUP)
        mistake = daemon.tells("config not reloaded: it has a mistake")["mistake"]
        assert mistake.startswith("batch.max_files is 0")
        path = host.deliver("still.csv")
        daemon.tells("cleanup finished", file=str(path))
        assert daemon.stop() == 0


def test_waits_for_a_companion_that_comes_late(tmp_path: Path) -> None:
    host = Host(
        tmp_path,
        {
            "feeds.traffic.companion_suffix": '".md5"',
            "feeds.traffic.companion_algorithm": '"md5"',
            "feeds.traffic.companion_required": "true",
        },
    )
    with host.daemon() as daemon:
        path = host.deliver("late.csv", b"")
        until(lambda: "waits for its companion" in str(host.files()), lambda: str(host.files()))

        path.with_suffix(".md5").write_text("d41d8cd98f00b204e9800998ecf8427e  late.csv\n")

        daemon.tells("cleanup finished")
    assert host.local() == set()


def test_takes_a_second_delivery_while_it_runs(tmp_path: Path) -> None:
    host = Host(tmp_path)
    with host.daemon() as daemon:
        host.deliver("one.csv")
        daemon.tells("cleanup finished")

        host.deliver("one.csv")

        until(lambda: len(host.files()) == 2, lambda: str(host.files()))
        second = host.files()[1].id
        daemon.tells("cleanup finished", file_id=second)
    assert len(host.rows()) == 1
    assert host.local() == set()


def test_keeps_files_for_as_long_as_the_config_says(tmp_path: Path) -> None:
    host = Host(tmp_path, {"cleanup.keep_for": '"500ms"'})
    with host.daemon() as daemon:
        host.deliver("one.csv")

        shipped = daemon.tells("ship finished")
        deleted = daemon.tells("cleanup finished")

    assert deleted["timestamp"] > shipped["timestamp"]
    assert host.local() == set()


def test_a_second_daemon_on_the_same_ledger_names_the_first_and_ends(tmp_path: Path) -> None:
    host = Host(tmp_path)
    with host.daemon() as daemon:
        for command in (("run",), ("run", "--once")):
            second = host.backupd(*command)

            assert second.returncode == 3
            assert f"held by process {daemon.process.pid}" in second.stderr
        assert daemon.process.poll() is None


def test_starts_after_one_that_was_killed(tmp_path: Path) -> None:
    host = Host(tmp_path)
    with host.daemon() as daemon:
        daemon.process.kill()
        daemon.process.wait()

    with host.daemon() as daemon:
        assert daemon.stop() == 0


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_ends_what_runs_when_told_to_stop(tmp_path: Path, number: signal.Signals) -> None:
    host = Host(tmp_path)
    with host.daemon() as daemon:
        host.deliver("large.csv", os.urandom(40_000_000))
        daemon.tells("merge finished")
        began = time.monotonic()
        daemon.signal(number)

        assert daemon.process.wait(PATIENCE) == 0

        assert time.monotonic() - began < BOUND
        assert daemon.told()[-1]["event"] == "stopped"

    (file,) = host.files()
    assert file.status in {"waiting", "done"}
    assert file.attempts == 0
    assert not list(host.archive.rglob("*.part"))
    assert host.once().returncode == 0
    assert host.local() == set()


def test_a_second_signal_stops_at_once(tmp_path: Path, server: SshServer) -> None:
    host = Host(tmp_path, over_sftp(server, tmp_path / "archive"))
    with host.daemon() as daemon:
        host.deliver("first.csv")
        daemon.tells("cleanup finished")
        server.freeze()
        host.deliver("frozen.csv")
        daemon.tells("merge finished")
        until(
            lambda: host.standing().get("frozen.csv") == "ship running", lambda: str(host.files())
        )
        daemon.signal(signal.SIGTERM)
        daemon.tells("stopping")
        began = time.monotonic()

        daemon.signal(signal.SIGTERM)

        assert daemon.process.wait(PATIENCE) == 0
        assert time.monotonic() - began < BOUND / 2
    server.thaw()
    assert host.once().returncode == 0
    assert set(host.standing().values()) == {"cleanup done"}


def test_an_archive_that_is_away_holds_up_no_registration_and_heals(
    tmp_path: Path, server: SshServer
) -> None:
    host = Host(tmp_path, over_sftp(server, tmp_path / "archive"))
    server.stop()
    with host.daemon() as daemon:
        host.deliver("one.csv")
        daemon.tells("dependency down", dependency="archive")
        assert [row["file_name"] for row in host.rows()] == ["one.csv"]

        server.start()

        daemon.tells("dependency up again", dependency="archive")
        daemon.tells("cleanup finished")
        assert daemon.stop() == 0
    assert set(host.archived()) == {"a/one.csv.gz"}
