"""The service under a real systemd: what an administrator does to it, and what befalls it."""

from __future__ import annotations

import json
import time
from typing import TYPE_CHECKING

import pytest

from support.box import Box
from support.service import INBOX, UNIT, Service, mounts, write_paths_line

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

pytestmark = pytest.mark.system

NAMES = [f"eLUX_{number}.csv" for number in range(20)]
MANY = 1_000  # files
MOST_EXPOSED = 2.0
CAP_LEASE = 1 << 28  # include/uapi/linux/capability.h
SYSTEM_CALLS = f"""
import os
from backupd.localfs import syscalls
from backupd.localfs.directory import Directory
from backupd.localfs.leases import Writers, writers_of
assert os.geteuid() != 0
with Directory.at("{INBOX}") as inbox:
    inbox.make("sub/deep").close()
    inbox.directory("sub/deep").close()  # RestrictSUIDSGID= keeps openat2 away
    theirs = inbox.open("theirs.csv")
    assert os.fstat(theirs).st_uid == 0
    assert writers_of(theirs) is Writers.NONE
    ours = inbox.open(".ours", os.O_CREAT | os.O_RDWR)
    assert writers_of(inbox.open(".ours")) is Writers.SOME
    syscalls.rename_without_replacing(inbox.descriptor, ".ours", inbox.descriptor, ".renamed")
    inbox.unlink(".renamed")
syscalls.die_with_parent()
print("all of it works", flush=True)
"""
QUICK_WATCHDOG = {"WatchdogSec": "4s"}
LONGER_THAN_THAT = 9.0  # seconds
SFTP_SERVER = """
useradd --create-home --password '*' edge
install -d -m 700 /etc/credstore
key=/etc/credstore/backupd.archive-identity
ssh-keygen -q -t ed25519 -N '' -f $key
ssh-keygen -q -t ed25519 -N '' -f /root/host_key
install -D -o edge -m 600 $key.pub /home/edge/.ssh/authorized_keys
chown edge /home/edge/.ssh
echo "[127.0.0.1]:2222 $(cat /root/host_key.pub)" > /etc/backupd/known_hosts
mkdir -p /run/sshd
systemd-run -q --unit=edge /usr/sbin/sshd -D -e -p 2222 -h /root/host_key -o UsePAM=no
until ssh-keyscan -p 2222 127.0.0.1 2>/dev/null | grep -q ed25519; do :; done
"""


@pytest.fixture
def service(tmp_path: Path) -> Iterator[Service]:
    """backupd, installed in a box of its own and not started yet."""
    with Box(tmp_path, mounts()) as box:
        installed = Service(box)
        installed.install()
        yield installed


@pytest.fixture
def running(service: Service) -> Service:
    """backupd, started."""
    service.systemctl("start")
    return service


# ------------------------------------------------------------------ start


def test_is_ready_when_it_answers_and_watches(service: Service) -> None:
    service.deliver("before.csv")

    service.systemctl("start")

    state = json.loads(service.box.run("backupd-admin", "status", "--json").stdout)
    assert state["daemon"]["state"] == "running"
    assert "before.csv" in service.files()
    service.deliver(*NAMES)
    service.all_done("before.csv", *NAMES)
    service.box.until(lambda: service.shows("StatusText") == "no files to be done", UNIT)


def test_every_entry_has_its_facts_as_fields(running: Service) -> None:
    running.deliver("a 1%.csv")

    shipped = running.tells("ship finished")
    merged = running.tells("merge finished")

    assert shipped["BACKUPD_FILE"] == f"{INBOX}/a 1%.csv"
    assert shipped["BACKUPD_FEED"] == "traffic/a"
    assert shipped["BACKUPD_STAGE"] == "ship"
    assert shipped["BACKUPD_FILE_ID"]
    assert shipped["PRIORITY"] == "6"
    assert shipped["MESSAGE"].startswith(f"ship finished: {INBOX}/a 1%.csv (feed traffic/a")
    assert merged["BACKUPD_BATCH"]
    assert running.journal(f"BACKUPD_FILE_ID={shipped['BACKUPD_FILE_ID']}", "BACKUPD_STAGE=ship")
    of_ours = [each for each in running.journal() if each["SYSLOG_IDENTIFIER"] == "backupd"]
    assert all("BACKUPD_EVENT" in entry for entry in of_ours)


