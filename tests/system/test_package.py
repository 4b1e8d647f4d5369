"""The Debian package on a host without a network: installed, upgraded, removed, purged."""

from __future__ import annotations

import gzip
import json
import subprocess
import threading
import time
from collections import Counter
from datetime import datetime
from importlib.metadata import version as version_of
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

import pytest

from support import package
from support.box import Box

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = pytest.mark.system

UNIT = "backupd.service"
OLDER, THIS, NEWER = "0.0.1", version_of("backupd"), "999"
FEED = "/srv/feeds/eLUX"
STATE = "/var/lib/backupd"
PYTHON = "/usr/lib/backupd/bin/python"
CONFIG = f"""\
[intake]
settle_for = "100ms"

[batch]
max_wait = "2s"

[archive]
url = "file://{STATE}/archive"

[status_file]
path = "{STATE}/process_status"

[feeds.traffic]
customers = ["eLUX"]
directory = "/srv/feeds/{{customer}}"
pattern = "{{customer}}_*.csv"
archive_directory = "{{customer}}"
"""
DROP_IN = "[Service]\nReadWritePaths=/srv/feeds\n"
ROWS = f"""
import json
from pyarrow import parquet
table = parquet.read_table("{STATE}/warehouse/production", columns=["file_name"])
print(json.dumps(table.column("file_name").to_pylist()))
"""


# ---------------------------------------------------------------------------- packages and hosts


@pytest.fixture(scope="module")
def packages() -> Iterator[Path]:
    """Give a directory with three packages: older.deb, this.deb, broken.deb.

    They are alike but for the version; broken.deb holds a file that belongs to another package.
    All of it is a gigabyte, which pytest would keep for a while.
    """
    with TemporaryDirectory() as directory:
        place = Path(directory)
        unpacked = package.Unpacked(package.built(THIS), place / "unpacked")
        unpacked.pack(place / "older.deb", OLDER)
        unpacked.pack(place / "this.deb", THIS)
        unpacked.pack(place / "broken.deb", NEWER, also="/usr/bin/env")
        yield place


@pytest.fixture
def box(packages: Path, tmp_path: Path) -> Iterator[Box]:
    """Give a host with a feed's directory, on which nothing of ours is installed."""
    with Box(tmp_path, {"/packages": packages}) as box:
        box.run(
            "rm", "-f", "/usr/sbin/policy-rc.d"
        )  # an image's way to keep services from starting
        box.run("mkdir", "-p", FEED)
        yield box


def install(box: Box, name: str, *, check: bool = True) -> str:
    ran = box.run("apt-get", "install", "--yes", f"/packages/{name}.deb", check=check)
    return ran.stdout + ran.stderr


def start(box: Box) -> None:
    """Do what an administrator does after the installation."""
    box.run("chown", "backupd:", FEED)
    box.write("/etc/backupd/config.toml", CONFIG)
    box.write(f"/etc/systemd/system/{UNIT}.d/feeds.conf", DROP_IN)
    box.run("systemctl", "daemon-reload")
    box.run("systemctl", "start", UNIT)


def deliver(box: Box, number: int) -> str:
    """Deliver one file; return its name."""
    name = f"eLUX_HOL_01_20261123081500_{number:06}.csv"
    feed = box.path(FEED)
    (feed / ".new").write_text(f"a;{number}\n")
    (feed / ".new").rename(feed / name)
    return name


def known(box: Box) -> list[dict[str, Any]]:
    """Return the files that the ledger knows; where there is none, the command fails."""
    listed = box.run("backupd-admin", "list", "--json", check=False)
    return [json.loads(line) for line in listed.stdout.splitlines()]


def until_done(box: Box, names: list[str]) -> None:
    def all_done() -> bool:
        done = [file["file_name"] for file in known(box) if file["status"] == "done"]
        return sorted(done) == sorted(names)

    box.until(all_done, UNIT)


def state(box: Box) -> str:
    return box.show(UNIT, "ActiveState")


def version(box: Box) -> str:
    return box.run("dpkg-query", "--show", "--showformat=${Version}", "backupd").stdout


# ---------------------------------------------------------------------------- tests


