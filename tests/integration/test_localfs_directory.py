"""An open directory: what lies below it is reached, and nothing else."""

from __future__ import annotations

import errno
import os
from typing import TYPE_CHECKING

import pytest

from backupd.localfs import syscalls
from backupd.localfs.directory import CREATE, Directory
from backupd.localfs.roots import find_root, open_root

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@pytest.fixture
def outside(tmp_path: Path) -> Path:
    """What nobody may come to through the directory."""
    (tmp_path / "outside").mkdir()
    (tmp_path / "outside" / "key").write_text("secret")
    return tmp_path / "outside"


@pytest.fixture
def top(tmp_path: Path, outside: Path) -> Iterator[Directory]:
    here = tmp_path / "top"
    (here / "a" / "b").mkdir(parents=True)
    (here / "a" / "b" / "file").write_text("content")
    (here / "link").symlink_to(outside)
    (here / "a" / "link").symlink_to(outside / "key")
    with Directory.at(str(here)) as opened:
        yield opened


@pytest.fixture(params=["openat2", "part by part"])
def way(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Both ways of reaching what lies several parts below."""
    if request.param == "part by part":

        def not_there(*_: object) -> int:
            raise OSError(errno.ENOSYS, "Function not implemented")

        monkeypatch.setattr(syscalls, "openat2", not_there)
    return str(request.param)


OUTSIDE = ["link/key", "a/link", "../outside/key", "a/b/../../../outside/key", "a//b", "a/./b"]


@pytest.mark.usefixtures("way")
def test_a_file_below_is_opened_and_looked_at(top: Directory) -> None:
    fd = top.open("a/b/file")
    assert os.read(fd, 100) == b"content"
    os.close(fd)
    assert top.stat("a/b/file").st_size == 7
    assert top.find("a/b/none") is None
    assert top.find("none/file") is None
    assert top.find("a/b/file/below") is None


@pytest.mark.usefixtures("way", "outside")
@pytest.mark.parametrize("name", OUTSIDE)
def test_nothing_outside_is_opened(top: Directory, name: str) -> None:
    with pytest.raises(OSError, match=r"links|directory|device|leads out"):
        top.open(name)


@pytest.mark.usefixtures("way")
@pytest.mark.parametrize("name", ["link", "a/link", "link/x", "..", "a/.."])
def test_no_directory_is_reached_through_a_link(top: Directory, name: str) -> None:
    with pytest.raises(OSError, match=r"links|directory|device|leads out"):
        top.directory(name)


@pytest.mark.usefixtures("way")
def test_nothing_is_made_outside(top: Directory, outside: Path) -> None:
    with pytest.raises(OSError, match=r"links|directory"):
        top.make("link/new")
    with pytest.raises(OSError, match=r"links|directory"):
        top.open("link/new", CREATE)
    assert [path.name for path in outside.iterdir()] == ["key"]


def test_directories_are_made_and_may_be_there(top: Directory) -> None:
    for _ in range(2):
        with top.make("x/y/z") as made:
            os.close(made.open("file", CREATE)) if not made.find("file") else None
    assert top.find("x/y/z/file") is not None


def test_a_link_is_looked_at_itself(top: Directory) -> None:
    assert top.stat("link").st_mode & 0o170000 == 0o120000
    assert top.find("link/key") is None


# -- renames ----------------------------------------------------------------------------------


@pytest.fixture(params=["renameat2", "without"])
def rename(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """File systems that can rename without replacing, and those that cannot (NFS)."""
    if request.param == "without":

        def unsupported(*_: object) -> None:
            raise OSError(errno.EINVAL, "Invalid argument")

        monkeypatch.setattr(syscalls, "rename_without_replacing", unsupported)
    return str(request.param)


@pytest.mark.usefixtures("rename")
def test_a_rename_replaces_nothing(top: Directory) -> None:
    with top.directory("a/b") as directory:
        directory.rename_without_replacing("file", "moved")
        assert directory.find("file") is None
        os.close(directory.open("file", CREATE))
        with pytest.raises(FileExistsError):
            directory.rename_without_replacing("moved", "file")
        assert directory.stat("moved").st_size == 7
        assert directory.stat("file").st_size == 0
        with pytest.raises(FileNotFoundError):
            directory.rename_without_replacing("none", "other")


@pytest.mark.usefixtures("rename")
def test_what_is_moved_aside_replaces_nothing(top: Directory) -> None:
    with top.directory("a/b") as directory:
        directory.move_aside("file", ".aside")
        os.close(directory.open("file", CREATE))
        with pytest.raises(FileExistsError):
            directory.move_aside("file", ".aside")
        assert directory.stat(".aside").st_size == 7


# -- feeds' directories -----------------------------------------------------------------------


def test_a_feeds_directory_is_opened_only_while_it_is_that_one(tmp_path: Path) -> None:
    feed = tmp_path / "feed"
    feed.mkdir()
    root = find_root(str(feed))
    open_root(root).close()
    feed.rename(tmp_path / "aside")
    feed.mkdir()
    with pytest.raises(OSError, match="another directory"):
        open_root(root)
    feed.rmdir()
    feed.symlink_to(tmp_path / "aside")
    with pytest.raises(OSError, match=r"Not a directory|links"):
        open_root(root)


def test_a_feeds_directory_may_be_configured_by_a_link(tmp_path: Path) -> None:
    (tmp_path / "disk" / "feed").mkdir(parents=True)
    (tmp_path / "data").symlink_to(tmp_path / "disk")
    root = find_root(str(tmp_path / "data" / "feed"))
    assert root.path == os.path.realpath(tmp_path / "disk" / "feed")
    open_root(root).close()
