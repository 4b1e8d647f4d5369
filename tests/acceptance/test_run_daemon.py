"""`backupd run`: the daemon takes files as they come, and stops when it is told to."""

from __future__ import annotations

import os
import signal
import time
from typing import TYPE_CHECKING

import pytest

from support.daemon import PATIENCE, Host, over_sftp, until
from support.notify import listening
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


def test_systemd_is_told_what_it_waits_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    host = Host(tmp_path)
    with listening(tmp_path / "notify", monkeypatch) as systemd, host.daemon() as daemon:
        systemd.hears("READY=1")
        assert host.admin("status", "--json").returncode == 0
        host.deliver("one.csv.gz", b"not gzip")
        systemd.hears("STATUS=files: 1 parked; files of feed traffic/a are parked")

        host.configure({"retry.attempts": "0"})
        daemon.signal(signal.SIGHUP)
        systemd.hears("RELOADING=1")
        until(lambda: systemd.told().count("READY=1") == 2, lambda: str(systemd.told()))

        host.configure({"retry.attempts": "2"})
        daemon.signal(signal.SIGHUP)
        until(lambda: systemd.told().count("READY=1") == 3, lambda: str(systemd.told()))
        assert daemon.stop() == 0

        assert systemd.told()[-1] == "STOPPING=1"


def test_an_abort_leaves_the_stacks_of_all_threads(tmp_path: Path) -> None:
    host = Host(tmp_path)
    with host.daemon() as daemon:
        daemon.signal(signal.SIGABRT)
        daemon.process.wait(PATIENCE)
    trace = (tmp_path / "log").read_text()
    assert "Fatal Python error: Aborted" in trace
    assert "ledger/writer.py" in trace


def test_starts_while_the_directory_of_a_feed_that_was_there_is_away(tmp_path: Path) -> None:
    host = Host(tmp_path)
    with host.daemon() as daemon:
        assert daemon.stop() == 0
    aside = host.inbox.rename(tmp_path / "aside")

    checked = host.backupd("check")
    with host.daemon() as daemon:
        daemon.tells("incident opened", feed="traffic/a")
        host.configure({"retry.attempts": "2"})
        daemon.signal(signal.SIGHUP)
        daemon.tells("reloading the config")
        aside.rename(host.inbox)
        daemon.tells("incident closed", feed="traffic/a")
        host.deliver("one.csv")
        daemon.tells("cleanup finished")

    assert checked.returncode == 0
    assert "the directory of feed traffic/a is unavailable" in checked.stderr


def test_a_directory_that_never_was_there_is_a_mistake(tmp_path: Path) -> None:
    host = Host(tmp_path)
    host.inbox.rmdir()
    ended = host.backupd("run")
    assert ended.returncode == 2
    assert "which does not exist" in ended.stderr


def test_what_is_down_is_told_once_however_many_files_wait(
    tmp_path: Path, server: SshServer
) -> None:
    host = Host(tmp_path, over_sftp(server, tmp_path / "archive"))
    server.stop()
    names = [f"{number}.csv" for number in range(40)]
    with host.daemon() as daemon:
        for name in names:
            host.deliver(name)
        until(
            lambda: (
                set(host.standing().values()) == {"ship waiting"}
                and len(host.standing()) == len(names)
            ),
            lambda: str(host.standing()),
        )
        downs = daemon.tells("incident opened", cause="archive")
        told = daemon.told()

        server.start()
        for name in names:
            daemon.tells("cleanup finished", file=str(host.inbox / name))

    assert downs["level"] == "warning"
    assert [line["event"] for line in told].count("dependency down") == 1
    assert [line["event"] for line in told].count("ship will be tried again") <= 1