def test_the_journal_keeps_every_line_of_a_burst(service: Service) -> None:
    # As on a host whose disk is nearly full; others take some ten times as many at once.
    service.box.write("/etc/systemd/journald.conf.d/few.conf", "[Journal]\nRateLimitBurst=100\n")
    service.box.run("systemctl", "restart", "systemd-journald")
    service.systemctl("start")
    one = f"echo $n > {INBOX}/.n && mv {INBOX}/.n {INBOX}/$n.csv"

    service.box.shell(f"for n in {{1..{MANY}}}; do {one}; done")
    service.box.until(lambda: not any(service.box.path(INBOX).iterdir()), UNIT)
    service.systemctl("stop")

    assert service.events("BACKUPD_STAGE=ship").count("ship finished") == MANY
    assert service.events("BACKUPD_STAGE=cleanup").count("cleanup finished") == MANY


def test_a_journal_that_is_stopped_holds_nobody_up_and_gets_all_when_it_goes_on(
    running: Service,
) -> None:
    one = f"echo $n > {INBOX}/.n && mv {INBOX}/.n {INBOX}/$n.csv"
    stopping = ("systemctl", "kill", "--kill-who=main", "systemd-journald", "--signal")
    running.box.run(*stopping, "STOP")
    try:
        running.box.shell(f"for n in {{1..{MANY}}}; do {one}; done")
        running.box.until(lambda: not any(running.box.path(INBOX).iterdir()), UNIT)
    finally:
        running.box.run(*stopping, "CONT")
    running.systemctl("stop")

    assert running.events("BACKUPD_STAGE=cleanup").count("cleanup finished") == MANY
    assert "log lines were lost" not in running.events()


def test_what_needs_a_person_is_what_has_the_priority_of_a_warning(running: Service) -> None:
    running.deliver("well.csv")
    running.all_done("well.csv")
    assert running.journal("--priority=warning") == []

    running.deliver("broken\x01.csv")

    running.tells("incident opened", feed="traffic/a")
    entries = running.journal("--priority=warning")
    assert {each["BACKUPD_EVENT"] for each in entries} == {"file parked", "incident opened"}
    line = "files: 1 parked; files of feed traffic/a are parked"
    running.box.until(lambda: running.shows("StatusText") == line, UNIT)


def test_a_config_with_mistakes_fails_once_and_names_them(service: Service) -> None:
    service.configure({"batch": {"max_files": 0}, "retry": {"attempts": "many"}})

    code, said = service.systemctl("start", check=False)

    assert code == 1
    assert "failed" in said
    assert service.shows("ActiveState") == "failed"
    assert (service.shows("ExecMainStatus"), service.shows("NRestarts")) == ("2", "0")
    (ended,) = service.journal("--priority=err", "BACKUPD_EVENT=ended")
    assert "batch.max_files is 0" in ended["MESSAGE"]
    assert "retry.attempts" in ended["MESSAGE"]

    service.configure()
    service.systemctl("start")


def test_a_ledger_that_another_process_holds_fails_once_and_names_it(service: Service) -> None:
    config = "/etc/backupd/other.toml"
    service.box.shell(
        f"sed 's#^.archive.#[control]\\nsocket = \"/tmp/other.sock\"\\n&#' /etc/backupd/config.toml"
        f" > {config} && chmod 644 {config}"
        " && systemd-run -q --unit=other -p Type=notify -p User=backupd"
        f" backupd run --config {config}"
    )

    code, _ = service.systemctl("start", check=False)

    assert code == 1
    assert (service.shows("ExecMainStatus"), service.shows("NRestarts")) == ("3", "0")
    (ended,) = service.journal("--priority=err", "BACKUPD_EVENT=ended")
    assert "held by process" in ended["MESSAGE"]


