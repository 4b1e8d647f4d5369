"""Whatever the locale, the user, the times of files: names stay, and no file bears for another."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from support.daemon import PATIENCE, PROGRAMS, Host, environment, log_of, over_sftp
from support.sshd import running_sshd

if TYPE_CHECKING:
    from collections.abc import Iterator

    from support.sshd import SshServer

NAME = "Zürich-Łódź-東京.csv"

ASCII = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
ODD_LOCALES = {
    "C": {"LC_ALL": "C"},
    "POSIX, and no coercion": {"LC_ALL": "POSIX", **ASCII},
    "ISO-8859-1": {"LC_ALL": "en_US.ISO-8859-1"},
    "ASCII streams": {"LC_ALL": "C.UTF-8", "PYTHONIOENCODING": "ascii:strict"},
}


@pytest.fixture(scope="module")
def locales(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the C library finds a locale that is not UTF-8."""
    made = tmp_path_factory.mktemp("locales")
    command = ["localedef", "-i", "en_US", "-f", "ISO-8859-1", str(made / "en_US.ISO-8859-1")]
    subprocess.run(command, check=True)
    return made


@pytest.mark.parametrize("locale", ODD_LOCALES)
def test_names_are_the_same_in_any_locale(tmp_path: Path, locales: Path, locale: str) -> None:
    variables = ODD_LOCALES[locale] | {"LOCPATH": str(locales)}
    host = Host(tmp_path, {"archive.compression": '"none"'})
    host.deliver(NAME.encode())
    host.deliver(b"caf\xe9.csv")

    run = host.once(**variables)

    assert run.returncode == 1
    assert host.standing() == {NAME: "cleanup done", "caf\udce9.csv": "settle parked"}
    assert [row["file_name"] for row in host.rows()] == [NAME]
    assert (host.archive / "a" / NAME).exists()
    told = [line["file"] for line in log_of(run.stderr) if line["event"] == "ship finished"]
    assert told == [str(host.inbox / NAME)]

    listed = _asked(host, variables, "list", "--json")
    assert f'"file_name": "{NAME}"'.encode() in listed
    assert rb"caf\\xe9.csv" in listed
    assert NAME.encode() in _asked(host, variables, "show", NAME)


def _asked(host: Host, variables: dict[str, str], *words: str) -> bytes:
    command = [str(PROGRAMS / "backupd-admin"), "--config", str(host.config), *words]
    done = subprocess.run(
        command, capture_output=True, check=True, timeout=PATIENCE, env=environment(variables)
    )
    assert done.stderr == b""
    return done.stdout


@pytest.fixture
def elsewhere() -> Iterator[Path]:
    """A directory that all users come to, on a file system that bears all times."""
    made = Path(tempfile.mkdtemp(dir="/dev/shm"))
    yield made
    shutil.rmtree(made)


@pytest.fixture
def server(tmp_path: Path) -> Iterator[SshServer]:
    with running_sshd(tmp_path / "sshd") as started:
        yield started


def test_a_user_without_a_name_or_a_home_can_run_and_ask(
    elsewhere: Path, server: SshServer
) -> None:
    host = Host(elsewhere, over_sftp(server, elsewhere / "archive"))
    host.deliver("one.csv")
    (elsewhere / "archive").mkdir()
    for path in (elsewhere, *elsewhere.rglob("*")):
        os.chown(path, 54321, 54321)

    assert _nameless(host, "backupd", "run", "--once") == 0
    assert host.archived() == {"a/one.csv.gz": b"A;B\n1;2\n"}
    assert _nameless(host, "backupd", "check", "--probe") == 0
    assert _nameless(host, "backupd-admin", "show", "one.csv") == 0
    assert _nameless(host, "backupd-admin", "reconcile") == 0


def _nameless(host: Host, program: str, *words: str) -> int:
    """Run a program as a user that no database knows; it may read what root may."""
    config = ["--config", str(host.config)]
    words = (*words, *config) if program == "backupd" else (*config, *words)
    may_read = ["--inh-caps=+dac_override", "--ambient-caps=+dac_override"]
    done = subprocess.run(
        ["setpriv", "--reuid=54321", *may_read, PROGRAMS / program, *words],
        env={"PATH": os.environ["PATH"]},
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=False,
    )
    assert "Traceback" not in done.stderr
    assert done.returncode in {0, 1}, done.stderr
    return done.returncode


def test_a_time_of_no_year_stops_its_file_alone(elsewhere: Path) -> None:
    host = Host(elsewhere)
    seconds = {
        "fine.csv": 1_700_000_000,
        "year0.csv": -62_135_596_801,
        "year10000.csv": 253_402_300_800,
        "farther.csv": 2**40,
        "farthest.csv": 2**62,
        "first.csv": -(2**62),
        "year1.csv": -62_135_596_800,
        "year9999.csv": 253_402_300_799,
    }
    for name, at in seconds.items():
        os.utime(host.deliver(name), (at, at))

    assert host.once().returncode == 1

    fine = {"fine.csv", "year1.csv", "year9999.csv"}
    standing = {name: "cleanup done" if name in fine else "manifest parked" for name in seconds}
    assert host.standing() == standing
    assert {row["file_name"] for row in host.rows()} == fine
    assert "in no year from 1 to 9999" in host.reason("farther.csv")
    for words in (["list", "--json"], ["status"], ["incidents"], ["show", "farther.csv", "--json"]):
        assert host.admin(*words).returncode == 0
    assert host.admin("reconcile").returncode in {0, 1}