def test_lintian_finds_nothing() -> None:
    checked = subprocess.run(
        ["lintian", "--allow-root", "--fail-on=error,warning", package.built(THIS)],
        capture_output=True,
        text=True,
        check=False,
    )

    assert (checked.returncode, checked.stdout) == (0, "")


def test_an_installation_brings_all_and_waits_for_a_config(box: Box) -> None:
    install(box, "this")

    assert box.run("backupd", "--version").stdout == f"backupd, version {THIS}\n"
    assert box.run("getent", "passwd", "backupd").stdout.endswith("/usr/sbin/nologin\n")
    assert box.run("systemctl", "is-enabled", UNIT).stdout == "enabled\n"
    assert state(box) == "inactive"
    assert box.run("systemctl", "--failed", "--quiet").stdout == ""
    assert box.shell("stat -c '%U %G %a' /etc/backupd").stdout == "root backupd 750\n"
    assert box.shell("ls -A /etc/backupd").stdout == ""
    for page in ("backupd", "backupd-admin", "backupd-config"):
        assert page.upper() in box.run("man", page).stdout


def test_what_kerberos_and_zookeeper_take_comes_along_and_no_compiler(box: Box) -> None:
    install(box, "this")

    box.run(PYTHON, "-c", "import gssapi, kazoo.client; gssapi.Name('hive@localhost')")
    assert box.run(PYTHON, "-c", "import Cython", check=False).returncode == 1
    needed = box.run("dpkg-query", "--show", "--showformat=${Depends}", "backupd").stdout
    assert "libgssapi-krb5-2" in needed


def test_the_example_config_lacks_nothing_but_the_feeds_directories(box: Box) -> None:
    install(box, "this")

    checked = box.run("backupd", "check", "--config", "/usr/share/backupd/config.toml", check=False)

    assert checked.returncode == 2
    mistakes = [line for line in checked.stderr.splitlines() if "feeds." in line]
    assert len(mistakes) == 4
    assert all("directory" in line for line in mistakes)


def test_the_shell_completes_commands(box: Box) -> None:
    install(box, "this")

    completed = box.shell(
        "source /usr/share/bash-completion/completions/backupd-admin;"
        "COMP_WORDS=(backupd-admin re) COMP_CWORD=1; _backupd_admin_completion backupd-admin;"
        'echo "${COMPREPLY[@]}"'
    ).stdout

    assert completed.split() == ["report", "requeue", "release", "reconcile"]


def test_an_upgrade_in_flight_loses_and_doubles_nothing(box: Box) -> None:
    install(box, "older")
    start(box)
    names: list[str] = []
    enough = threading.Event()

    def deliver_on_and_on() -> None:
        while not enough.wait(0.02):
            names.append(deliver(box, len(names)))

    delivery = threading.Thread(target=deliver_on_and_on)
    delivery.start()
    try:
        box.until(lambda: any(file["status"] == "done" for file in known(box)), UNIT)
        old = box.show(UNIT, "MainPID")
        install(box, "this")
        ended = time.time()
        box.until(lambda: any(first_seen(file) > ended for file in known(box)), UNIT)
    finally:
        enough.set()
        delivery.join()
    until_done(box, names)

    assert version(box) == THIS
    _, stopped_at = lifetime(box, old)
    started_at, _ = lifetime(box, box.show(UNIT, "MainPID"))
    assert stopped_at < started_at < ended
    assert [each for each in known(box) if first_seen(each) < stopped_at < started_at < done(each)]
    assert Counter(rows(box)) == Counter(names)
    archive = box.path(f"{STATE}/archive/eLUX")
    assert sorted(copy.name for copy in archive.iterdir()) == sorted(f"{each}.gz" for each in names)
    for number, name in enumerate(names):
        assert gzip.decompress((archive / f"{name}.gz").read_bytes()) == b"a;%d\n" % number
    assert list(box.path(FEED).iterdir()) == []


def test_what_was_stopped_stays_so_over_an_upgrade(box: Box) -> None:
    install(box, "older")
    start(box)
    box.run("systemctl", "stop", UNIT)

    install(box, "this")

    assert version(box) == THIS
    assert state(box) == "inactive"


