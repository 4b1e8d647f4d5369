"""`backupd run --once` into Hive, with Impala there, away, and not configured."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest
from pyarrow import parquet as pq

from support.daemon import Host
from support.hive_host import in_hive
from support.hives import DATABASE, TABLE, running_hive
from support.processes import free_port

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from support.hive_server import Fault, HiveServer

NAMES = {"one.csv", "it's; two.csv", "${env:HOME}.csv"}


@pytest.fixture
def server(tmp_path: Path) -> Iterator[HiveServer]:
    with running_hive(tmp_path / "hive") as started:
        started.sasl = False
        yield started


@pytest.fixture
def impala(server: HiveServer, tmp_path: Path) -> Iterator[HiveServer]:
    """One that reads the same tables."""
    with running_hive(tmp_path / "impala") as started:
        started.sasl, started.impala = False, True
        started.tables = server.tables
        yield started


@pytest.fixture(params=["files", "insert"])
def merge(request: pytest.FixtureRequest) -> dict[str, str]:
    """The change in the config for each way to merge."""
    return {"warehouse.hive.merge": f'"{request.param}"'}


def with_impala(impala: HiveServer) -> dict[str, str]:
    return {
        "warehouse.impala.host": f'"{impala.host}"',
        "warehouse.impala.port": str(impala.port),
    }


def registered(server: HiveServer) -> list[str]:
    table = server.tables.directory / f"{DATABASE}.{TABLE}"
    return sorted(
        name
        for path in table.glob("file_date=*/*")
        for name in pq.read_table(path, partitioning=None)["file_name"].to_pylist()
    )


def owed(host: Host) -> list[dict[str, object]]:
    status = json.loads(host.ask("status", "--json").stdout)
    found: list[dict[str, object]] = status["refreshes_owed"]
    return found


def test_files_are_registered_in_hive_and_impala_is_told(
    tmp_path: Path, server: HiveServer, impala: HiveServer, merge: dict[str, str]
) -> None:
    host = Host(tmp_path)
    in_hive(host, server, **with_impala(impala), **merge)
    for name in NAMES:
        host.deliver(name)

    run = host.once()

    assert run.returncode == 0, run.stderr
    assert registered(server) == sorted(NAMES)
    assert set(host.standing().values()) == {"cleanup done"}
    (refreshed,) = set(server.tables.refreshed)
    assert refreshed.startswith(f"{DATABASE}.{TABLE} 20")  # the partition
    assert owed(host) == []


def test_an_impala_that_is_away_holds_nothing_up_and_is_told_later(
    tmp_path: Path, server: HiveServer, impala: HiveServer
) -> None:
    host = Host(tmp_path)
    in_hive(host, server, **with_impala(impala))
    impala.stop()
    for name in NAMES:
        host.deliver(name)
        assert host.once().returncode == 0

    (debt,) = owed(host)
    assert debt["table"] == f"`{DATABASE}`.`{TABLE}`"
    assert debt["merges"] == len(NAMES)
    assert "Pending Impala REFRESH" in host.ask("status").stdout

    impala.start()
    assert host.once().returncode == 0
    assert len(server.tables.refreshed) == 1
    assert owed(host) == []


def test_without_impala_nothing_is_owed(
    tmp_path: Path, server: HiveServer, impala: HiveServer
) -> None:
    host = Host(tmp_path)
    in_hive(host, server, **with_impala(impala))
    for _ in range(4):  # of the partition and then of the table, at the merge and at the stop
        impala.on("REFRESH", "fail")
    host.deliver("one.csv")
    host.once()
    assert len(owed(host)) == 1

    in_hive(host, server)
    host.once()
    assert owed(host) == []


def test_statements_and_manifest_of_a_batch_are_shown(
    tmp_path: Path, server: HiveServer, merge: dict[str, str]
) -> None:
    host = Host(tmp_path)
    in_hive(host, server, **merge)
    host.deliver("it's; two.csv")
    host.once()
    (file,) = host.files()
    assert file.batch_id

    told = host.admin("batch", file.batch_id, "--sql").stdout.splitlines()
    assert [line.removesuffix(";") for line in told if line in map("{};".format, server.statements)]
    assert "it's" not in "".join(told)
    assert "it's; two.csv" in host.ask("batch", file.batch_id, "--manifest").stdout
    assert host.admin("reconcile").returncode == 0
    assert host.ask("prove", file.id).returncode == 0


def test_a_hive_that_is_down_pauses_load_and_is_told(
    tmp_path: Path, server: HiveServer, merge: dict[str, str]
) -> None:
    host = Host(tmp_path)
    in_hive(host, server, **merge)
    host.deliver("one.csv")
    server.stop()
    assert host.once().returncode == 1
    assert "cannot be reached" in host.ask("status").stdout
    assert host.standing() == {"one.csv": "load waiting"}

    server.start()
    assert host.once().returncode == 0
    assert registered(server) == ["one.csv"]


def test_requeueing_from_load_makes_no_second_row(
    tmp_path: Path, server: HiveServer, merge: dict[str, str]
) -> None:
    host = Host(tmp_path)
    in_hive(host, server, **merge)
    host.deliver("one.csv")
    host.once()
    (file,) = host.files()
    for stage in ("load", "merge"):
        assert host.admin("requeue", file.id, "--from", stage).returncode == 0
        assert host.once().returncode == 0
    assert registered(server) == ["one.csv"]


def test_the_probe_tells_each_part_of_hive_and_impala(
    tmp_path: Path, server: HiveServer, impala: HiveServer, merge: dict[str, str]
) -> None:
    host = Host(tmp_path)
    in_hive(host, server, **with_impala(impala), **merge)
    probe = host.backupd("check", "--probe")
    assert probe.returncode == 0, probe.stdout
    assert "LOAD DATA" in probe.stdout
    assert "REFRESH" in probe.stdout
    impala.stop()
    probe = host.backupd("check", "--probe")
    assert probe.returncode == 1
    assert f"Impala at 127.0.0.1:{impala.port}" in probe.stdout
    impala.start()
    assert "CREATE EXTERNAL TABLE" in host.backupd("check", "--ddl").stdout


@pytest.mark.parametrize("fault", ["orphan", "linger", "hang"])
@pytest.mark.parametrize("statement", ["LOAD DATA", "INSERT", "DROP"])
def test_a_daemon_that_is_killed_at_a_statement_makes_each_row_once(
    tmp_path: Path, server: HiveServer, statement: str, fault: Fault
) -> None:
    """The server goes on with it, whatever becomes of the daemon and the connection."""
    host = Host(tmp_path)
    in_hive(
        host,
        server,
        **{"warehouse.hive.merge": '"insert"', "warehouse.hive.statement_timeout": '"2s"'},
    )
    for name in NAMES:
        host.deliver(name)
    server.on(statement, fault)
    with host.daemon():
        server.wait_for(statement)

    assert host.once().returncode == 0
    server.release()
    assert registered(server) == sorted(NAMES)
    assert host.admin("reconcile").returncode == 0


def test_doubled_rows_are_told_with_what_repairs_them(tmp_path: Path, server: HiveServer) -> None:
    host = Host(tmp_path)
    in_hive(host, server, **{"warehouse.hive.merge": '"insert"'})
    host.deliver("one.csv")
    server.on("INSERT", "zombie")
    server.on("DROP", "fail")  # what it read stays where it is
    with host.daemon():
        server.wait_for("INSERT")
        server.wait_for("DROP")
    assert server.release() == [""]
    host.admin("requeue", host.files()[0].id, "--from", "merge")
    host.once()

    told = host.admin("reconcile")
    assert told.returncode == 1
    assert "row-doubled" in told.stdout
    assert f"INSERT OVERWRITE TABLE `{DATABASE}`.`{TABLE}`" in told.stderr


def test_status_shows_which_of_several_servers_is_in_use(
    tmp_path: Path, server: HiveServer
) -> None:
    host, address = Host(tmp_path), f"{server.host}:{server.port}"
    dead = f"{server.host}:{free_port()}"
    in_hive(
        host,
        server,
        **{"warehouse.hive.host": None, "warehouse.hive.hosts": f'["{dead}", "{address}"]'},
    )
    host.deliver("one.csv")
    assert host.once().returncode == 0
    assert f"HiveServer2 in use: {address}" in host.ask("status").stdout
    status = json.loads(host.ask("status", "--json").stdout)
    assert status["servers_in_use"] == {"HiveServer2": address}
    assert host.shown_incidents("--all") == []

    host.configure({})  # no Hive any more
    host.once()
    assert json.loads(host.ask("status", "--json").stdout)["servers_in_use"] == {}


def test_two_daemons_that_are_handed_the_same_file_make_one_row(
    tmp_path: Path, server: HiveServer, merge: dict[str, str]
) -> None:
    hosts = []
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        hosts.append(Host(tmp_path / name))
        in_hive(hosts[-1], server, **merge)
        hosts[-1].deliver("same.csv")
        hosts[-1].deliver(f"of-{name}.csv")
    for host in hosts:
        run = host.once()
        assert run.returncode == 0, run.stderr
        assert not host.local()
    assert registered(server) == ["of-one.csv", "of-two.csv", "same.csv"]
    shown = [json.loads(host.ask("show", "same.csv", "--json").stdout) for host in hosts]
    assert shown[0]["file_id"] == shown[1]["file_id"]
    assert shown[0]["id"] != shown[1]["id"]
