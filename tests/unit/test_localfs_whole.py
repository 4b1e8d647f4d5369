"""Files that are written whole, whatever somebody plants under their names."""

from __future__ import annotations

import errno
import os
import stat
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from backupd.localfs import syscalls
from backupd.localfs.directory import Directory
from backupd.localfs.whole import directory_at, made_directory_at, remove_leftovers, write_whole

if TYPE_CHECKING:
    from collections.abc import Iterator


NOBODY = 65534


@pytest.fixture
def private(tmp_path: Path) -> Path:
    path = tmp_path / "private"
    path.write_text("secret")
    path.chmod(0o600)
    return path


@pytest.fixture
def place(tmp_path: Path) -> Path:
    path = tmp_path / "place"
    path.mkdir()
    return path


@pytest.fixture
def directory(place: Path) -> Iterator[Directory]:
    with Directory.at(str(place)) as opened:
        yield opened


def names(place: Path) -> list[str]:
    return sorted(path.name for path in place.iterdir())


def untouched(private: Path) -> bool:
    mode = stat.S_IMODE(private.stat().st_mode)
    return private.read_text() == "secret" and mode == 0o600


def test_a_file_is_written_and_replaced(directory: Directory, place: Path) -> None:
    for text in (b"first and long", b"second"):
        write_whole(directory, "file", text)
        assert (place / "file").read_bytes() == text
        assert names(place) == ["file"]


def test_it_has_the_permissions_asked_for_whatever_the_umask(
    directory: Directory, place: Path
) -> None:
    before = os.umask(0o077)
    try:
        write_whole(directory, "ours", b"")
        write_whole(directory, "everyones", b"", 0o644)
    finally:
        os.umask(before)
    modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in place.iterdir()}
    assert modes == {"ours": 0o600, "everyones": 0o644}


def test_a_link_under_its_name_is_replaced_and_not_followed(
    directory: Directory, place: Path, private: Path
) -> None:
    (place / "file").symlink_to(private)
    write_whole(directory, "file", b"x", 0o644)
    assert untouched(private)
    assert (place / "file").read_bytes() == b"x"
    assert not (place / "file").is_symlink()


@pytest.mark.parametrize("kind", ["link", "file", "directory", "fifo"])
def test_nothing_planted_under_the_temporary_name_is_written_to(
    directory: Directory, place: Path, private: Path, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    monkeypatch.setattr("secrets.token_hex", lambda _: "0" * 8)
    planted = place / ".file.00000000.tmp"
    match kind:
        case "link":
            planted.symlink_to(private)
        case "file":
            planted.hardlink_to(private)
        case "directory":
            planted.mkdir()
        case _:
            os.mkfifo(planted)
    with pytest.raises(FileExistsError):
        write_whole(directory, "file", b"x", 0o644)
    assert untouched(private)
    assert not (place / "file").exists()


def test_what_fails_leaves_the_old_file_and_no_other(
    directory: Directory, place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_whole(directory, "file", b"old")

    def fail(_: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(OSError, match="No space"):
        write_whole(directory, "file", b"new")
    assert names(place) == ["file"]
    assert (place / "file").read_bytes() == b"old"


def test_leftovers_of_a_kill_are_removed_and_nothing_else(
    directory: Directory, place: Path, private: Path
) -> None:
    for name in (".file.0123abcd.tmp", ".file.tmp", ".other.0123abcd.tmp", "file", ".file.x.tmp"):
        (place / name).touch()
    (place / ".file.11111111.tmp").symlink_to(private)
    remove_leftovers(directory, "file")
    left = [".file.11111111.tmp", ".file.tmp", ".file.x.tmp", ".other.0123abcd.tmp", "file"]
    assert names(place) == left
    assert untouched(private)


@pytest.mark.parametrize("part", ["a", "a/b", "a/b/c"])
def test_a_directory_is_not_opened_through_a_link_in_any_part(tmp_path: Path, part: str) -> None:
    (tmp_path / "a" / "b" / "c").mkdir(parents=True)
    (tmp_path / part).rename(tmp_path / "moved")
    (tmp_path / part).symlink_to(tmp_path / "moved")
    for opened in (directory_at, made_directory_at):
        with pytest.raises(OSError, match=r"Too many levels|Not a directory"):
            opened(str(tmp_path / "a" / "b" / "c"))


def test_a_directory_is_made_with_those_above_it(tmp_path: Path) -> None:
    for _ in range(2):
        with made_directory_at(f"{tmp_path}/x/y/z/") as made:
            assert os.path.samestat(made.stat(), (tmp_path / "x" / "y" / "z").stat())


def test_the_root_is_a_directory_too() -> None:
    with made_directory_at("/") as top:
        assert os.path.samestat(top.stat(), Path("/").stat())


@pytest.mark.parametrize("has_openat2", [True, False])
def test_a_directory_that_may_only_be_passed_through_is_passed_through(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, has_openat2: bool
) -> None:
    (tmp_path / "passed" / "ours").mkdir(parents=True)
    for each in (tmp_path, tmp_path / "passed"):
        each.chmod(0o711)
    os.chown(tmp_path / "passed" / "ours", NOBODY, NOBODY)
    if not has_openat2:
        monkeypatch.setattr(syscalls, "_SYS_OPENAT2", -1)
    with Directory.at(str(tmp_path)) as top:
        child = os.fork()
        if child == 0:
            with suppress(OSError):
                os.setresuid(NOBODY, NOBODY, NOBODY)
                top.directory("passed/ours").close()
                os._exit(7)
            os._exit(1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 7
