"""`backupd import-job`: the old job's properties become a config."""

from __future__ import annotations

import subprocess
import tomllib
from typing import TYPE_CHECKING, Any

import pytest

from support.daemon import PROGRAMS
from support.old_job import PROPERTIES, OldJob, import_job

if TYPE_CHECKING:
    from pathlib import Path

USUAL = "MNAAS_Customer_backup_files_process.properties"
DIRECTORIES = (
    "Customer_CDR/eLUX/traffic",
    "Customer_CDR/SKYROAM/traffic",
    "Customer_CDR/eLUX/actives",
    "Customer_CDR/SKYROAM/actives",
    "Customer_CDR/Tele2/sim_inventory",
)


@pytest.fixture
def job(tmp_path: Path) -> OldJob:
    return OldJob(tmp_path)


def config_of(done: subprocess.CompletedProcess[str]) -> dict[str, Any]:
    return tomllib.loads(done.stdout)


def check(tmp_path: Path, text: str) -> subprocess.CompletedProcess[str]:
    path = tmp_path / "etc" / "config.toml"
    path.parent.mkdir(exist_ok=True)
    path.write_text(text)
    return subprocess.run(
        [PROGRAMS / "backupd", "check", "--config", path],
        capture_output=True,
        text=True,
        check=False,
    )


def test_check_accepts_what_is_made_of_a_dump(tmp_path: Path, job: OldJob) -> None:
    job.make(*DIRECTORIES)

    done = import_job(job.dump(USUAL))

    assert done.returncode == 0, done.stderr
    assert check(tmp_path, done.stdout).stdout.startswith("the config is valid: 5 feeds")
    config = config_of(done)
    assert config["archive"] == {
        "url": "sftp://mnaas@edge2.example/backup1/MNAAS",
        "identity_file": f"{job.home}/.ssh/id_ed25519",
        "known_hosts_file": f"{job.home}/.ssh/known_hosts",
    }
    assert config["batch"] == {"max_files": 500}
    assert config["status_file"] == {"path": f"{job.root}/conf/backup_ProcessStatusFile"}
    assert config["warehouse"]["kind"] == "hive"
    assert config["warehouse"]["hive"] == {
        "host": "hiveserver2.invalid",
        "database": "mnaas",
        "production_table": "customers_files_records_count",
        "staging_table": "customers_files_inter_record_count",
        "merge": "insert",
        "staging_url": "webhdfs://namenode.invalid:9870/user/MNAAS/FileCount/customers",
    }
    assert config["feeds"]["traffic"] == {
        "customers": ["eLUX", "SKYROAM"],
        "directory": f"{job.root}/Customer_CDR/{{customer}}/traffic",
        "pattern": "*traffic*.csv",
        "archive_directory": "{customer}/traffic",
        "archive_directories": {"eLUX": "elux", "SKYROAM": "skyroam"},
    }
    assert list(config["feeds"]) == ["actives", "sim_inventory", "traffic"]


def test_each_key_says_from_which_variable_it_came(job: OldJob) -> None:
    job.make(*DIRECTORIES)

    lines = import_job(job.dump(USUAL)).stdout.splitlines()

    keys = [at for at, line in enumerate(lines) if " = " in line and not line.startswith("#")]
    assert all(lines[at - 1].startswith("# ") for at in keys)
    comments = {lines[at].split(" = ")[0]: lines[at - 1] for at in keys}
    assert comments["database"] == "# from dbname"
    assert comments["max_files"].startswith("# from No_of_files_to_process;")
    assert "# from MNAAS_backup_files_process_file_pattern[traffic]" in lines
    assert "# from FEED_CUSTOMER_MAPPING and customer_names" in lines


def test_what_is_not_carried_over_is_told_with_the_reason(job: OldJob) -> None:
    job.make(*DIRECTORIES)

    said = import_job(job.dump(USUAL)).stderr

    left_out = [line for line in said.splitlines() if line.startswith("left out: ")]
    for name, why in (
        ("MNAAS_Customer_backup_files_process_logpath", "backupd logs to the journal"),
        ("MNAAS_DB_PASSWORD", "may be a secret"),
        ("not_set_at_all", "nothing in backupd corresponds to it"),
        ("customer Tele2 of traffic", f"not there, {job.root}/Customer_CDR/Tele2/traffic"),
    ):
        assert [line for line in left_out if name in line and why in line], name
    assert "to fill in: warehouse.hive.host: no variable names" in said
    assert "to fill in: feeds.*.timestamp_regex" in said


def test_a_second_import_gives_the_same(job: OldJob) -> None:
    job.make(*DIRECTORIES)

    first, second = (import_job(job.dump(USUAL)) for _ in range(2))

    assert (first.stdout, first.stderr) == (second.stdout, second.stderr)


