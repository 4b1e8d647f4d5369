"""manifest on real files: every bad input there is."""

from __future__ import annotations

import asyncio
import contextlib
import gzip
import hashlib
import os
import pwd
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backupd.core.errors import (
    DependencyDownError,
    LocalGoneError,
    PermanentError,
    RewindError,
    TransientError,
)
from backupd.core.records import Identity
from backupd.core.stages import Stage
from backupd.stages.manifest import timestamp_of
from support.files import NOW
from support.manifests import NAME, a_real_file, read, reading, seen, task_of

if TYPE_CHECKING:
    from collections.abc import Callable


# -- what is counted --------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("content", "header_lines", "records"),
    [
        (b"", 1, 0),
        (b"", 0, 0),
        (b"id;name\n", 1, 0),
        (b"id;name", 1, 0),
        (b"id\n1\n2\n", 1, 2),
        (b"id\n1\n2", 1, 2),
        (b"1\r\n2\r\n", 0, 2),
        (bytes(range(256)) * 100, 0, 101),
        (b'a;"b\nc\n', 0, 2),
        (b"x" * (10 << 20) + b"\n", 0, 1),
        (b"a\nb\n", 5, 0),
    ],
)
def test_records_size_and_hash(
    tmp_path: Path, content: bytes, header_lines: int, records: int
) -> None:
    path = a_real_file(tmp_path, content)
    changes = read(task_of(path, header_lines=header_lines)).changes
    assert changes["record_count"] == records
    assert changes["size_bytes"] == len(content)
    assert changes["sha256"] == hashlib.sha256(content).hexdigest()
    assert changes["identity"] == Identity.of(path.stat())
    assert changes["archive_name"] == f"eLUX/traffic/{NAME}.gz"
    assert changes["file_timestamp"] == 1_795_421_700.0


def test_a_sparse_file_is_read_whole(tmp_path: Path) -> None:
    path = a_real_file(tmp_path)
    os.truncate(path, 10 << 20)
    changes = read(task_of(path)).changes
    assert changes["size_bytes"] == 10 << 20
    assert changes["sha256"] == hashlib.sha256(b"id\n1\n2\n".ljust(10 << 20, b"\0")).hexdigest()


@pytest.mark.parametrize("ending", [".gz", ".GZ", ".Gz"])
def test_of_a_gz_the_lines_of_its_text_are_counted_and_the_file_is_hashed(
    tmp_path: Path, ending: str
) -> None:
    whole = gzip.compress(b"id\n1\n2\n", mtime=0)
    path = a_real_file(tmp_path, whole, NAME + ending)
    changes = read(task_of(path)).changes
    assert changes["record_count"] == 2
    assert changes["sha256"] == hashlib.sha256(whole).hexdigest()
    assert changes["archive_name"] == f"eLUX/traffic/{NAME}{ending}"


@pytest.mark.parametrize("content", [b"", b"no gzip", gzip.compress(b"id\n1\n" * 99, mtime=0)[:-9]])
def test_a_gz_that_does_not_decompress_whole_is_parked(tmp_path: Path, content: bytes) -> None:
    path = a_real_file(tmp_path, content, NAME + ".gz")
    with pytest.raises(PermanentError, match="does not decompress whole"):
        read(task_of(path))


def test_without_compression_a_file_keeps_its_name(tmp_path: Path) -> None:
    result = read(task_of(a_real_file(tmp_path)), compress=False)
    assert result.changes["archive_name"] == f"eLUX/traffic/{NAME}"


@pytest.mark.parametrize(
    "name", ["a b;$(c)'d\".csv", "-rf.csv", "%s%n.csv", "Zürich☎.csv", "x" * 251 + ".csv"]
)
def test_a_name_is_only_a_name(tmp_path: Path, name: str) -> None:
    path = a_real_file(tmp_path, name=name)
    task = task_of(path, timestamp_regex=None)
    if len(name) > 252:
        with pytest.raises(PermanentError, match="longer than 255 bytes"):
            read(task)
        return
    assert read(task).changes["archive_name"] == f"eLUX/traffic/{name}.gz"


# -- the time in the name ---------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "message"),
    [("eLUX.csv", "no timestamp in its name"), ("eLUX_20261323081500.csv", "is not a valid date")],
)
def test_a_name_that_does_not_tell_its_time_is_parked(
    tmp_path: Path, name: str, message: str
) -> None:
    with pytest.raises(PermanentError, match=message) as caught:
        read(task_of(a_real_file(tmp_path, name=name)))
    assert "feeds.traffic" in caught.value.hint


