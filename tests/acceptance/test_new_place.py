"""Places without their mark, and `backupd check --new-place`."""

from __future__ import annotations

import subprocess
from typing import TYPE_CHECKING

import pytest

from backupd.ledger import LedgerReader, places
from support.daemon import PROGRAMS, Host, over_sftp, until
from support.sshd import SshServer

if TYPE_CHECKING:
    from pathlib import Path

NAMES = ("archive", "warehouse")


@pytest.fixture
def host(tmp_path: Path) -> Host:
    """A host whose ledger has a file behind it, and knows its places."""
    host = Host(tmp_path)
    host.deliver("first.csv")
    assert host.once().returncode == 0
    new_place(host, "--yes")
    return host


def new_place(host: Host, *flags: str, answer: str = "") -> subprocess.CompletedProcess[str]:
    program, config = str(PROGRAMS / "backupd"), str(host.config)
    command = [program, "check", "--new-place", *flags, "--config", config]
    return subprocess.run(command, input=answer, capture_output=True, text=True, check=False)


def known(host: Host) -> dict[str, str | None]:
    reader = LedgerReader(host.root / "ledger.db")
    try:
        return {name: reader.ask(places.place, name) for name in NAMES}
    finally:
        reader.close()


def marks(host: Host) -> dict[str, str | None]:
    files = {name: host.root / name / ".backupd-id" for name in NAMES}
    return {
        name: file.read_text().strip() if file.exists() else None for name, file in files.items()
    }


def unmount(host: Host) -> None:
    """Leave empty directories in the places of both."""
    for name in NAMES:
        (host.root / name).rename(host.root / f"mounted-{name}")
        (host.root / name).mkdir()


def mount(host: Host) -> None:
    for name in NAMES:
        (host.root / name).rmdir()
        (host.root / f"mounted-{name}").rename(host.root / name)


def test_the_ledger_knows_what_was_marked(host: Host) -> None:
    assert all(marks(host).values())
    assert known(host) == marks(host)
    again = new_place(host)
    assert again.returncode == 0
    assert "nothing to do" in again.stdout


def test_without_a_ledger_nothing_is_marked(tmp_path: Path) -> None:
    host = Host(tmp_path)
    before = sorted(tmp_path.rglob("*"))
    said = new_place(host, "--yes")
    assert said.returncode == 1
    assert "there is no ledger" in said.stderr
    assert sorted(tmp_path.rglob("*")) == before


def test_probes_fail_where_the_marks_are_missing_and_write_nothing(host: Host) -> None:
    unmount(host)
    probe = host.backupd("check", "--probe")
    assert probe.returncode == 1
    failed = [line.split()[:2] for line in probe.stdout.splitlines() if " FAILED " in line]
    assert sorted(failed) == [["archive", "place"], ["warehouse", "place"]]
    assert probe.stdout.count("--new-place") == 2
    mount(host)
    assert host.backupd("check", "--probe").returncode == 0


def test_nothing_is_believed_missing_where_the_marks_are(host: Host) -> None:
    unmount(host)
    said = host.admin("reconcile")
    assert said.returncode == 1
    assert "missing" not in said.stdout
    assert "--new-place" in said.stderr
    mount(host)
    assert host.admin("reconcile").returncode == 0


def test_a_person_is_asked_and_may_say_no(host: Host) -> None:
    before = known(host)
    unmount(host)
    refused = new_place(host, answer="n\n")
    assert refused.returncode == 1
    assert "nothing was changed" in refused.stderr
    assert str(host.archive) in refused.stdout
    assert marks(host) == dict.fromkeys(NAMES)
    assert known(host) == before


@pytest.mark.parametrize(("flags", "answer"), [((), "y\n"), (("--yes",), "")])
def test_a_person_may_say_yes_and_it_goes_on(
    host: Host, flags: tuple[str, ...], answer: str
) -> None:
    before = known(host)
    unmount(host)
    said = new_place(host, *flags, answer=answer)
    assert said.returncode == 0
    assert known(host) == marks(host)
    assert not set(known(host).values()) & set(before.values())
    host.deliver("second.csv")
    assert host.once().returncode == 0
    assert [row["file_name"] for row in host.rows()] == ["second.csv"]


def test_a_mark_that_is_there_is_taken_over(host: Host) -> None:
    other = "0123456789abcdef" * 2
    for name in NAMES:
        (host.root / name / ".backupd-id").write_text(f"{other}\n")
    assert new_place(host, "--yes").returncode == 0
    assert known(host) == marks(host) == dict.fromkeys(NAMES, other)


def test_a_place_that_is_not_there_is_not_made(host: Host) -> None:
    (host.root / "warehouse").rename(host.root / "gone")
    said = new_place(host, "--yes")
    assert said.returncode == 1
    assert "cannot be marked" in said.stderr
    assert not (host.root / "warehouse").exists()


def test_a_running_daemon_takes_the_new_warehouse_without_a_restart(host: Host) -> None:
    with host.daemon() as daemon:
        (host.root / "warehouse").rename(host.root / "old")
        (host.root / "warehouse").mkdir()
        for name in ("staging", "production"):
            (host.root / "warehouse" / name).mkdir()
        host.deliver("second.csv")
        daemon.tells("dependency down")
        assert new_place(host, "--yes").returncode == 0
        assert known(host) == marks(host)
        until(lambda: host.standing()["second.csv"] == "cleanup done", lambda: str(host.standing()))
        assert daemon.stop() == 0


def test_an_archive_that_is_a_feeds_directory_is_told(tmp_path: Path) -> None:
    server = SshServer(tmp_path / "sshd")
    server.start()
    try:
        host = Host(tmp_path, over_sftp(server, tmp_path / "in"))
        probe = host.backupd("check", "--probe")
    finally:
        server.stop()
    assert probe.returncode == 1
    assert f"shows up in {tmp_path}/in/a" in " ".join(probe.stdout.split())
    assert host.local() == set()
