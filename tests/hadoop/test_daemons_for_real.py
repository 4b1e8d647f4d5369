"""Daemons on a secured cluster: a file's whole way, and what waits while nobody gives tickets."""

from __future__ import annotations

import contextlib
import json
from typing import TYPE_CHECKING, Literal

import pytest

from support.daemon import until
from support.hadoop_hosts import secured_host
from support.hadoop_tables import run
from support.hives import DATABASE

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from support.daemon import Host
    from support.hadoop import Transport
    from support.kdc import Kdc
    from support.secure_hadoop import SecureHadoop

pytestmark = pytest.mark.hadoop

MERGES = ["files", "insert"]
NAMES = {"one.csv", "it's; two.csv", "${env:HOME}.csv"}


@pytest.mark.parametrize("transport", ["binary", "http"])
@pytest.mark.parametrize("merge", MERGES)
def test_a_daemon_does_its_work_on_a_secured_cluster(
    tmp_path: Path, secure_hadoop: SecureHadoop, merge: str, transport: Transport
) -> None:
    way = secure_hadoop.config_keys(transport)
    host, table = secured_host(tmp_path / "host", secure_hadoop, way, merge=merge)
    for name in NAMES:
        host.deliver(name)
    checked = host.backupd("check", "--probe")
    assert checked.returncode == 0, checked.stdout + checked.stderr
    for step in ("Kerberos backupd@", "TLSv1.3 verified", "active", "standby"):
        assert step in checked.stdout

    run_once = host.once()
    assert run_once.returncode == 0, run_once.stderr
    found = run(secure_hadoop, f"SELECT file_name FROM {DATABASE}.{table}")
    assert sorted(name for (name,) in found) == sorted(NAMES)
    assert not host.local()
    assert "HiveServer2 in use: localhost:" in host.admin("status").stdout
    assert set(json.loads(host.admin("status", "--json").stdout)["servers_in_use"]) == {
        "HiveServer2",
        "NameNode",
    }
    said = run_once.stderr + "".join(host.admin("show", name).stdout for name in NAMES)
    for secret in ("delegation=", "Negotiate ", "hadoop.auth", "hive.server2.auth"):
        assert secret not in said


@contextlib.contextmanager
def away(kdc: Kdc, how: Literal["frozen", "dead"]) -> Iterator[None]:
    """Nobody gets a ticket meanwhile."""
    leave, come_back = (kdc.freeze, kdc.thaw) if how == "frozen" else (kdc.kill, kdc.start)
    leave()
    try:
        yield
    finally:
        come_back()


@contextlib.contextmanager
def archive_away(host: Host) -> Iterator[None]:
    """Nothing can be shipped meanwhile."""
    aside = host.archive.rename(host.archive.with_name("aside"))
    yield
    aside.rename(host.archive)


@pytest.mark.sample(1)
@pytest.mark.parametrize(("merge", "how"), [("files", "frozen"), ("insert", "dead")])
def test_without_a_kdc_the_warehouse_waits_and_nothing_else(
    tmp_path: Path, secure_hadoop: SecureHadoop, merge: str, how: Literal["frozen", "dead"]
) -> None:
    way = secure_hadoop.config_keys()
    host, table = secured_host(tmp_path / "host", secure_hadoop, way, merge=merge)
    host.deliver("first.csv")
    assert host.once().returncode == 0  # from here on the archive is known
    host.deliver("merged.csv")
    with archive_away(host), host.daemon() as daemon:
        stands(host, {"merged.csv": "ship waiting"})
        assert daemon.stop() == 0

    with away(secure_hadoop.kdc, how), host.daemon() as daemon:
        host.deliver("late.csv")
        # Shipped; before it is removed its row is to be seen again, since the daemon began anew.
        stands(host, {"merged.csv": "cleanup waiting", "late.csv": "load waiting"})
        until(host.shown_incidents, lambda: f"{host.standing()}", within=60)
        (incident,) = host.shown_incidents()
        assert (incident["kind"], incident["cause"]) == ("dependency", "warehouse")
        assert "KDC" in incident["reason"]
        # A trial counts while it lasts.
        until(lambda: not any(file.attempts for file in host.files()), lambda: f"{host.files()}")
        assert daemon.stop() == 0

    with host.daemon() as daemon:
        stands(host, {"merged.csv": "cleanup done", "late.csv": "cleanup done"})
        until(lambda: not host.shown_incidents(), lambda: f"{host.standing()}")
    found = run(secure_hadoop, f"SELECT file_name FROM {DATABASE}.{table}")
    assert sorted(name for (name,) in found) == ["first.csv", "late.csv", "merged.csv"]


def stands(host: Host, wanted: dict[str, str]) -> None:
    """Wait until these files stand where they should."""
    until(lambda: wanted.items() <= host.standing().items(), lambda: f"{host.standing()}", 60)
