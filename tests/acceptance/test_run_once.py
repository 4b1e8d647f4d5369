"""`backupd run --once`: all that lies there goes through, then the exit code tells how it went."""

from __future__ import annotations

import gzip
import hashlib
import os
import re
import subprocess
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from backupd.core.records import Identity
from support.daemon import (
    PROGRAMS,
    Host,
    environment,
    log_of,
    on_a_terminal,
    over_sftp,
    until,
)
from support.sshd import SshServer

if TYPE_CHECKING:
    from pathlib import Path

STAGES = ["settle", "manifest", "load", "merge", "ship", "cleanup"]
COMPANIONS = {
    "feeds.traffic.companion_suffix": '".cksum"',
    "feeds.traffic.companion_required": "true",
}


def cksum(path: Path) -> str:
    """What the real program prints."""
    command = ["cksum", path.name]
    return subprocess.run(command, cwd=path.parent, capture_output=True, check=True).stdout.decode()


def test_takes_files_through_every_stage(tmp_path: Path) -> None:
    host = Host(tmp_path)
    content = b"A;B\n1;2\n3;4\n"
    host.deliver("one.csv", content)

    run = host.once()

    assert run.returncode == 0
    assert run.stdout == ""
    assert host.local() == set()
    assert host.archived() == {"a/one.csv.gz": content}
    (row,) = host.rows()
    assert row["file_name"] == "one.csv"
    assert row["record_count"] == 2
    assert row["size_bytes"] == len(content)
    assert row["sha256"] == hashlib.sha256(content).hexdigest()
    assert host.standing() == {"one.csv": "cleanup done"}


