"""What lies in a feed and cannot be taken, as an operator hears of it."""

from __future__ import annotations

import subprocess
from typing import TYPE_CHECKING

from support.daemon import PATIENCE, PROGRAMS, Host, log_of, until

if TYPE_CHECKING:
    from pathlib import Path

    from support.configs import Changes

RESCANNING: Changes = {"intake.rescan_every": '"1s"'}


def test_run_once_says_why_it_is_not_through_and_ends_with_1(tmp_path: Path) -> None:
    host = Host(tmp_path)
    host.deliver("one.csv")
    (host.inbox / "two.csv").symlink_to(tmp_path / "elsewhere")

    run = host.once()

    assert run.returncode == 1
    assert host.standing() == {"one.csv": "cleanup done"}
    (told,) = [line for line in log_of(run.stderr) if line["event"] == "incident opened"]
    assert told["reason"].startswith(f"{host.inbox}/two.csv: it is a symbolic link (")
    assert host.once().returncode == 1
    (host.inbox / "two.csv").unlink()
    assert host.once().returncode == 0
    (over,) = host.shown_incidents("--all")
    assert over["kind"] == "untaken"
    assert over["until"] is not None


def test_a_companion_that_comes_after_its_file_was_done_is_told_of(tmp_path: Path) -> None:
    late: Changes = {
        "feeds.traffic.companion_suffix": '".cksum"',
        "feeds.traffic.companion_required": "false",
    }
    host = Host(tmp_path, late)
    host.deliver("one.csv")
    assert host.once().returncode == 0
    companion = host.deliver("one.cksum", b"1 2\n")
    assert host.once().returncode == 1
    (only,) = host.shown_incidents()
    assert only["reason"].startswith(f"{companion}: it is a companion that came after its file")
    companion.unlink()
    assert host.once().returncode == 0


def test_a_directory_that_cannot_be_listed_is_told_of(tmp_path: Path) -> None:
    host = Host(tmp_path, {"feeds.traffic.recursive": "true"})
    for name, mode in (("unlisted", 0o300), ("closed", 0o000), ("unentered", 0o600)):
        (host.inbox / name).mkdir()
        (host.inbox / name / "one.csv").write_text("A;B\n1;2\n")
        (host.inbox / name).chmod(mode)

    run = _as_root_without_its_rights(host)

    assert run.returncode == 1
    assert sorted(each["reason"].split(" (")[0] for each in host.shown_incidents()) == [
        f"{host.inbox}/closed: it cannot be listed: Permission denied, and 1 more like it",
        f"{host.inbox}/unentered/one.csv: it cannot be looked at: Permission denied",
    ]
    for directory in host.inbox.iterdir():
        directory.chmod(0o700)
    assert _as_root_without_its_rights(host).returncode == 0
    assert host.shown_incidents() == []
    assert len(host.files()) == 3


def test_a_file_that_may_not_be_read_costs_no_attempt_and_goes_on_when_it_may(
    tmp_path: Path,
) -> None:
    host = Host(tmp_path, {"feeds.traffic.recursive": "true"})
    (host.inbox / "below").mkdir()
    closed = [host.inbox / name for name in ("one.csv", "below/two.csv")]
    for path in closed:
        path.write_text("A;B\n1;2\n")
        path.chmod(0)
    host.deliver("three.csv")

    assert _as_root_without_its_rights(host).returncode == 1
    (told,) = host.shown_incidents()
    reason = f"{host.inbox}/below/two.csv: it may not be read, and 1 more like it"
    assert (told["kind"], told["reason"].split(" (")[0]) == ("untaken", reason)
    assert "right to read it" in told["reason"]
    assert host.standing() == {"three.csv": "cleanup done"}
    for path in closed:
        path.chmod(0o600)
    assert _as_root_without_its_rights(host).returncode == 0
    assert host.shown_incidents() == []
    assert {file.attempts for file in host.files()} == {0}


def _as_root_without_its_rights(host: Host) -> subprocess.CompletedProcess[bytes]:
    return subprocess.run(
        [
            *("setpriv", "--bounding-set=-dac_override,-dac_read_search"),
            *(PROGRAMS / "backupd", "run", "--once", "--config", host.config),
        ],
        capture_output=True,
        timeout=PATIENCE,
        check=False,
    )


def test_the_daemon_keeps_it_over_a_restart_and_ends_it_when_it_is_gone(tmp_path: Path) -> None:
    host = Host(tmp_path, RESCANNING)
    link = host.inbox / "one.csv"
    with host.daemon() as daemon:
        link.symlink_to("nowhere")
        daemon.tells("incident opened", kind="untaken")
        (first,) = host.shown_incidents()
        assert daemon.stop() == 0
    with host.daemon() as daemon:
        daemon.tells("incident still open", kind="untaken")
        assert host.shown_incidents() == [first]
        status = host.ask("status").stdout
        assert "feed traffic/a has what cannot be taken" in status
        assert "it is a symbolic link" in " ".join(status.split())
        link.unlink()
        daemon.tells("incident closed", kind="untaken")
        host.deliver("one.csv")
        until(lambda: host.standing() == {"one.csv": "cleanup done"}, lambda: str(host.standing()))
        assert host.shown_incidents() == []