def test_an_upgrade_restarts_what_runs_where_no_service_may_start_by_itself(box: Box) -> None:
    install(box, "older")
    start(box)
    box.write("/usr/sbin/policy-rc.d", "#!/bin/sh\nexit 101\n")
    box.run("chmod", "755", "/usr/sbin/policy-rc.d")
    old = box.show(UNIT, "MainPID")

    install(box, "this")

    assert state(box) == "active"
    assert box.show(UNIT, "MainPID") != old
    box.run("apt-get", "remove", "--yes", "backupd")
    assert state(box) == "inactive"


def test_an_upgrade_that_fails_leaves_the_old_one_running(box: Box) -> None:
    install(box, "this")
    start(box)

    said = install(box, "broken", check=False)

    assert "trying to overwrite '/usr/bin/env'" in said
    assert version(box) == THIS
    assert state(box) == "active"
    name = deliver(box, 1)
    until_done(box, [name])


def test_removing_keeps_all_that_the_next_installation_needs(box: Box) -> None:
    install(box, "this")
    start(box)
    first = deliver(box, 1)
    until_done(box, [first])
    late = deliver(box, 2)
    pid = box.show(UNIT, "MainPID")

    box.run("apt-get", "remove", "--yes", "backupd")

    assert not box.path(f"/proc/{pid}").exists()
    assert not box.path("/usr/bin/backupd").exists()
    assert not box.path("/usr/lib/backupd").exists()
    install(box, "this")
    assert state(box) == "active"
    until_done(box, [first, late])
    assert Counter(rows(box)) == Counter([first, late])


def test_purging_asks_nothing_and_removes_its_own_alone(box: Box) -> None:
    install(box, "this")
    start(box)
    name = deliver(box, 1)
    until_done(box, [name])
    box.run("systemctl", "stop", UNIT)
    left = deliver(box, 2)
    others = {
        "/etc/backupd/id_ed25519": "a key",
        "/etc/credstore/backupd.smtp-password": "a secret",
        f"{STATE}/notes": "an operator's",
    }
    for path, text in others.items():
        box.write(path, text)

    box.run("apt-get", "purge", "--yes", "backupd")

    assert files_in(box, "/etc/backupd") == ["id_ed25519"]
    assert {path: box.path(path).read_text() for path in others} == others
    assert box.path(f"/etc/systemd/system/{UNIT}.d/feeds.conf").read_text() == DROP_IN
    assert sorted(each.name for each in box.path(STATE).iterdir()) == [
        "archive",
        "notes",
        "warehouse",
    ]
    assert sorted(files_in(box, f"{STATE}/archive")) == [".backupd-id", f"{name}.gz"]
    assert [each for each in files_in(box, f"{STATE}/warehouse") if each.endswith(".parquet")]
    assert files_in(box, FEED) == [left]
    assert box.run("dpkg", "--status", "backupd", check=False).returncode == 1


def test_purging_what_never_had_a_config_leaves_no_directory(box: Box) -> None:
    install(box, "this")

    box.run("apt-get", "purge", "--yes", "backupd")

    for path in ("/etc/backupd", STATE, "/usr/lib/backupd", "/usr/share/backupd"):
        assert not box.path(path).exists()


# ---------------------------------------------------------------------------- what is seen


def first_seen(file: dict[str, Any]) -> float:
    return datetime.fromisoformat(file["first_seen_at"]).timestamp()


def done(file: dict[str, Any]) -> float:
    return datetime.fromisoformat(file["done_at"]).timestamp()


def lifetime(box: Box, pid: str) -> tuple[float, float]:
    """Return when a process first and last said something."""
    times = [int(entry["__REALTIME_TIMESTAMP"]) / 1e6 for entry in box.journal(f"_PID={pid}")]
    return times[0], times[-1]


def rows(box: Box) -> list[str]:
    """Return the name of each row in production."""
    names: list[str] = json.loads(box.run(PYTHON, "-c", ROWS).stdout)
    return names


def files_in(box: Box, directory: str) -> list[str]:
    return [each.name for each in box.path(directory).rglob("*") if each.is_file()]