def test_imports_nothing_from_the_directory_that_it_is_started_in(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    host = Host(tmp_path)
    host.deliver("one.csv")
    (tmp_path / "json.py").write_text("raise SystemExit('taken from where it was started')")
    monkeypatch.chdir(tmp_path)

    run = host.once()

    assert "taken from" not in run.stderr
    assert host.standing() == {"one.csv": "cleanup done"}


def test_tells_each_finished_stage_as_a_line_of_json_with_its_duration(tmp_path: Path) -> None:
    host = Host(tmp_path)
    host.deliver("one.csv")

    told = log_of(host.once().stderr)

    finished = [line for line in told if line["event"].endswith(" finished")]
    assert [line["stage"] for line in finished] == STAGES
    assert all(line["duration_s"] >= 0 for line in finished)
    assert finished[0]["file"].endswith("/one.csv")
    assert finished[-1]["feed"] == "traffic/a"


def test_has_nothing_to_do_in_empty_directories(tmp_path: Path) -> None:
    run = Host(tmp_path).once()

    assert run.returncode == 0
    assert [line["event"] for line in log_of(run.stderr)] == ["started", "ready", "stopped"]


def test_counts_the_records_of_odd_but_legal_files(tmp_path: Path) -> None:
    host = Host(tmp_path)
    contents = {
        "binary.csv": bytes(range(256)) * 64,
        "crlf.csv": b"A;B\r\n1;2\r\n",
        "empty.csv": b"",
        "gzipped.csv.GZ": gzip.compress(b"A;B\n1;2\n"),
        "gzipped.csv.gz": gzip.compress(b"A;B\n1;2\n3;4\n"),
        "header.csv": b"A;B\n",
        "long_line.csv": b"A;B\n" + b"x" * 10_000_000,
        "quotes.csv": b"A;B\n\"1;2\n'3;4\n",
        "unended.csv": b"A;B\n1;2",
    }
    for name, content in contents.items():
        host.deliver(name, content)

    assert host.once().returncode == 0

    counted = {row["file_name"]: row["record_count"] for row in host.rows()}
    assert counted == {
        "binary.csv": 64,
        "crlf.csv": 1,
        "empty.csv": 0,
        "gzipped.csv.GZ": 1,
        "gzipped.csv.gz": 2,
        "header.csv": 0,
        "long_line.csv": 1,
        "quotes.csv": 2,
        "unended.csv": 1,
    }
    assert host.archived()["a/empty.csv.gz"] == b""
    for name in ("gzipped.csv.GZ", "gzipped.csv.gz"):
        assert (host.archive / "a" / name).read_bytes() == contents[name]


def test_parks_a_bad_file_and_lets_all_others_pass(tmp_path: Path) -> None:
    host = Host(tmp_path)
    host.deliver("cut.csv.gz", gzip.compress(b"A;B\n" + os.urandom(10_000))[:-100])
    for number in range(5):
        host.deliver(f"good{number}.csv")

    run = host.once()

    assert run.returncode == 1
    standing = host.standing()
    assert standing.pop("cut.csv.gz") == "manifest parked"
    assert set(standing.values()) == {"cleanup done"}
    assert "does not decompress whole" in host.reason("cut.csv.gz")
    assert host.local() == {"cut.csv.gz"}
    parked = [line for line in log_of(run.stderr) if line["event"] == "file parked"]
    assert [(line["level"], line["feed"]) for line in parked] == [("warning", "traffic/a")]


def test_takes_names_as_they_come(tmp_path: Path) -> None:
    host = Host(tmp_path)
    names = [
        "-rf.csv",
        "$(touch pwned) `id`.csv",
        "; rm -rf *;.csv",
        'it\'s "quoted".csv',
        "100%s %d %n.csv",
        "a b  c.csv",
        "back\\slash.csv",
        "Ünïcödé 日本 🎉.csv",
        "{x} :name ${env:HOME}.csv",
        "#hash&?=.csv",
        "n" * (252 - len(".csv")) + ".csv",  # .gz makes it 255 bytes in the archive
    ]
    for name in names:
        host.deliver(name)

    assert host.once().returncode == 0

    assert host.local() == set()
    assert set(host.archived()) == {f"a/{name}.gz" for name in names}
    assert [row["file_name"] for row in host.rows()] == sorted(names)
    assert not list(tmp_path.rglob("pwned"))


def test_parks_names_that_cannot_be_registered_and_shows_them_escaped(tmp_path: Path) -> None:
    host = Host(tmp_path)
    for name in (b"not\xffutf8.csv", b"new\nline.csv", b"esc\x1b[31m.csv", b"n" * 251 + b".csv"):
        host.deliver(name)
    host.deliver("good.csv")

    assert host.once().returncode == 1

    shown = host.ask("list", "--status", "parked").stdout
    assert "its name is not UTF-8: not\\xffutf8.csv" in shown
    assert "its name holds a control character: new\\nline.csv" in shown
    assert "its name holds a control character: esc\\x1b[31m.csv" in shown
    assert "longer than 255 bytes" in shown
    assert len(shown.splitlines()) == 4
    assert set(host.archived()) == {"a/good.csv.gz"}
    assert len(host.local()) == 4


def test_leaves_alone_what_is_no_finished_file(tmp_path: Path) -> None:
    host = Host(tmp_path)
    host.deliver(".hidden.csv")
    for suffix in ("part", "partial", "tmp", "filepart"):
        host.deliver(f"coming.csv.{suffix}")
    os.mkfifo(host.inbox / "fifo.csv")
    (host.inbox / "link.csv").symlink_to("/etc/passwd")
    (host.inbox / "directory.csv").mkdir()

    run = host.once()

    assert run.returncode == 1  # links and FIFOs are told of
    assert host.files() == []
    assert len(host.local()) == 8


def test_notes_a_second_delivery_of_the_same_file_as_a_duplicate(tmp_path: Path) -> None:
    host = Host(tmp_path)
    host.deliver("one.csv")
    host.once()
    host.deliver("one.csv")

    assert host.once().returncode == 0

    first, again = host.files()
    assert again.duplicate_of == first.id
    assert len(host.rows()) == 1
    assert set(host.archived()) == {"a/one.csv.gz"}
    assert host.local() == set()


def test_ships_other_content_of_the_same_name_beside_the_first(tmp_path: Path) -> None:
    host = Host(tmp_path)
    first, second = b"A;B\n1;2\n", b"A;B\n1;2\n3;4\n"
    host.deliver("one.csv", first)
    host.once()
    host.deliver("one.csv", second)

    assert host.once().returncode == 0

    digest = hashlib.sha256(second).hexdigest()[:8]
    assert host.archived() == {"a/one.csv.gz": first, f"a/one.csv.{digest}.gz": second}
    assert {row["record_count"] for row in host.rows()} == {1, 2}
    assert host.local() == set()


def test_never_writes_over_what_others_put_into_the_archive(tmp_path: Path) -> None:
    host = Host(tmp_path)
    taken = host.archive / "a" / "one.csv.gz"
    taken.parent.mkdir(parents=True)
    taken.write_bytes(gzip.compress(b"foreign"))
    content = b"A;B\n1;2\n"
    host.deliver("one.csv", content)

    assert host.once().returncode == 0

    digest = hashlib.sha256(content).hexdigest()[:8]
    assert host.archived() == {"a/one.csv.gz": b"foreign", f"a/one.csv.{digest}.gz": content}


def test_removes_a_companion_with_its_file(tmp_path: Path) -> None:
    host = Host(tmp_path, COMPANIONS)
    path = host.deliver("one.csv")
    path.with_suffix(".cksum").write_text(cksum(path))

    assert host.once().returncode == 0

    assert host.local() == set()
    assert [row["companion_name"] for row in host.rows()] == ["one.cksum"]


def test_does_not_wait_for_a_companion_that_is_missing(tmp_path: Path) -> None:
    host = Host(tmp_path, COMPANIONS)
    path = host.deliver("one.csv")

    assert host.once().returncode == 1
    assert host.standing() == {"one.csv": "settle waiting"}
    assert host.reason("one.csv") == "waits for its companion one.cksum"

    path.with_suffix(".cksum").write_text(cksum(path))
    assert host.once().returncode == 0
    assert host.standing() == {"one.csv": "cleanup done"}


def test_parks_files_whose_companions_disagree(tmp_path: Path) -> None:
    host = Host(tmp_path, COMPANIONS)
    disagreeing = {
        "sum": ("4711 8 sum.csv\n", "its companion says 4711, 8 bytes, the file has"),
        "size": ("4711 9 size.csv\n", "its companion size.cksum says 9 bytes, the file has 8"),
        "empty": ("", "its companion empty.cksum is not a valid checksum: it is empty"),
        "garbage": (
            "hello\n",
            "its companion garbage.cksum is not a valid checksum: it holds 'hello",
        ),
        "md5": ("d41d8cd98f00b204e9800998ecf8427e  md5.csv\n", "md5.cksum is not a valid checksum"),
    }
    for name, (companion, _) in disagreeing.items():
        host.deliver(f"{name}.csv").with_suffix(".cksum").write_text(companion)
    good = host.deliver("good.csv")
    good.with_suffix(".cksum").write_text(cksum(good))

    run = host.once()

    assert run.returncode == 1
    assert [row["file_name"] for row in host.rows()] == ["good.csv"]
    assert host.local() == {f"{name}.{end}" for name in disagreeing for end in ("csv", "cksum")}
    for name, (_, reason) in disagreeing.items():
        assert reason in host.reason(f"{name}.csv")
    told = [line for line in log_of(run.stderr) if line["event"] == "file parked"]
    assert [line["stage"] for line in told] == ["settle"] * len(disagreeing)


def test_gives_up_on_an_archive_that_stays_down(tmp_path: Path) -> None:
    server = SshServer(tmp_path / "sshd")  # never started: nothing answers on its port
    host = Host(tmp_path, over_sftp(server, tmp_path / "archive"))
    host.deliver("one.csv")
    host.deliver("two.csv")

    run = host.once()

    assert run.returncode == 1
    assert host.standing() == {"one.csv": "ship waiting", "two.csv": "ship waiting"}
    assert host.local() == {"one.csv", "two.csv"}
    assert {file.attempts for file in host.files()} == {0}
    down = [line for line in log_of(run.stderr) if line["event"] == "dependency down"]
    assert [line["dependency"] for line in down] == ["archive"]


@pytest.mark.parametrize("changes", [{"cleanup.action": '"keep"'}, {"environment": '"dev"'}])
def test_a_kept_file_whose_rights_change_is_the_same_file(
    tmp_path: Path, changes: dict[str, str]
) -> None:
    host = Host(tmp_path, changes)
    path = host.deliver("one.csv")
    assert host.once().returncode == 0
    (before,) = host.files()
    path.chmod(0o400)
    assert host.once().returncode == 0
    (after,) = host.files()
    assert after == replace(before, identity=Identity.of(path.stat()))
    path.chmod(0o600)
    path.write_bytes(b"A;B\n3;4\n")
    os.utime(path, ns=(0, before.identity.mtime_ns))
    assert host.once().returncode == 0
    assert [file.local for file in host.files()] == [False, True]


def test_skips_what_leaves_traces_elsewhere_in_dev(tmp_path: Path) -> None:
    host = Host(tmp_path, {"environment": '"dev"'})
    host.deliver("one.csv")

    run = host.once()

    assert run.returncode == 0
    details = {line["stage"]: line["detail"] for line in log_of(run.stderr) if "stage" in line}
    assert details["ship"] == details["cleanup"] == "skipped (dev)"
    assert host.local() == {"one.csv"}
    assert not host.archive.exists()


@pytest.mark.parametrize(
    ("configured", "variable", "local"),
    [("prod", "dev", {"one.csv"}), ("dev", "prod", set())],
)
def test_lets_env_mode_go_before_the_config(
    tmp_path: Path, configured: str, variable: str, local: set[str]
) -> None:
    host = Host(tmp_path, {"environment": f'"{configured}"'})
    host.deliver("one.csv")

    assert host.once(ENV_MODE=variable).returncode == 0

    assert host.local() == local


def test_keeps_local_files_where_the_config_says_so(tmp_path: Path) -> None:
    host = Host(tmp_path, {"cleanup.action": '"keep"'})
    host.deliver("one.csv")

    assert host.once().returncode == 0
    assert host.once().returncode == 0

    assert host.local() == {"one.csv"}
    assert set(host.archived()) == {"a/one.csv.gz"}
    assert host.standing() == {"one.csv": "cleanup done"}
    assert len(host.files()) == 1


def test_does_not_wait_for_the_end_of_keep_for(tmp_path: Path) -> None:
    host = Host(tmp_path, {"cleanup.keep_for": '"1h"'})
    host.deliver("one.csv")

    assert host.once().returncode == 0

    assert host.local() == {"one.csv"}
    assert host.standing() == {"one.csv": "cleanup waiting"}
    assert host.reason("one.csv") == "kept for 3600 s after shipping"


def test_names_every_mistake_of_the_config_on_a_line_of_its_own(tmp_path: Path) -> None:
    host = Host(
        tmp_path,
        {
            "batch.max_files": "0",
            "retry.wat": "1",
            "feeds.traffic.directory": '"/nowhere/{customer}"',
        },
    )

    run = host.once()

    assert run.returncode == 2
    lines = run.stderr.splitlines()
    assert len(lines) == 4  # the directory is missing for each of two customers
    for key in ("batch.max_files", "retry.wat", "feeds.traffic.directory"):
        assert any(key in line and "allowed" in line for line in lines)


def test_finds_its_config_by_a_variable(tmp_path: Path) -> None:
    host = Host(tmp_path)
    host.deliver("one.csv")
    environ = environment({"BACKUPD_CONFIG": str(host.config)})

    run = subprocess.run([PROGRAMS / "backupd", "run", "--once"], env=environ, check=False)

    assert run.returncode == 0
    assert host.local() == set()


def test_shows_bars_on_a_terminal_and_only_what_went_wrong_besides(tmp_path: Path) -> None:
    host = Host(tmp_path)
    for number in range(3):
        host.deliver(f"good{number}.csv")
    host.deliver("cut.csv.gz", gzip.compress(b"A;B\n")[:-1])

    code, shown = on_a_terminal(["backupd", "run", "--once", "--config", str(host.config)])

    assert code == 1
    assert re.search(r"manifest ━+ +3/4 .* 1 parked", shown)
    assert re.search(r"cleanup +━+ +3/3 ", shown)
    assert "file parked" in shown
    assert "finished" not in shown


def a_vanished_file(host: Host) -> None:
    """A file is seen, and gone before it is complete."""
    host.configure({"intake.settle_for": '"1s"'})
    with host.daemon() as daemon:
        path = host.deliver("one.csv")
        until(host.files, lambda: "never seen")
        path.unlink()
        until(lambda: host.standing() == {"one.csv": "settle parked"}, lambda: str(host.standing()))
        assert daemon.stop() == 0
    host.configure({})
    assert host.once().returncode == 1


def open_incidents(host: Host) -> str:
    return host.ask("incidents").stdout


def test_a_later_delivery_ends_the_trouble_of_a_vanished_file(tmp_path: Path) -> None:
    host = Host(tmp_path)
    a_vanished_file(host)
    assert "vanished before it was shipped" in open_incidents(host)

    host.deliver("one.csv")
    assert host.once().returncode == 0

    assert len(host.rows()) == 1
    lost, again = host.files()
    assert (lost.status, lost.reason) == ("done", f"closed: delivered again as {again.id}")
    assert "vanished" not in open_incidents(host)
    assert host.ask("prove", again.id).returncode == 0
    assert host.ask("prove", lost.id).returncode == 1


def test_a_dismissal_ends_the_trouble_of_a_vanished_file(tmp_path: Path) -> None:
    host = Host(tmp_path)
    a_vanished_file(host)

    assert host.admin("dismiss", "one.csv", "--why", "a test of ours").returncode == 0

    assert host.once().returncode == 0
    assert "vanished" not in open_incidents(host)
    assert host.rows() == []
    host.deliver("one.csv", b"A;B\n5;6\n")
    assert host.once().returncode == 0
    assert host.archived() == {"a/one.csv.gz": b"A;B\n5;6\n"}
