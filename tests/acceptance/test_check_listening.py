"""`backupd check --probe`: whether the daemon answers, or could listen, where it has to."""

from __future__ import annotations

import socket
from contextlib import closing
from typing import TYPE_CHECKING

import pytest

from support.daemon import Host

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        free: int = probe.getsockname()[1]
    return free


@pytest.fixture
def host(tmp_path: Path, port: int) -> Host:
    return Host(tmp_path, {"metrics.listen": f'"127.0.0.1:{port}"'})


def probed(host: Host, subject: str) -> str:
    """Return the line of a subject and the two below it: its hint."""
    lines = host.backupd("check", "--probe").stdout.splitlines()
    (found,) = [place for place, line in enumerate(lines) if line.startswith(subject)]
    return " ".join(" ".join(lines[found : found + 3]).split())


def test_nothing_is_in_the_way_of_a_daemon_that_does_not_run(host: Host, port: int) -> None:
    assert " ok free" in probed(host, "control socket")
    assert " ok free" in probed(host, f"metrics 127.0.0.1:{port}")


def test_a_running_daemon_answers_on_both(host: Host, port: int) -> None:
    with host.daemon() as daemon:
        pid = daemon.process.pid
        assert f" ok the running backupd (pid {pid}) answers" in probed(host, "control socket")
        assert " ok the running backupd answers" in probed(host, f"metrics 127.0.0.1:{port}")


def test_a_port_that_is_taken_is_told(host: Host, port: int) -> None:
    with closing(socket.create_server(("127.0.0.1", port))):
        told = probed(host, "metrics")
    assert "FAILED Address already in use" in told
    assert "metrics.listen" in told


def test_a_running_daemon_with_other_addresses_is_told(host: Host, tmp_path: Path) -> None:
    with host.daemon():
        (tmp_path / "control.sock").unlink()
        assert "FAILED the running backupd does not answer" in probed(host, "control socket")
        host.configure({"metrics.listen": '"127.0.0.2:9464"'})
        assert "FAILED the running backupd does not answer" in probed(host, "metrics")


def test_a_socket_of_another_daemon_is_told(host: Host, tmp_path: Path) -> None:
    other = Host(tmp_path / "other")
    other.configure({"control.socket": f'"{tmp_path}/control.sock"'})
    with other.daemon():
        told = probed(host, "control socket")
    assert "with another ledger, answers on it" in told


@pytest.mark.parametrize(
    ("change", "problem"),
    [("file", "something that is not a socket is there"), ("gone", "its directory is not there")],
)
def test_what_is_in_the_way_of_the_socket_is_told(
    host: Host, tmp_path: Path, change: str, problem: str
) -> None:
    if change == "file":
        (tmp_path / "control.sock").write_text("mine")
    else:
        host.configure({"control.socket": '"TMP/gone/control.sock"'})
    assert f"FAILED {problem}" in probed(host, "control socket")
