"""Two daemons for a while on a secured cluster whose servers die and whose tickets run out.

SOAK is how many seconds it lasts. Each minute the other NameNode becomes the active one, each other
minute a HiveServer2 is killed; all tickets are good for 20 seconds.
"""

from __future__ import annotations

import os
import sys
import time
from collections import Counter
from contextlib import ExitStack
from functools import partial
from typing import TYPE_CHECKING, Any

import pytest

from support.daemon import until
from support.hadoop_hosts import secured_host
from support.hadoop_tables import run
from support.hives import DATABASE
from support.kdc import SHORT_LIFE
from support.processes import resident
from support.secure_hadoop import running_secure_hadoop

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from support.daemon import Daemon, Host
    from support.hadoop import Server
    from support.kdc import Kdc
    from support.secure_hadoop import SecureHadoop

pytestmark = pytest.mark.soak

SECONDS = float(os.environ.get("SOAK") or 900)
EVERY = min(60.0, SECONDS / 3)  # seconds from failover to failover
LONGEST_INCIDENT = 30.0  # seconds: a failover takes some, and so does the next trial
USUAL_LIFE = 86_400  # seconds, of tickets
GROWTH = 1.15  # of memory, from a third of the time to the end


@pytest.fixture
def cluster(tmp_path: Path, kdc: Kdc) -> Iterator[SecureHadoop]:
    directory = tmp_path / "cluster"
    kdc.set_max_life("backupd", SHORT_LIFE)
    with running_secure_hadoop(directory, kdc, ha=True, two_hives=True) as started:
        yield started
    kdc.set_max_life("backupd", USUAL_LIFE)


def test_every_file_has_one_row_after_it(tmp_path: Path, cluster: SecureHadoop) -> None:
    way = cluster.config_keys(by_zookeeper=True)
    hosts = [
        secured_host(tmp_path / merge, cluster, way, merge=merge) for merge in ("files", "insert")
    ]
    with ExitStack() as stack:
        daemons = [stack.enter_context(host.daemon()) for host, _ in hosts]
        delivered, memory = soak(cluster, [host for host, _ in hosts], daemons)
        for host, _ in hosts:
            until(partial(is_done, host), host.config.read_text, within=300)
        memory.append(memory_of(daemons))
        assert [daemon.stop() for daemon in daemons] == [0, 0]
    figures = {"files": delivered, "memory": memory}
    for host, table in hosts:
        names = run(cluster, f"SELECT file_name FROM {DATABASE}.{table}")
        assert Counter(name for (name,) in names) == Counter(delivered_names(delivered))
        figures[table] = [seconds_of(each) for each in host.shown_incidents("--all")]
    sys.stdout.write(f"{figures}\n")
    for host, _ in hosts:
        incidents = host.shown_incidents("--all")
        assert all(each["until"] for each in incidents), incidents
        assert max(map(seconds_of, incidents), default=0) < LONGEST_INCIDENT, incidents
        assert not [file for file in host.files() if file.status == "parked"]
    early = memory[len(memory) // 3]
    assert all(last < first * GROWTH for first, last in zip(early, memory[-1], strict=True)), (
        figures
    )


def soak(
    cluster: SecureHadoop, hosts: list[Host], daemons: list[Daemon]
) -> tuple[int, list[list[int]]]:
    """Deliver files while servers die; return how many, and the memory at each trouble."""
    began = time.monotonic()
    next_trouble, delivered, memory = began + EVERY, 0, [memory_of(daemons)]
    while time.monotonic() < began + SECONDS:
        for host in hosts:
            host.deliver(f"{delivered:06}.csv")
        delivered += 1
        if time.monotonic() > next_trouble:
            trouble(cluster, len(memory) - 1)
            memory.append(memory_of(daemons))
            next_trouble = time.monotonic() + EVERY
        time.sleep(0.5)
    return delivered, memory


def memory_of(daemons: list[Daemon]) -> list[int]:
    """Return the bytes that each daemon holds in memory."""
    return [resident(daemon.process.pid) for daemon in daemons]


def trouble(cluster: SecureHadoop, number: int) -> None:
    cluster.failover()
    if number % 2:
        victim: Server = cluster.hives[number // 2 % 2]
        cluster.kill(victim)
        cluster.start(victim)


def delivered_names(count: int) -> list[str]:
    return [f"{number:06}.csv" for number in range(count)]


def is_done(host: Host) -> bool:
    return all(each == "cleanup done" for each in host.standing().values())


def seconds_of(incident: dict[str, Any]) -> float:
    """Return how long an incident lasted."""
    opened, closed = (incident[name] for name in ("since", "until"))
    return 0.0 if closed is None else seconds(closed) - seconds(opened)


def seconds(text: str) -> float:
    return time.mktime(time.strptime(text[:19], "%Y-%m-%dT%H:%M:%S"))
