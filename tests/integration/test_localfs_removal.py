"""Removing a file while others replace, rewrite and open it: no other one is ever removed."""

from __future__ import annotations

import mmap
import os
import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING

import pytest

from backupd.core.names import aside_name, is_kept, kept_name, parse_aside, passed_over
from backupd.localfs import leases, syscalls
from backupd.localfs.directory import Directory
from backupd.localfs.files import open_file
from backupd.localfs.leases import Writers, leased, writers_of
from backupd.localfs.removal import KeptAsideError, Removal, put_back, remove

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from backupd.localfs.files import OpenFile

ID = "0" * 20
ASIDE = aside_name("data", ID)


@pytest.fixture
def data(tmp_path: Path) -> Path:
    path = tmp_path / "data"
    path.write_text("shipped")
    return path


@contextmanager
def opened(path: Path) -> Iterator[OpenFile]:
    with Directory.at(str(path.parent)) as directory, open_file(directory, path.name) as file:
        yield file


def removed(path: Path, meanwhile: Callable[[], object] = lambda: None) -> Removal:
    """Remove the file that was looked at before something happened."""
    with opened(path) as file:
        meanwhile()
        return remove(file, ASIDE, file.identity)


def names(path: Path) -> list[str]:
    return sorted(each.name for each in path.parent.iterdir())


def test_the_file_is_removed_and_nothing_is_left(data: Path) -> None:
    assert removed(data) is Removal.REMOVED
    assert names(data) == []


def test_a_file_that_was_renamed_into_its_place_stays(data: Path) -> None:
    other = data.with_name("other")
    other.write_text("not shipped")
    assert removed(data, lambda: other.rename(data)) is Removal.OTHER
    assert data.read_text() == "not shipped"
    assert names(data) == ["data"]


@pytest.mark.parametrize("length", [7, 8])
def test_a_file_that_was_rewritten_stays(data: Path, length: int) -> None:
    assert removed(data, lambda: data.write_text("x" * length)) is Removal.OTHER
    assert data.read_text() == "x" * length
    assert names(data) == ["data"]


def test_a_file_that_is_gone_is_gone(data: Path) -> None:
    assert removed(data, data.unlink) is not Removal.REMOVED
    assert names(data) == []


def test_a_link_that_was_put_in_its_place_stays_and_so_does_its_target(data: Path) -> None:
    target = data.with_name("target")

    def swap() -> None:
        data.rename(target)
        data.symlink_to(target)

    assert removed(data, swap) is Removal.OTHER
    assert data.is_symlink()
    assert target.read_text() == "shipped"


