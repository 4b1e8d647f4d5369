"""A daemon that runs out of descriptors: nobody's fault, one incident, over by itself."""

from __future__ import annotations

import json
import subprocess
from typing import TYPE_CHECKING

import pytest

from support.daemon import PROGRAMS, Host, until
from support.limits import descriptors_left
from support.processes import descendants

if TYPE_CHECKING:
    from pathlib import Path


@pytest.mark.parametrize("limit", [pytest.param(14, marks=pytest.mark.slow), 22])
def test_a_single_run_that_may_open_too_few_files_ends_and_says_so(
    tmp_path: Path, limit: int
) -> None:
    host = Host(tmp_path)
    host.deliver("a_0.csv")
    command = ["prlimit", f"--nofile={limit}:{limit}", str(PROGRAMS / "backupd"), "run", "--once"]
    ended = subprocess.run(
        [*command, "--config", str(host.config)],
        capture_output=True,
        text=True,
        timeout=90,
        check=False,
    )
    assert ended.returncode == 1, ended.stderr
    assert "this host is at its limits" in ended.stderr
    assert host.local() == {"a_0.csv"}
    assert host.once().returncode == 0
    assert host.local() == set()


@pytest.mark.parametrize(("whose", "left"), [("first process", 0), ("carrier", 1)])
def test_files_wait_for_descriptors_and_go_on_by_themselves(
    tmp_path: Path, whose: str, left: int
) -> None:
    host = Host(tmp_path, {"retry.cap": '"1s"'})  # so long it has to be well, until it is over
    with host.daemon() as daemon:
        host.deliver("a_0.csv")
        until(lambda: host.standing() == {"a_0.csv": "cleanup done"}, lambda: str(host.standing()))
        (carrier,) = descendants(daemon.process.pid)
        pid = carrier if whose == "carrier" else daemon.process.pid
        with descriptors_left(left, pid):
            for number in range(1, 11):
                host.deliver(f"a_{number}.csv")
            daemon.tells("dependency down", dependency="host")
            assert {file.status for file in host.files()} <= {"waiting", "running", "done"}
        until(
            lambda: set(host.standing().values()) == {"cleanup done"} and len(host.files()) == 11,
            lambda: str(host.standing()),
        )
        daemon.tells("dependency up again", dependency="host")
        incidents = host.ask("incidents", "--all", "--json").stdout.splitlines()
        assert {json.loads(line)["cause"] for line in incidents} == {"host"}
        assert daemon.stop() == 0
    assert not [line for line in daemon.told() if "unexpected" in line["event"]]
    assert not [line for line in daemon.told() if line["event"] == "file parked"]
    assert len(host.rows()) == len(host.archived()) == 11
