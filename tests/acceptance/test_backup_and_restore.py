"""Snapshots of the ledger, and a host that was lost and comes back with one."""

from __future__ import annotations

import json
import shutil
import signal
import socket
import sqlite3
from collections import Counter
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from support.daemon import Host, over_sftp, until
from support.sshd import running_sshd

if TYPE_CHECKING:
    from collections.abc import Iterator

    from support.sshd import SshServer

HOME = f".backupd/{socket.gethostname()}"


@pytest.fixture
def host(tmp_path: Path) -> Host:
    return Host(tmp_path)


@pytest.fixture(params=["directory", pytest.param("sftp", marks=pytest.mark.slow)])
def changes(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[dict[str, str]]:
    """The archive here, or behind a server."""
    if request.param == "directory":
        yield {}
        return
    with running_sshd(tmp_path / "sshd") as server:
        yield over_sftp(server, tmp_path / "archive")


def snapshots(host: Host) -> list[str]:
    return sorted(path.name for path in (host.archive / HOME).glob("*"))


def backed_up(host: Host, *options: str) -> dict[str, object]:
    done = host.admin("backup", "--json", *options)
    assert done.returncode == 0, done.stderr
    answer: dict[str, object] = json.loads(done.stdout)
    return answer


def lose_the_ledger(host: Host) -> None:
    for path in host.root.glob("ledger.db*"):
        path.unlink()


def done(host: Host) -> bool:
    return set(host.standing().values()) == {"cleanup done"}


def test_snapshots_are_made_in_time_and_old_ones_removed(
    tmp_path: Path, changes: dict[str, str]
) -> None:
    host = Host(tmp_path, changes | {"ledger.backup_every": '"1s"', "ledger.backups_kept": "2"})
    host.deliver("1.csv")
    notes = host.archive / HOME / "notes.txt"
    notes.parent.mkdir(parents=True)
    notes.write_text("not ours")
    with host.daemon() as daemon:
        made: set[str] = set()

        def enough() -> bool:
            made.update(snapshots(host))
            return len(made) > 5

        until(enough, lambda: str(made))
        until(lambda: done(host), lambda: str(host.standing()))
        assert daemon.stop() == 0
    assert len(snapshots(host)) in {3, 4}  # with the notes; a stop may come before the removal
    assert notes.read_text() == "not ours"
    status = json.loads(host.ask("status", "--json").stdout)
    newest = max(made - {"notes.txt"} | set(snapshots(host)) - {"notes.txt"})
    assert status["last_snapshot_at"][:4] == newest.removeprefix("ledger-")[:4]
    assert "last snapshot " in host.ask("status").stdout
    assert host.shown_incidents() == []


def test_a_reload_changes_how_often(host: Host) -> None:
    host.deliver("1.csv")
    with host.daemon() as daemon:
        host.configure({"ledger.backup_every": '"1s"'})
        daemon.signal(signal.SIGHUP)
        until(lambda: snapshots(host), lambda: str(daemon.told()))
        assert daemon.stop() == 0


def test_a_failure_is_an_incident_that_says_what_to_do(tmp_path: Path) -> None:
    host = Host(tmp_path, {"ledger.backup_every": '"1s"'})
    host.deliver("1.csv")
    host.archive.mkdir()
    (host.archive / ".backupd").write_text("stands in the way")
    with host.daemon() as daemon:
        until(host.shown_incidents, lambda: str(daemon.told()))
        (told,) = host.shown_incidents()
        assert told["kind"] == "backup"
        assert "there is none yet; the next one failed" in told["reason"]
        until(lambda: done(host), lambda: str(host.standing()))
        refused = host.admin("backup")
        assert refused.returncode == 1
        assert "put a directory in its place" in refused.stderr
        (host.archive / ".backupd").unlink()
        assert host.admin("backup").returncode == 0
        assert host.shown_incidents() == []
        assert daemon.stop() == 0


def test_without_a_snapshot_status_says_so(host: Host) -> None:
    host.deliver("1.csv")
    assert host.once().returncode == 0
    assert "no snapshot in the archive yet" in host.ask("status").stdout
    assert json.loads(host.ask("status", "--json").stdout)["last_snapshot_at"] is None
    assert not (host.archive / ".backupd").exists()  # the first one is due after a day


@pytest.mark.parametrize("runs", [True, False], ids=["with a daemon", "without one"])
def test_one_can_be_made_at_any_time(
    tmp_path: Path, changes: dict[str, str], *, runs: bool
) -> None:
    host = Host(tmp_path, changes)
    host.deliver("1.csv")
    with host.daemon() as daemon:
        until(lambda: done(host), lambda: str(host.standing()))
        if not runs:
            assert daemon.stop() == 0
        made = backed_up(host)
        assert snapshots(host) == [str(made["snapshot"]).rpartition("/")[2]]
    text = host.archived()[str(made["snapshot"])]
    assert text.startswith(b"SQLite format 3\0")
    assert json.loads(host.ask("status", "--json").stdout)["last_snapshot_at"] == made["taken_at"]
    assert list(host.root.glob("ledger.db.snapshot*")) == []


@pytest.mark.parametrize("runs", [True, False], ids=["with a daemon", "without one"])
@pytest.mark.parametrize("name", ["copy.db", "copy.db.gz"])
def test_one_can_be_written_to_a_file_which_is_never_replaced(
    host: Host, tmp_path: Path, name: str, *, runs: bool
) -> None:
    target = tmp_path / "copies" / name
    target.parent.mkdir()
    host.deliver("1.csv")
    with host.daemon() as daemon:
        until(lambda: done(host), lambda: str(host.standing()))
        if not runs:
            assert daemon.stop() == 0
        backed_up(host, "--to", str(target))
        content = target.read_bytes()
        again = host.admin("backup", "--to", str(target))
    assert (again.returncode, target.read_bytes()) == (1, content)
    assert "is there already" in again.stderr
    assert [path.name for path in target.parent.iterdir()] == [name]
    lose_the_ledger(host)
    assert host.backupd("restore", str(target)).returncode == 0
    assert host.standing() == {"1.csv": "cleanup done"}


def test_in_dev_there_is_none_in_the_archive_but_one_can_be_written_to_a_file(
    tmp_path: Path,
) -> None:
    host = Host(tmp_path, {"environment": '"dev"', "ledger.backup_every": '"1s"'})
    host.deliver("1.csv")
    with host.daemon():
        until(lambda: done(host), lambda: str(host.standing()))
        refused = host.admin("backup")
        assert refused.returncode == 1
        assert "nothing is shipped in dev" in refused.stderr
        backed_up(host, "--to", str(tmp_path / "copy.db"))
    assert not host.archive.exists()


def test_run_once_makes_the_one_that_is_due(tmp_path: Path) -> None:
    host = Host(tmp_path, {"ledger.backup_every": '"1s"'})
    host.deliver("1.csv")
    assert host.once().returncode == 0
    until(lambda: host.once().returncode == 0 and snapshots(host), lambda: str(host.archive))


def test_usage_and_what_is_in_the_way_have_exit_codes_of_their_own(host: Host) -> None:
    host.deliver("1.csv")
    assert host.once().returncode == 0
    assert host.backupd("restore").returncode == 2
    assert host.backupd("restore", "--latest", str(host.config)).returncode == 2
    assert host.backupd("restore", str(host.root / "nowhere.gz")).returncode == 2
    backed_up(host)
    sound = host.backupd("restore", "--latest")
    assert (sound.returncode, "is sound" in sound.stderr) == (1, True)
    with host.daemon() as daemon:
        held = host.backupd("restore", "--latest")
        assert held.returncode == 3
        assert str(daemon.process.pid) in held.stderr
    lose_the_ledger(host)
    shutil.rmtree(host.archive / HOME)
    none = host.backupd("restore", "--latest")
    assert (none.returncode, "no snapshot in" in none.stderr) == (1, True)
    assert list(host.root.glob("ledger.db*")) == [host.root / "ledger.db.lock"]


def test_another_hosts_snapshots_are_named_where_this_one_has_none(host: Host) -> None:
    host.deliver("1.csv")
    assert host.once().returncode == 0
    backed_up(host)
    (host.archive / HOME).rename(host.archive / ".backupd" / "edge1")
    lose_the_ledger(host)
    none = host.backupd("restore", "--latest")
    assert none.returncode == 1
    assert "there are some of edge1" in none.stderr


def test_a_damaged_snapshot_is_refused_and_an_earlier_one_taken(host: Host) -> None:
    host.deliver("1.csv")
    assert host.once().returncode == 0
    first = host.archive / str(backed_up(host)["snapshot"])
    second = host.archive / str(backed_up(host)["snapshot"])
    second.write_bytes(second.read_bytes()[:-100])
    host.root.joinpath("ledger.db").write_bytes(b"damaged" * 1000)
    refused = host.backupd("restore", "--latest")
    assert refused.returncode == 1
    assert "does not decompress whole" in refused.stderr
    assert host.root.joinpath("ledger.db").read_bytes() == b"damaged" * 1000
    restored = host.backupd("restore", str(first))
    assert restored.returncode == 0, restored.stderr
    assert "the damaged ledger is kept as" in restored.stdout
    (kept,) = host.root.glob("ledger.db.damaged-*")
    assert kept.read_bytes() == b"damaged" * 1000
    assert host.standing() == {"1.csv": "cleanup done"}


def test_a_lost_host_comes_back_with_one_row_and_one_copy_of_each_file(
    tmp_path: Path, changes: dict[str, str]
) -> None:
    host = Host(tmp_path, changes)
    host.deliver("done.csv", b"A;B\n1;done\n")
    host.deliver("no-gzip.csv.gz", b"parked")
    (host.archive / "b").parent.mkdir(exist_ok=True)
    (host.archive / "b").write_text("stands where a directory has to be")
    host.deliver_to_other("ship.csv")
    with host.daemon() as daemon:
        until(lambda: in_ship(host), lambda: str(host.standing()))
        daemon.stop()
    host.configure(changes | {"batch.max_wait": '"10m"', "cleanup.keep_for": '"1h"'})
    with host.daemon() as daemon, (host.inbox / "settle.csv").open("wb") as writer:
        writer.write(b"A;B\n1;settle\n")
        writer.flush()
        host.deliver("load.csv", b"A;B\n1;load\n")
        until(lambda: host.standing().get("load.csv") == "load waiting", host.standing().__str__)
        until(lambda: "settle.csv" in host.standing(), host.standing().__str__)
        made = backed_up(host)
        assert daemon.stop() == 0
    (host.archive / "b").unlink()
    host.configure(changes)
    host.deliver("later.csv", b"A;B\n1;later\n")
    assert host.once().returncode == 1  # one is parked
    assert host.local() == {"no-gzip.csv.gz"}

    lose_the_ledger(host)
    shutil.rmtree(host.root / "in")
    host.configure(changes)
    host.deliver("done.csv", b"A;B\n1;done\n")
    host.deliver("new.csv", b"A;B\n1;new\n")
    restored = host.backupd("restore", "--latest")
    assert restored.returncode == 0, restored.stderr
    assert str(made["snapshot"]) in restored.stdout
    host.once()
    names = ["done.csv", "later.csv", "load.csv", "new.csv", "settle.csv", "ship.csv"]
    assert [row["file_name"] for row in host.rows()] == names
    archived = Counter(Path(name).name for name in host.archived() if ".backupd" not in name)
    assert archived == Counter(f"{name}.gz" for name in names)
    standing = host.standing()
    assert standing.pop("no-gzip.csv.gz") == "manifest parked"
    assert set(standing) == {"done.csv", "load.csv", "new.csv", "ship.csv"}
    assert set(standing.values()) == {"cleanup done"}


@pytest.mark.parametrize("comes_again", ["before the start", "after it"])
def test_what_was_done_after_the_snapshot_and_comes_again_is_recognised(
    tmp_path: Path, comes_again: str
) -> None:
    host = Host(tmp_path)
    host.deliver("1.csv")
    assert host.once().returncode == 0
    backed_up(host)
    host.deliver("2.csv")
    assert host.once().returncode == 0
    lose_the_ledger(host)
    assert host.backupd("restore", "--latest").returncode == 0
    if comes_again == "after it":
        assert host.once().returncode == 0
    host.deliver("2.csv")
    assert host.once().returncode == 0
    assert [row["file_name"] for row in host.rows()] == ["1.csv", "2.csv"]
    names = [name for name in host.archived() if not name.startswith(".backupd")]
    assert sorted(names) == ["a/1.csv.gz", "a/2.csv.gz"]
    assert host.local() == set()


def in_ship(host: Host) -> bool:
    wanted = {
        "done.csv": "cleanup done",
        "no-gzip.csv.gz": "manifest parked",
        "ship.csv": "ship waiting",
    }
    return host.standing() == wanted


def test_a_restored_ledger_takes_no_old_snapshot_for_its_last_one(tmp_path: Path) -> None:
    """It is as it was before that one was made: the next is due all the sooner."""
    host = Host(tmp_path)
    host.deliver("1.csv")
    assert host.once().returncode == 0
    first = backed_up(host)
    backed_up(host)
    lose_the_ledger(host)
    assert host.backupd("restore", "--latest").returncode == 0
    with closing(sqlite3.connect(host.root / "ledger.db")) as connection:
        known = connection.execute("SELECT name FROM snapshots").fetchall()
    assert known == [(first["snapshot"],)]


def test_a_server_that_is_down_fails_a_restore_and_changes_nothing(
    tmp_path: Path, server: SshServer
) -> None:
    host = Host(tmp_path, over_sftp(server, tmp_path / "archive"))
    host.deliver("1.csv")
    assert host.once().returncode == 0
    backed_up(host)
    lose_the_ledger(host)
    server.stop()
    assert host.backupd("restore", "--latest").returncode == 1
    assert not host.root.joinpath("ledger.db").exists()
    server.start()
    assert host.backupd("restore", "--latest").returncode == 0
    assert host.standing() == {"1.csv": "cleanup done"}


@pytest.fixture
def server(tmp_path: Path) -> Iterator[SshServer]:
    with running_sshd(tmp_path / "sshd") as server:
        yield server