def test_secrets_come_from_the_credential_store(service: Service) -> None:
    service.box.write("/etc/credstore/backupd.smtp-password", "hunter2\n")
    service.box.shell("chmod 700 /etc/credstore && chmod 600 /etc/credstore/*")
    alerts = {"from": "a@b", "to": ["c@d"], "smtp_url": "smtp://user@127.0.0.1:9"}
    service.configure({"alerts": {**alerts, "smtp_password_file": "smtp-password"}})

    service.systemctl("start")
    service.systemctl("reload")

    service.box.run("backupd", "check")
    assert "hunter2" not in json.dumps(service.journal())


def test_ships_over_sftp_with_a_key_from_the_credential_store(service: Service) -> None:
    service.box.shell(SFTP_SERVER)
    archive = {
        "url": "sftp://edge@127.0.0.1:2222/home/edge/archive",
        "identity_file": "archive-identity",
        "known_hosts_file": "/etc/backupd/known_hosts",
    }
    service.configure({"archive": archive})
    service.systemctl("start")

    service.deliver("one.csv")

    service.tells("cleanup finished")
    assert service.box.path("/home/edge/archive/a/traffic/one.csv.gz").exists()
    service.box.shell("useradd --groups backupd alice")
    for command in ("status", "show one.csv", "prove one.csv"):  # the key is not hers to read
        shown = service.box.shell(f"runuser -u alice -- backupd-admin {command}")
        assert shown.stderr == ""
    service.box.run("backupd-admin", "reconcile")


def test_the_hook_is_run_inside_the_sandbox_too(service: Service) -> None:
    hook = "/etc/backupd/on-incident"
    service.box.write(hook, "#!/bin/sh\ncat > /var/lib/backupd/told\ntouch /etc/escaped\n")
    service.box.run("chmod", "755", hook)
    service.configure({"alerts": {"hook": hook}})
    service.systemctl("start")

    service.deliver("broken\x01.csv")

    told = service.box.path("/var/lib/backupd/told")
    service.box.until(lambda: told.exists() and told.read_text(), UNIT)
    assert json.loads(told.read_text())["title"] == "files of feed traffic/a are parked"
    assert not service.box.path("/etc/escaped").exists()


def test_a_boot_with_a_disk_that_is_not_mounted_yet(service: Service) -> None:
    mount = "mkdir -p /disk /backup1 && mount --bind /disk /backup1"
    service.box.shell(f"rm -r /backup1 && {mount} && mkdir -p {INBOX} && chown backupd: {INBOX}")
    service.configure({"feeds.other": service_feed("/other/{customer}")})
    service.box.shell("mkdir -p /other/a && chown backupd: /other/a")
    service.open_write_paths()
    service.systemctl("enable")
    service.systemctl("start")
    service.deliver("before.csv")
    service.all_done("before.csv")

    service.box.halt()
    service.box.boot()

    assert service.shows("ActiveState") == "active"
    service.tells("feed is away", feed="traffic/a")
    service.box.write("/other/a/meanwhile.csv", "id\n1\n")
    service.tells("cleanup finished", feed="other/a")
    service.box.shell(mount)
    service.tells("feed is back", feed="traffic/a")
    service.deliver("after.csv")
    service.all_done("before.csv", "meanwhile.csv", "after.csv")


# ------------------------------------------------------------------ reload


def test_a_reload_puts_another_config_in_force(running: Service) -> None:
    running.deliver("before.csv")
    before = running.pid
    running.configure({"feeds.traffic": {"pattern": "*.dat"}})

    running.systemctl("reload")

    running.tells("reloading the config")
    running.becomes("active")
    running.deliver("after.dat")
    running.all_done("before.csv", "after.dat")
    assert running.pid == before


def test_a_config_with_mistakes_is_refused_and_the_old_one_stays(running: Service) -> None:
    running.configure({"batch": {"max_files": 0}})

    running.systemctl("reload")

    told = running.tells("config not reloaded: it has a mistake")
    assert told["PRIORITY"] == "3"
    assert "batch.max_files is 0" in told["MESSAGE"]
    running.becomes("active")
    running.deliver("still.csv")
    running.all_done("still.csv")
    line = "the new config was refused, mistakes: 1; no files to be done"
    running.box.until(lambda: running.shows("StatusText") == line, UNIT)


# ------------------------------------------------------------------ what befalls it