def test_a_group_that_takes_no_part_tells_no_time(tmp_path: Path) -> None:
    task = task_of(a_real_file(tmp_path, name="eLUX_x.csv"), timestamp_regex=r"eLUX_(\d{14})?")
    with pytest.raises(PermanentError, match="no timestamp in its name"):
        read(task)


def test_without_a_rule_the_mtime_is_the_time(tmp_path: Path) -> None:
    path = a_real_file(tmp_path)
    os.utime(path, (NOW, NOW))
    assert read(task_of(path, timestamp_regex=None)).changes["file_timestamp"] == NOW


@pytest.mark.parametrize("at", [-62_135_596_801, 253_402_300_800])
def test_a_time_in_no_year_is_refused(tmp_path: Path, at: int) -> None:
    path = a_real_file(tmp_path)
    identity = replace(Identity.of(path.stat()), mtime_ns=at * 10**9)
    task = task_of(path, timestamp_regex=None)
    with pytest.raises(PermanentError, match="in no year from 1 to 9999"):
        timestamp_of(task.file, task.feed, identity)


@pytest.mark.parametrize("text", ["0001-01-01T00+0300", "9999-12-31T23-0300"])
def test_a_time_that_its_zone_moves_out_of_all_years_is_refused(tmp_path: Path, text: str) -> None:
    path = a_real_file(tmp_path, name=f"eLUX_{text}.csv")
    rule: dict[str, Any] = {
        "timestamp_regex": r"eLUX_(.*)\.csv",
        "timestamp_format": "%Y-%m-%dT%H%z",
    }
    with pytest.raises(PermanentError, match="is not a valid date"):
        read(task_of(path, **rule))


@given(st.text(alphabet="0123456789-+ :", max_size=20))
def test_whatever_stands_where_the_time_should_the_file_is_parked_or_dated(text: str) -> None:
    import tempfile  # noqa: PLC0415 - a directory for each example

    with tempfile.TemporaryDirectory() as directory:
        path = a_real_file(Path(directory), name=f"eLUX_{text}.csv")
        task = task_of(path, timestamp_regex=r"_(.*)\.csv", timestamp_format="%Y-%m-%d %H:%M%z")
        try:
            file = replace(task.file, **read(task).changes)
        except PermanentError:
            return
        assert file.file_date


# -- what changes meanwhile -------------------------------------------------------------------


def while_reading(monkeypatch: pytest.MonkeyPatch, act: Callable[[], object]) -> None:
    """Do something to the file when a part of it has been read."""
    real = os.read
    done: list[bool] = []

    def read_and_act(fd: int, size: int) -> bytes:
        block = real(fd, size)
        if not done:
            done.append(True)
            act()
        return block

    monkeypatch.setattr(os, "read", read_and_act)


def append(path: Path) -> None:
    with path.open("ab") as file:
        file.write(b"more\n")


def replace_it(path: Path) -> None:
    other = path.with_name("other")
    other.write_bytes(b"other\n" * 999)
    other.rename(path)


@pytest.mark.parametrize(
    "act",
    [
        append,
        lambda path: os.truncate(path, 3),
        lambda path: os.truncate(path, 0),
        replace_it,
        lambda path: path.unlink(),
        lambda path: path.touch(),
    ],
    ids=["grows", "shrinks", "is emptied", "is replaced", "vanishes", "is touched"],
)
def test_what_changes_while_it_is_read_goes_back_to_settle(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, act: Callable[[Path], object]
) -> None:
    path = a_real_file(tmp_path, b"id\n" * 300_000)
    task = task_of(path)
    while_reading(monkeypatch, lambda: act(path))
    with pytest.raises(RewindError, match="changed while it was read") as caught:
        read(task)
    assert caught.value.stage is Stage.SETTLE


@pytest.mark.parametrize("change", [Path.unlink, Path.touch], ids=["removed", "changed"])
async def test_an_endless_file_is_not_read_on_once_it_is(
    tmp_path: Path, change: Callable[[Path], None]
) -> None:
    path = a_real_file(tmp_path)
    os.truncate(path, 1 << 40)
    work = asyncio.create_task(reading(task_of(path)))
    await asyncio.sleep(0.1)  # it has begun, or finds at its begin what it would find later
    change(path)
    with pytest.raises((RewindError, LocalGoneError)):
        await work