def replacing_at(moment: str, data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Put another file in its place just before or just after it is moved aside."""
    real = syscalls.rename_without_replacing

    def racing(old_dir: int, old: str, new_dir: int, new: str) -> None:
        if moment == "before" and old == "data":
            data.with_name("other").rename(data)
        real(old_dir, old, new_dir, new)
        if moment == "after" and old == "data":
            data.with_name("other").rename(data)

    data.with_name("other").write_text("not shipped")
    monkeypatch.setattr(syscalls, "rename_without_replacing", racing)


def test_one_that_comes_after_the_last_look_is_put_back(
    data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    replacing_at("before", data, monkeypatch)
    assert removed(data) is Removal.OTHER
    assert data.read_text() == "not shipped"
    assert names(data) == ["data"]


def test_one_that_comes_once_it_is_aside_is_not_touched(
    data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    replacing_at("after", data, monkeypatch)
    assert removed(data) is Removal.REMOVED
    assert data.read_text() == "not shipped"
    assert names(data) == ["data"]


def test_one_that_cannot_be_put_back_is_kept_under_a_name_that_says_so(
    data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = syscalls.rename_without_replacing

    def racing(old_dir: int, old: str, new_dir: int, new: str) -> None:
        if old == "data":
            data.with_name("second").rename(data)
            real(old_dir, old, new_dir, new)
            data.with_name("third").rename(data)
        else:
            real(old_dir, old, new_dir, new)

    data.with_name("second").write_text("second")
    data.with_name("third").write_text("third")
    monkeypatch.setattr(syscalls, "rename_without_replacing", racing)
    with pytest.raises(KeptAsideError) as caught:
        removed(data)
    assert data.read_text() == "third"
    assert data.with_name(caught.value.name).read_text() == "second"
    assert is_kept(caught.value.name)
    assert passed_over(caught.value.name)


# -- writers ----------------------------------------------------------------------------------


def mapped(path: Path) -> Callable[[], object]:
    with path.open("r+b") as file:
        return mmap.mmap(file.fileno(), 0).close


WRITERS: dict[str, Callable[[Path], Callable[[], object]]] = {
    "append": lambda path: path.open("a").close,
    "update": lambda path: path.open("r+").close,
    "mapping": mapped,
}


@pytest.mark.parametrize("writer", WRITERS)
def test_a_file_that_is_open_for_writing_stays(data: Path, writer: str) -> None:
    close = WRITERS[writer](data)
    assert removed(data) is Removal.IN_USE
    assert names(data) == ["data"]
    close()
    assert removed(data) is Removal.REMOVED


def test_readers_are_in_nobodys_way(data: Path) -> None:
    with data.open("rb"):
        assert removed(data) is Removal.REMOVED


def test_who_opens_it_in_the_middle_of_its_removal_gets_it_back(
    data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The writer waits in open(2) for the lease, and writes once the file has its name again."""
    real = syscalls.rename_without_replacing
    writers = []

    def append() -> None:
        with data.open("a") as file:
            file.write(" and more")

    def racing(old_dir: int, old: str, new_dir: int, new: str) -> None:
        if old == "data":
            writers.append(threading.Thread(target=append))
            writers[0].start()
            while not lease_is_wanted():
                pass
        real(old_dir, old, new_dir, new)

    with opened(data) as file:

        def lease_is_wanted() -> bool:
            return leases.Lease(file.fd, Writers.NONE).is_wanted()

        monkeypatch.setattr(syscalls, "rename_without_replacing", racing)
        assert remove(file, ASIDE, file.identity) is Removal.IN_USE
    writers[0].join()
    assert data.read_text() == "shipped and more"


def test_the_kernel_tells_of_writers_and_forgets_them(data: Path) -> None:
    fd = os.open(data, os.O_RDONLY)
    assert writers_of(fd) is Writers.NONE
    with data.open("a"):
        assert writers_of(fd) is Writers.SOME
    assert writers_of(fd) is Writers.NONE
    assert writers_of(fd, ask=False) is Writers.UNKNOWN
    with leased(fd) as lease:
        assert not lease.is_wanted()
    os.close(fd)


def test_where_the_file_system_has_no_leases_it_is_not_told() -> None:
    fd = os.open("/proc/self/status", os.O_RDONLY)
    assert writers_of(fd) in {Writers.UNKNOWN, Writers.NONE}
    os.close(fd)
    reading, writing = os.pipe()
    assert writers_of(reading) is Writers.UNKNOWN
    os.close(reading)
    os.close(writing)


# -- names ------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["a", "a.csv", ".b", "x" * 255, "ä" * 127, "a.removing", "\udcff"])
def test_a_name_survives_being_moved_aside(tmp_path: Path, name: str) -> None:
    aside = aside_name(name, ID)
    (tmp_path / aside).touch()
    (tmp_path / kept_name(aside)).touch()
    assert passed_over(aside)
    parsed = parse_aside(aside)
    assert parsed is not None
    assert parsed[1] == ID
    assert name.startswith(parsed[0]) or os.fsencode(name).startswith(os.fsencode(parsed[0]))


@pytest.mark.parametrize("name", ["a", ".a.removing", f".{ID}.removing", f"a.{ID}.removing"])
def test_other_names_were_not_moved_aside(name: str) -> None:
    assert parse_aside(name) is None


def test_what_was_left_aside_is_put_back_unless_it_is_gone(data: Path) -> None:
    data.rename(data.with_name(ASIDE))
    with Directory.at(str(data.parent)) as directory:
        put_back(directory, ASIDE, "data")
        put_back(directory, ASIDE, "data")
    assert data.read_text() == "shipped"