@pytest.mark.parametrize("which", ["pid", "carrier"])
def test_a_hang_is_noticed_and_the_service_comes_back_without_loss(
    service: Service, which: str
) -> None:
    service.drop_in("watchdog", QUICK_WATCHDOG)
    service.systemctl("start")
    service.deliver("before.csv")
    service.all_done("before.csv")
    frozen = getattr(service, which)
    service.kill(frozen, "STOP")
    service.deliver(*NAMES)

    service.comes_back()

    service.all_done("before.csv", *NAMES)
    told = " ".join(str(entry["MESSAGE"]) for entry in service.journal())
    assert "Watchdog timeout" in told
    assert "Fatal Python error: Aborted" in told
    if which == "carrier":  # who is frozen itself can tell nothing
        service.tells("no sign of life", of="the carrier")


def test_it_is_not_taken_for_hanging_while_it_lives(service: Service) -> None:
    service.drop_in("watchdog", QUICK_WATCHDOG)
    service.systemctl("start")
    since = time.monotonic()

    service.box.until(lambda: time.monotonic() - since > LONGER_THAN_THAT, UNIT)

    assert service.shows("NRestarts") == "0"
    service.deliver("after.csv")
    service.all_done("after.csv")


def test_a_kill_starts_it_anew_without_loss(running: Service) -> None:
    running.deliver(*NAMES)
    running.tells("manifest finished")

    running.kill(running.pid, "KILL")

    running.comes_back()
    running.all_done(*NAMES)


def test_a_power_cut_loses_nothing(running: Service) -> None:
    running.systemctl("enable")
    running.deliver(*NAMES)
    running.tells("manifest finished")

    running.box.cut_power()
    running.box.boot()

    running.all_done(*NAMES)


def test_a_stop_lets_running_files_end(running: Service) -> None:
    running.deliver_large("large.csv", 200)
    running.tells("merge finished")

    running.systemctl("stop")

    assert running.shows("ActiveState") == "inactive"
    assert running.shows("Result") == "success"
    assert running.events()[-1] == "stopped"
    assert not list(running.box.path("/var/lib/backupd/archive").rglob("*.part"))
    assert not running.box.path("/run/backupd").exists()
    assert running.files()["large.csv"] in {"ship waiting", "cleanup waiting", "cleanup done"}
    running.systemctl("start")
    running.all_done("large.csv")


# ------------------------------------------------------------------ who may do what


def test_members_of_the_group_may_use_the_admin_command(running: Service) -> None:
    running.box.shell("useradd --groups backupd alice && useradd bob")
    running.deliver("broken\x01.csv")
    running.tells("file parked")
    requeue = "backupd-admin requeue --parked"

    alice = running.box.run("runuser", "-u", "alice", "--", *requeue.split())
    status = running.box.run("runuser", "-u", "alice", "--", "backupd-admin", "status")

    assert "broken" in alice.stdout
    assert "running since" in status.stdout
    assert status.stderr == ""


def test_others_may_not_even_where_the_socket_is_left_open(running: Service) -> None:
    running.box.shell("useradd bob")
    asked = ["runuser", "-u", "bob", "--", "backupd-admin", "requeue", "--parked"]

    closed = running.box.run(*asked, check=False)
    running.box.shell("chmod 755 /etc/backupd /run/backupd /var/lib/backupd")
    running.box.shell("chmod -R o+r /etc/backupd /var/lib/backupd && chmod 666 /run/backupd/*")
    opened = running.box.run(*asked, check=False)

    assert closed.returncode != 0
    assert opened.returncode == 1
    assert "may not control this daemon" in opened.stderr


def test_health_checks_of_any_user_read_the_status_file_and_nothing_else(service: Service) -> None:
    service.box.run("useradd", "bob")
    service.configure({"status_file": {"path": "/var/lib/backupd/process_status"}})
    service.systemctl("start")
    as_bob = "runuser -u bob --"

    service.box.until(service.box.path("/var/lib/backupd/process_status").exists, UNIT)
    read = service.box.shell(f"{as_bob} cat /var/lib/backupd/process_status")
    listed = service.box.shell(f"{as_bob} ls /var/lib/backupd", check=False)
    ledger = service.box.shell(f"{as_bob} cat /var/lib/backupd/ledger.db", check=False)

    assert "MNAAS_job_status=Success" in read.stdout
    assert listed.returncode != 0
    assert ledger.returncode != 0


