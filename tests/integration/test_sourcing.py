"""A properties file is read by a bash that can do nothing else."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from backupd.migration.declarations import read
from backupd.migration.sourcing import SourcingError, dump

if TYPE_CHECKING:
    from pathlib import Path

    from backupd.migration.declarations import Value


@pytest.fixture
def job(tmp_path: Path) -> Path:
    return tmp_path / "job.properties"


def _sourced(job: Path, text: str) -> tuple[dict[str, Value], list[str]]:
    job.write_text(text)
    content, complaints = dump(job)
    return read(content), complaints


def test_variables_of_the_file_and_of_those_that_it_sources(tmp_path: Path, job: Path) -> None:
    (tmp_path / "common").write_text("echo noise; root=/x\n")

    found, complaints = _sourced(
        job, f'. {tmp_path}/common; declare -A dirs; dirs[a]="$root/$(echo sub)"; >/dev/null'
    )

    assert (found["root"], found["dirs"]) == ("/x", {"a": "/x/sub"})
    assert complaints == []


@pytest.mark.parametrize(
    "command",
    [
        "echo x >{place}/new",
        "echo x >>{place}/old",
        "rm {place}/old",
        "mkdir {place}/new",
        "chmod 777 {place}/old",
        "touch -d 2001-01-01 {place}/old",
        "ln {place}/old {place}/new",
        "mount -o remount,bind,rw / && echo x >{place}/new",
        "unshare -Urm sh -c 'mount -o remount,bind,rw / && echo x >{place}/new'",
        "echo x >/proc/{pid}/root{place}/new",
        "echo x >/dev/shm/backupd-test-new",
    ],
)
def test_nothing_can_be_written(tmp_path: Path, job: Path, command: str) -> None:
    old = tmp_path / "old"
    old.write_text("old")
    before = old.stat()

    filled = command.format(place=tmp_path, pid=os.getpid())
    found, _ = _sourced(job, f"if {filled}; then written=yes; else written=no; fi")

    assert found["written"] == "no"
    after = old.stat()
    assert (after.st_mode, after.st_mtime_ns) == (before.st_mode, before.st_mtime_ns)
    assert {each.name for each in tmp_path.iterdir()} == {"old", "job.properties"}


def test_there_is_no_network_and_no_socket(tmp_path: Path, job: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server, socket.socket(socket.AF_UNIX) as local:
        local.bind(str(tmp_path / "socket"))
        local.listen()
        port = server.getsockname()[1]
        connect = f"import socket; socket.socket(socket.AF_UNIX).connect('{tmp_path}/socket')"
        found, _ = _sourced(
            job,
            f"(exec 9<>/dev/tcp/127.0.0.1/{port}) && network=yes\n"
            f'{sys.executable} -c "{connect}" && local=yes\n',
        )

    assert "network" not in found
    assert "local" not in found


def test_other_processes_of_the_user_are_out_of_reach(job: Path) -> None:
    victim = subprocess.Popen(["sleep", "600"])
    try:
        found, _ = _sourced(job, f"kill -9 {victim.pid} && killed=yes")

        assert "killed" not in found
        assert victim.poll() is None
    finally:
        victim.send_signal(signal.SIGKILL)
        victim.wait()


def test_there_are_no_capabilities(job: Path) -> None:
    found, _ = _sourced(job, "capabilities=$(grep -E 'Cap(Prm|Eff|Bnd)' /proc/self/status)")

    assert isinstance(found["capabilities"], str)
    assert {line.split()[1] for line in found["capabilities"].splitlines()} == {"0" * 16}


def test_the_environment_is_not_passed_on(job: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_SECRET_KEY", "hunter2")
    monkeypatch.setenv("ENV_MODE", "DEV")
    monkeypatch.setenv("BASH_ENV", str(job))

    found, _ = _sourced(job, "read=${read:-0}; read=$((read + 1))")

    assert "AWS_SECRET_KEY" not in found
    assert (found["ENV_MODE"], found["read"]) == ("DEV", "1")


def test_a_complaint_says_where_and_repeats_no_value(tmp_path: Path, job: Path) -> None:
    _, complaints = _sourced(
        job, f". {tmp_path}/missing\npassword=x hunter2\nset -x\nsecret=hunter2\n"
    )

    assert f"{job} line 1: No such file or directory" in complaints
    assert f"{job} line 2: command not found" in complaints
    assert not [each for each in complaints if "hunter2" in each]
    assert complaints[-1].endswith("more lines on standard error, not repeated here")


@pytest.mark.parametrize("text", ["exit 0", "exit 125", "set -e; false"])
def test_a_file_that_ends_the_shell_is_told(job: Path, text: str) -> None:
    job.write_text(text)

    with pytest.raises(SourcingError, match="ends the shell"):
        dump(job)


def test_a_file_that_does_not_end_is_given_up(job: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    job.write_text("while :; do read -t 60 <> <(:); done")
    monkeypatch.setattr("backupd.migration.sourcing.LONGEST", 1)

    with pytest.raises(SourcingError, match="was not read within 1 s"):
        dump(job)


def test_where_it_cannot_be_confined_nothing_is_run(tmp_path: Path, job: Path) -> None:
    job.write_text(f"echo x >{tmp_path}/run")
    run = f"import pathlib, backupd.migration.sourcing as it; it.dump(pathlib.Path('{job}'))"
    forbid = 'echo 0 >/proc/sys/user/max_user_namespaces && exec "$@"'

    done = subprocess.run(
        ["unshare", "-Ur", "sh", "-c", forbid, "sh", sys.executable, "-c", run],
        capture_output=True,
        text=True,
        check=False,
    )

    assert "cannot be confined on this host, so" in done.stderr
    assert "unshare: No space left on device" in done.stderr
    assert not (tmp_path / "run").exists()
