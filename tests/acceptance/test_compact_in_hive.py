"""`backupd-admin compact` for partitions in Hive: the daemon does it, and goes on afterwards."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from support.daemon import until
from support.hive_compaction import DATE, usual_place
from support.hive_host import a_host, assert_sound, count_files
from support.hives import running_hive
from support.past_files import FILES, comes_to_its_end, compacted, deliver, run_each

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from support.daemon import Host
    from support.hive_server import HiveServer


@pytest.fixture
def server(tmp_path: Path) -> Iterator[HiveServer]:
    with running_hive(tmp_path / "hive") as started:
        yield started


@pytest.fixture(params=["files", "insert"])
def host(request: pytest.FixtureRequest, tmp_path: Path, server: HiveServer) -> Host:
    made = a_host(tmp_path, server, **{"warehouse.hive.merge": f'"{request.param}"'})
    run_each(made)
    return made


def test_a_date_has_one_file_and_work_goes_on(host: Host, server: HiveServer) -> None:
    assert count_files(server) == FILES
    with host.daemon() as daemon:
        (line,) = compacted(host)
        assert (line["date"], line["files_before"], line["files_after"]) == (DATE, FILES, 1)
        assert line["rows"] == FILES
        daemon.tells("compacted", date=DATE, rows=FILES)
        assert compacted(host) == []
        assert_sound(host, server)

        comes_to_its_end(host, deliver(host, FILES))
        first = next(file for file in host.files() if file.file_name == "0.csv")
        assert host.admin("requeue", first.id, "--from", "merge").returncode == 0
        comes_to_its_end(host, "0.csv")
        assert_sound(host, server, FILES + 1)
        (line,) = compacted(host)
        assert line["files_before"] == 2
    assert_sound(host, server, FILES + 1)


def test_a_date_that_is_left_as_it_is_is_logged_once(host: Host, server: HiveServer) -> None:
    (usual_place(server) / "notes.txt").write_text("mine")
    with host.daemon() as daemon:
        for _ in range(2):
            (line,) = compacted(host, exit_code=1)
            assert line["left"] == "notes.txt is not a file that this backupd made"
        told = [line for line in daemon.told() if line["event"] == "not compacted"]
        assert [line["date"] for line in told] == [DATE]


def test_impala_is_notified(tmp_path: Path, server: HiveServer) -> None:
    with running_hive(tmp_path / "impala") as impala:
        impala.sasl, impala.impala = False, True
        impala.tables = server.tables
        address = {"host": f'"{impala.host}"', "port": str(impala.port)}
        changes: dict[str, str | None] = {
            f"warehouse.impala.{key}": value for key, value in address.items()
        }
        host = a_host(tmp_path, server, **changes)
        run_each(host)
        before = len(server.tables.refreshed)
        with host.daemon():
            compacted(host)
            until(lambda: len(server.tables.refreshed) > before, lambda: "no REFRESH")
    assert server.tables.refreshed[-1].endswith(DATE)