def test_the_group_may_look_while_the_service_does_not_run(running: Service) -> None:
    running.box.shell("useradd --groups backupd alice")
    running.deliver("one.csv")
    running.all_done("one.csv")
    running.systemctl("stop")

    listed = running.box.run("runuser", "-u", "alice", "--", "backupd-admin", "list")

    assert "one.csv" in listed.stdout


def test_what_root_tries_beforehand_keeps_it_from_nothing(service: Service) -> None:
    service.box.run("backupd", "check", "--probe")

    service.systemctl("start")

    service.deliver("one.csv")
    service.all_done("one.csv")


def test_what_root_does_while_it_is_stopped_keeps_it_from_nothing(running: Service) -> None:
    running.deliver("one.csv")
    running.all_done("one.csv")
    running.systemctl("stop")
    running.box.run("backupd-admin", "requeue", "one.csv", "--from", "load")

    running.systemctl("start")

    running.all_done("one.csv")


# ------------------------------------------------------------------ the unit


def test_its_exposure_is_small(service: Service) -> None:
    shown = service.box.run("systemd-analyze", "security", "--no-pager", UNIT).stdout
    (overall,) = [line for line in shown.splitlines() if "Overall exposure level" in line]
    assert float(overall.split(":")[1].split()[0]) <= MOST_EXPOSED


def test_it_has_one_capability_and_its_carrier_too(running: Service) -> None:
    for pid in (running.pid, running.carrier):
        status = running.box.run("cat", f"/proc/{pid}/status").stdout
        sets = dict(line.split(":\t") for line in status.splitlines() if line.startswith("Cap"))
        assert {int(sets[each], 16) for each in ("CapEff", "CapPrm", "CapBnd")} == {CAP_LEASE}


def test_what_local_files_need_of_the_kernel_the_sandbox_lets_through(service: Service) -> None:
    service.box.write("/srv/try.py", SYSTEM_CALLS)
    service.box.write(f"{INBOX}/theirs.csv", "of root")
    service.box.shell(
        f"chmod 644 {INBOX}/theirs.csv"
        " && cd /etc/systemd/system"
        " && sed -e 's|^ExecStart=.*|ExecStart=/opt/backupd/bin/python /srv/try.py|'"
        " -e 's/^Type=.*/Type=oneshot/' -e '/^Restart/d' -e '/^WatchdogSec/d' -e '/^NotifyAccess/d'"
        f" {UNIT} > try.service && cp -r {UNIT}.d try.service.d && systemctl daemon-reload"
    )
    tried = service.box.run("systemctl", "start", "try.service", check=False)
    said = service.box.run("journalctl", "-u", "try.service", "-o", "cat").stdout
    assert tried.returncode == 0, said
    assert "all of it works" in said


def test_the_unit_has_no_mistakes(service: Service) -> None:
    said = service.box.run("systemd-analyze", "verify", "--man=no", UNIT)
    assert said.stdout + said.stderr == ""


def test_directories_with_odd_names_can_be_written_too(service: Service) -> None:
    odd = '/backup1/two words %n "q" \\x'
    service.configure({"feeds.odd": service_feed(odd)})
    service.box.run("install", "-d", "-o", "backupd", odd)
    service.box.shell(write_paths_line())
    service.systemctl("start")

    service.box.write(f"{odd}/one.csv", "id\n1\n")

    service.tells("cleanup finished", feed="odd/a")
    assert not service.box.path(f"{odd}/one.csv").exists()


def test_a_config_with_mistakes_leaves_the_drop_in_as_it_was(service: Service) -> None:
    drop_in = service.box.path(f"/etc/systemd/system/{UNIT}.d/write-paths.conf")
    before = drop_in.read_text()
    service.configure({"batch": {"max_files": 0}})

    service.box.shell(write_paths_line(), check=False)

    assert drop_in.read_text() == before


def service_feed(directory: str) -> dict[str, object]:
    """Return a feed of customer `a` in another directory."""
    return {"customers": ["a"], "directory": directory, "pattern": "*.csv"}
