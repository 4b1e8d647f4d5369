"""`backupd check`: is the config right, and does all that it names work?"""

from __future__ import annotations

import subprocess
from typing import TYPE_CHECKING

import pytest

from support.daemon import PROGRAMS, Host, over_sftp
from support.sshd import SshServer

if TYPE_CHECKING:
    from pathlib import Path


def test_says_that_a_config_is_valid(tmp_path: Path) -> None:
    check = Host(tmp_path).backupd("check")

    assert check.returncode == 0
    assert check.stdout == "the config is valid: 2 feeds, environment prod\n"
    assert check.stderr == ""


def test_touches_nothing(tmp_path: Path) -> None:
    host = Host(tmp_path)
    before = sorted(tmp_path.rglob("*"))

    for flags in ((), ("--ddl",), ("--write-paths",)):
        host.backupd("check", *flags)

    assert sorted(tmp_path.rglob("*")) == before


def test_names_all_mistakes_each_with_its_key(tmp_path: Path) -> None:
    host = Host(
        tmp_path,
        {
            "environment": '"test"',
            "retry.attempts": '"many"',
            "archive.url": '"sftp://user:secret@host/x"',
            "feeds.traffic.timestamp_regex": "'('",
            "feeds.traffic.timestamp_format": '"%Y%m%d"',
        },
    )

    for flags in ((), ("--probe",)):
        check = host.backupd("check", *flags)

        assert check.returncode == 2
        assert check.stdout == ""
        for key in (
            "environment",
            "retry.attempts",
            "archive.url",
            "feeds.traffic.timestamp_regex",
        ):
            assert [line for line in check.stderr.splitlines() if f"{key} " in line], key
        assert "secret" not in check.stderr


@pytest.mark.parametrize(("ship", "said"), [(1, False), (32, True), (1024, True)])
def test_says_when_too_few_files_may_be_open(tmp_path: Path, ship: int, said: bool) -> None:
    host = Host(tmp_path, {"concurrency.ship": str(ship)})
    command = ["prlimit", "--nofile=400:400", str(PROGRAMS / "backupd")]
    check = subprocess.run(
        [*command, "check", "--config", str(host.config)],
        capture_output=True,
        text=True,
        timeout=30,
        check=True,
    )
    assert ("a process here may open 400 files, and this config may need" in check.stderr) is said


def test_says_which_sections_are_not_acted_on(tmp_path: Path) -> None:
    check = Host(tmp_path, {"warehouse.impala.host": '"impala"'}).backupd("check")

    assert check.returncode == 0
    assert check.stderr == "warning: warehouse.impala is not acted on\n"


def test_says_where_it_looked_for_a_config(tmp_path: Path) -> None:
    host = Host(tmp_path)
    host.config.unlink()

    check = host.backupd("check")

    assert check.returncode == 2
    assert str(host.config) in check.stderr


def test_probes_everything_for_real_and_leaves_nothing_behind(tmp_path: Path) -> None:
    host = Host(tmp_path)

    probe = host.backupd("check", "--probe")

    assert probe.returncode == 0
    lines = probe.stdout.splitlines()
    for subject in ("ledger ", "feed traffic/a", "feed traffic/b", "warehouse", "archive"):
        assert [line for line in lines if line.startswith(subject) and " ok " in line], subject
    assert not list(tmp_path.rglob("*probe*"))
    assert not (tmp_path / "warehouse").exists()
    assert not (tmp_path / "archive").exists()
    assert host.local() == set()


def test_tells_what_to_do_about_each_probe_that_fails(tmp_path: Path) -> None:
    server = SshServer(tmp_path / "sshd")  # never started: nothing answers on its port
    host = Host(
        tmp_path,
        {**over_sftp(server, tmp_path), "warehouse.embedded.root": '"TMP/nowhere/warehouse"'},
    )

    probe = host.backupd("check", "--probe")

    assert probe.returncode == 1
    lines = probe.stdout.splitlines()
    failed = [place for place, line in enumerate(lines) if " FAILED " in line]
    assert {lines[place].split()[0] for place in failed} == {"archive", "warehouse"}
    assert all(lines[place + 1].lstrip().startswith("→") for place in failed)


def test_tells_what_failed_first_in_an_archive(tmp_path: Path) -> None:
    (tmp_path / "blocked").write_text("a file where a directory should be")
    host = Host(tmp_path, {"archive.url": '"file://TMP/blocked/archive"'})

    probe = host.backupd("check", "--probe")

    assert probe.returncode == 1
    failed = [line for line in probe.stdout.splitlines() if " FAILED " in line]
    assert len(failed) == 1  # nothing is written below it
    assert "archive place" in failed[0]
    assert "could not read" in failed[0]


def test_probes_beside_a_running_daemon(tmp_path: Path) -> None:
    host = Host(tmp_path)
    with host.daemon() as daemon:
        probe = host.backupd("check", "--probe")

        assert probe.returncode == 0
        assert "a running backupd holds" in probe.stdout
        assert daemon.stop() == 0
    assert host.files() == []


def test_prints_the_statements_for_the_tables_that_the_config_wants(tmp_path: Path) -> None:
    ddl = Host(tmp_path).backupd("check", "--ddl")

    assert ddl.returncode == 0
    assert "CREATE EXTERNAL TABLE `customers_files_records_count`" in ddl.stdout
    assert "PARTITIONED BY (`file_date` string)" in ddl.stdout
    assert f"LOCATION 'file://{tmp_path}/warehouse/production'" in ddl.stdout


def test_prints_the_directories_that_must_be_writable(tmp_path: Path) -> None:
    paths = Host(tmp_path).backupd("check", "--write-paths")

    assert paths.returncode == 0
    expected = [tmp_path / below for below in ("archive", "in/a", "in/b", "warehouse")]
    assert paths.stdout.splitlines() == sorted(map(str, [tmp_path, *expected]))