@pytest.mark.parametrize("name", [USUAL, "by_customer.properties"])
def test_bash_confined_gives_what_the_operators_dump_gives(job: OldJob, name: str) -> None:
    job.make(*DIRECTORIES)

    by_dump, sourced = import_job(job.dump(name)), import_job("--source", job.properties(name))

    assert sourced.stdout == by_dump.stdout
    assert sourced.returncode == by_dump.returncode
    first, second, *_ = sourced.stderr.splitlines()
    assert first.startswith("running: bash --noprofile --norc -c 'exec 3>&1")
    assert "without network" in second


def test_the_nights_environment_comes_through(job: OldJob) -> None:
    job.make(*DIRECTORIES)
    of_night = {
        "ENV_MODE": "DEV",
        "IMPALAD_HOST": "impalad.example",
        "SDP_ticket_from_email": "mnaas@mail.example",
        "SDP_Receipient_List": "sdp@mail.example",
        "edge2node": "not.passed.on",
    }

    config = config_of(import_job("--source", job.properties(USUAL), environ=of_night))

    assert config["environment"] == "dev"
    assert config["warehouse"]["impala"] == {"host": "impalad.example"}
    assert config["alerts"]["from"] == "mnaas@mail.example"
    assert config["alerts"]["ticket_to"] == ["sdp@mail.example"]
    assert "edge2.example" in config["archive"]["url"]


def test_paths_by_customer_and_names_of_another_installation(tmp_path: Path, job: OldJob) -> None:
    job.make("lux/traffic", "lux/tap out", "lux/several", "tele/cdr/traffic")

    done = import_job(job.dump("by_customer.properties"))

    assert done.returncode == 0, done.stderr
    assert check(tmp_path, done.stdout).returncode == 0
    config = config_of(done)
    assert config["feeds"]["traffic"] == {
        "customers": ["eLUX", "Tele2"],
        "directory": f"{job.root}/{{customer}}/traffic",
        "directories": {"eLUX": "lux", "Tele2": "tele/cdr"},
        "pattern": "{customer}-*.csv",
        "archive_directory": "{customer}/traffic",
        "archive_directories": {"eLUX": "lux", "Tele2": "tele/cdr"},
        "companion_suffix": ".SEM",
        "companion_algorithm": "cksum",
        "companion_required": False,
    }
    assert config["feeds"]["tap out"]["pattern"] == "TAP*.dat"
    assert config["archive"]["url"] == "sftp://mnaas@edge2.example/backup1"
    hive = config["warehouse"]["hive"]
    assert (hive["host"], hive["port"]) == ("hs2.example", 10001)
    assert hive["staging_url"] == "webhdfs://nn.example:9870/user/mnaas/backup"
    assert config["warehouse"]["impala"] == {"host": "impalad.example"}
    assert config["alerts"]["ticket_to"] == ["sdp@mail.example", "second@mail.example"]
    assert config["alerts"]["to"] == ["team@mail.example"]
    for problem in (
        "customers_files_records_count_tblname: warehouse.hive.production_table does not take",
        "No_of_files_to_process: batch.max_files does not take",
        "MNAAS_backup_files_process_file_pattern[several]: a pattern here is one of",
        "hive_jdbc_url: what follows the host",
    ):
        assert f"left out: {problem}" in done.stderr


@pytest.mark.parametrize("name", [USUAL, "by_customer.properties"])
def test_no_secret_is_copied_or_printed(job: OldJob, name: str) -> None:
    for done in (import_job(job.dump(name)), import_job("--source", job.properties(name))):
        assert "hunter2" not in done.stdout + done.stderr


def test_what_is_to_be_filled_in_is_no_mistake(job: OldJob) -> None:
    job.make(*DIRECTORIES)
    for each in (job.home / ".ssh").iterdir():
        each.unlink()

    done = import_job(job.dump(USUAL))

    assert done.returncode == 0
    assert config_of(done)["archive"]["identity_file"] == "/etc/backupd/id_ed25519"
    for key in ("archive.identity_file", "archive.known_hosts_file"):
        assert f"to fill in: {key}: put the file there" in done.stderr
    assert "not valid" not in done.stderr


def test_windows_line_ends_are_told(job: OldJob) -> None:
    job.make(*DIRECTORIES)

    done = import_job(job.dump("windows.properties"))

    assert done.returncode == 1
    assert config_of(done)["warehouse"]["hive"]["database"] == "mnaas"
    assert "Windows line ends, with which bash loses arrays" in done.stderr
    assert "not valid: feeds is missing" in done.stderr


def test_what_is_no_dump_is_refused(tmp_path: Path) -> None:
    done = import_job(PROPERTIES / USUAL)

    assert done.returncode == 2
    assert done.stdout == ""
    assert "line 1 is not what `declare -p` prints" in done.stderr
    assert import_job(tmp_path / "missing").returncode == 2


def test_of_a_variable_in_several_files_the_last_counts(tmp_path: Path, job: OldJob) -> None:
    job.make(*DIRECTORIES)
    more = tmp_path / "more.dump"
    more.write_text('declare -- hive_host="hs2.example"\ndeclare -- dbname="other"\n')

    hive = config_of(import_job(job.dump(USUAL), more))["warehouse"]["hive"]

    assert (hive["host"], hive["database"]) == ("hs2.example", "other")
