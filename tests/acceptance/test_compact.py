"""`backupd-admin compact`, while a daemon runs and while none does."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import pytest

from support.daemon import Host
from support.past_files import (
    FILES,
    assert_nothing_differs,
    comes_to_its_end,
    compacted,
    deliver,
    run_each,
)

if TYPE_CHECKING:
    from pathlib import Path

DATE = "2026-11-23"


@pytest.fixture
def host(tmp_path: Path) -> Host:
    return Host(tmp_path)


def files_of(host: Host, date: str = DATE) -> list[Path]:
    return list((host.root / f"warehouse/production/file_date={date}").iterdir())


def assert_sound(host: Host) -> None:
    """Each file has one row, and nothing differs."""
    assert [row["file_name"] for row in host.rows()] == [f"{n}.csv" for n in range(FILES)]
    assert_nothing_differs(host)


def test_without_a_daemon_each_past_date_has_one_file_in_the_end(host: Host) -> None:
    run_each(host)
    assert len(files_of(host)) == FILES

    (line,) = compacted(host)

    (made,) = files_of(host)
    assert line == {
        "date": DATE,
        "files_before": FILES,
        "files_after": 1,
        "rows": FILES,
        "bytes": made.stat().st_size,
        "left": None,
    }
    assert_sound(host)
    again = host.admin("compact", "--before", "2026-12-01")
    said = "nothing to do: no date before 2026-12-01 has more than one file\n"
    assert (again.returncode, again.stdout) == (0, said)


def test_a_running_daemon_compacts_when_it_is_asked(host: Host) -> None:
    with host.daemon() as daemon:
        for number in range(FILES):
            comes_to_its_end(host, deliver(host, number))
        assert len(files_of(host)) == FILES

        answer = host.admin("compact")

        assert (answer.returncode, answer.stderr) == (0, "")
        assert answer.stdout.startswith(f"{DATE}: 3 files, now 1: 3 rows, ")
        assert daemon.tells("compacted", date=DATE, files=FILES, rows=FILES)
        assert_sound(host)
        assert host.admin("requeue", "1.csv", "--from", "load").returncode == 0
        comes_to_its_end(host, "1.csv")
        assert_sound(host)
        assert daemon.stop() == 0
    assert host.once().returncode == 0
    assert_sound(host)


def test_dates_from_the_one_that_is_named_stay(host: Host) -> None:
    run_each(host)
    assert compacted(host, "--before", DATE) == []
    assert len(files_of(host)) == FILES


def test_today_stays_unless_a_later_date_is_named(host: Host) -> None:
    today = time.strftime("%Y-%m-%d", time.gmtime())
    for number in range(2):
        deliver(host, number, time.time())
        assert host.once().returncode == 0
    assert all(line["date"] != today for line in compacted(host))
    assert today in [line["date"] for line in compacted(host, "--before", "2999-01-01")]


def test_a_date_with_what_is_not_ours_is_left_and_told(host: Host) -> None:
    run_each(host)
    strange = files_of(host)[0].with_name("theirs.parquet")
    strange.write_bytes(b"theirs")

    (line,) = compacted(host, exit_code=1)

    assert (line["date"], line["files_before"], line["files_after"]) == (DATE, 4, 4)
    assert line["left"] == "theirs.parquet is not a file that backupd makes"
    assert len(files_of(host)) == 4
    answer = host.admin("compact")
    assert answer.stderr == (
        f"{DATE}: left as it is: theirs.parquet is not a file that backupd makes\n"
        "error: 1 date left as found\n"
    )


def test_without_a_daemon_nothing_is_compacted_in_hive(host: Host) -> None:
    host.configure(
        {
            "warehouse.kind": '"hive"',
            "warehouse.hive.host": '"localhost"',
            "warehouse.hive.staging_url": '"webhdfs://localhost:9870/staging"',
        }
    )
    answer = host.admin("compact")
    assert answer.returncode == 1
    assert "partitions in Hive are compacted by the daemon, and none runs" in answer.stderr


def test_what_is_no_date_is_wrong_usage(host: Host) -> None:
    assert host.admin("compact", "--before", "yesterday").returncode == 2


def test_nothing_is_made_where_there_was_no_daemon_yet(host: Host) -> None:
    before = sorted(host.root.rglob("*"))
    answer = host.admin("compact")
    assert answer.returncode == 1
    assert sorted(host.root.rglob("*")) == before