def test_what_changed_since_it_settled_goes_back_unread(tmp_path: Path) -> None:
    path = a_real_file(tmp_path)
    task = task_of(path)
    replace_it(path)
    with pytest.raises(RewindError):
        read(task)


# -- what stands in its place -----------------------------------------------------------------


@pytest.mark.parametrize("kind", ["symlink", "fifo", "directory", "socket", "device", "dangling"])
def test_only_a_regular_file_is_ever_read(tmp_path: Path, kind: str) -> None:
    path = a_real_file(tmp_path)
    task = task_of(path)
    path.unlink()
    put(kind, path)
    with pytest.raises(LocalGoneError, match="another thing than a regular file"):
        read(task)


def put(kind: str, path: Path) -> None:
    import socket  # noqa: PLC0415 - for this one only

    match kind:
        case "symlink":
            path.symlink_to("/etc/passwd")
        case "dangling":
            path.symlink_to("/nowhere")
        case "fifo":
            os.mkfifo(path)
        case "directory":
            path.mkdir()
        case "socket":
            with socket.socket(socket.AF_UNIX) as bound, contextlib.chdir(path.parent):
                bound.bind(path.name)  # a whole path may be too long
        case "device":
            subprocess.run(["mknod", path, "c", "1", "5"], check=True)  # endless zeros


def test_a_file_that_vanished_is_gone_for_good(tmp_path: Path) -> None:
    path = a_real_file(tmp_path)
    task = task_of(path)
    path.unlink()
    with pytest.raises(LocalGoneError, match="vanished"):
        read(task)


def test_while_its_feed_is_away_nothing_is_said_to_be_gone(tmp_path: Path) -> None:
    feed = tmp_path / "feed"
    feed.mkdir()
    task = task_of(a_real_file(feed))
    feed.rename(tmp_path / "elsewhere")
    with pytest.raises(DependencyDownError, match="No such file") as caught:
        read(task)
    assert caught.value.dependency == "feed:traffic/eLUX"


AS_NOBODY = """
import asyncio, os, sys
sys.path.insert(0, sys.argv[2])
from pathlib import Path
from backupd.core.errors import BackupdError
from support.manifests import reading, task_of
task = task_of(Path(sys.argv[1]))
if os.geteuid() == 0:
    os.setgroups([])
    os.setgid(int(sys.argv[3]))
    os.setuid(int(sys.argv[3]))
try:
    asyncio.run(reading(task))
except BackupdError as error:
    print(type(error).__name__, error, error.hint, sep=";")
"""


def test_a_file_that_may_not_be_read_is_tried_again_with_a_hint(tmp_path: Path) -> None:
    path = a_real_file(tmp_path)
    path.chmod(0)
    nobody = str(pwd.getpwnam("nobody").pw_uid)
    tests = str(Path(__file__).parent.parent)
    for parent in (tmp_path, *tmp_path.parents):
        if parent.stat().st_mode & 0o005 != 0o005:  # pytest's own, closed to others
            parent.chmod(parent.stat().st_mode | 0o005)
    command = [sys.executable, "-c", AS_NOBODY, str(path), tests, nobody]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert not done.stderr, done.stderr
    kind, message, hint = done.stdout.strip().split(";")
    assert kind == TransientError.__name__
    assert message == f"cannot read {path}: Permission denied"
    assert "right to read it" in hint


# -- what was registered before ---------------------------------------------------------------


def test_a_registered_file_that_holds_other_content_now_is_another_file(tmp_path: Path) -> None:
    path = a_real_file(tmp_path)
    file = seen(path, sha256="ab" * 32, row_seen_at=NOW)
    with pytest.raises(LocalGoneError, match="changed after it was registered"):
        read(task_of(path, file))


def test_a_registered_file_keeps_its_archive_name_and_the_date_of_its_row(tmp_path: Path) -> None:
    path = a_real_file(tmp_path)
    known = {
        "sha256": hashlib.sha256(path.read_bytes()).hexdigest(),
        "row_id": "1a2084721286fa072e47",
        "file_timestamp": NOW - 86_400,
        "archive_name": "eLUX/other.gz",
    }
    changes = read(task_of(path, seen(path, row_seen_at=NOW, **known))).changes
    assert {name: changes[name] for name in known} == known
