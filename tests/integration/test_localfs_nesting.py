"""Which directory lies in which, by real links and real bind mounts."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from backupd.localfs import nesting
from backupd.localfs.nesting import Mounts
from support.mounts import mounting

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path


@pytest.fixture
def mount() -> Iterator[Callable[..., None]]:
    with mounting() as mount:
        yield mount


def made(*paths: Path) -> None:
    for path in paths:
        path.mkdir(parents=True)


def relation(one: Path, other: Path) -> str:
    """Tell how the first directory lies to the second."""
    mounts = Mounts()
    first, second = mounts.spot(str(one)), mounts.spot(str(other))
    inside, around = first.lies_in(second), second.lies_in(first)
    assert first.is_same(second) == second.is_same(first) == (inside and around)
    return {(True, True): "same", (True, False): "in", (False, True): "around"}.get(
        (inside, around), "apart"
    )


@pytest.mark.parametrize(
    ("one", "other", "expected"),
    [
        ("a", "a", "same"),
        ("a/b", "a", "in"),
        ("a/b/c", "a", "in"),
        ("a", "a/b", "around"),
        ("a", "b", "apart"),
        ("a", "ab", "apart"),
        ("ab", "a", "apart"),
        ("a/b", "a/c", "apart"),
    ],
)
def test_plain_directories(tmp_path: Path, one: str, other: str, expected: str) -> None:
    for each in (one, other):
        (tmp_path / each).mkdir(parents=True, exist_ok=True)
    assert relation(tmp_path / one, tmp_path / other) == expected


@pytest.mark.parametrize("one", ["x", "x/y"])
def test_what_is_not_there_yet_is_told_apart_too(tmp_path: Path, one: str) -> None:
    assert relation(tmp_path / one, tmp_path / "z") == "apart"
    assert relation(tmp_path / one, tmp_path) == "in"
    assert relation(tmp_path / one, tmp_path / one) == "same"
    assert relation(tmp_path / one, tmp_path / "x") == ("same" if one == "x" else "in")


def test_the_root_is_around_everything(tmp_path: Path) -> None:
    assert relation(tmp_path, type(tmp_path)("/")) == "in"


def test_links_are_seen_through(tmp_path: Path) -> None:
    made(tmp_path / "a" / "b", tmp_path / "c")
    (tmp_path / "link").symlink_to("a/b")
    (tmp_path / "c" / "up").symlink_to("../a")
    assert relation(tmp_path / "link", tmp_path / "a") == "in"
    assert relation(tmp_path / "link", tmp_path / "a" / "b") == "same"
    assert relation(tmp_path / "c" / "up" / "b", tmp_path / "link") == "same"
    assert relation(tmp_path / "c", tmp_path / "a") == "apart"


def test_a_bind_mount_shows_the_same_directory(tmp_path: Path, mount: Callable[..., None]) -> None:
    made(tmp_path / "a" / "b" / "c", tmp_path / "alias")
    mount("--bind", tmp_path / "a", tmp_path / "alias")
    assert relation(tmp_path / "alias", tmp_path / "a") == "same"
    assert relation(tmp_path / "alias" / "b", tmp_path / "a" / "b") == "same"
    assert relation(tmp_path / "alias" / "b" / "c", tmp_path / "a") == "in"
    assert relation(tmp_path / "a" / "b" / "new", tmp_path / "alias" / "b") == "in"


def test_a_bind_mount_of_what_lies_below_is_in(tmp_path: Path, mount: Callable[..., None]) -> None:
    made(tmp_path / "a" / "b" / "c", tmp_path / "alias", tmp_path / "a" / "d")
    mount("--bind", tmp_path / "a" / "b", tmp_path / "alias")
    assert relation(tmp_path / "alias", tmp_path / "a") == "in"
    assert relation(tmp_path / "alias" / "c", tmp_path / "a") == "in"
    assert relation(tmp_path / "alias", tmp_path / "a" / "b" / "c") == "around"
    assert relation(tmp_path / "alias", tmp_path / "a" / "d") == "apart"


def test_a_bind_mount_below_a_directory_shows_another_one_there(
    tmp_path: Path, mount: Callable[..., None]
) -> None:
    made(tmp_path / "feed" / "sub", tmp_path / "state" / "deep")
    mount("--bind", tmp_path / "state", tmp_path / "feed" / "sub")
    assert relation(tmp_path / "state", tmp_path / "feed") == "in"
    assert relation(tmp_path / "state" / "deep", tmp_path / "feed") == "in"
    assert relation(tmp_path / "feed", tmp_path / "state") == "around"


def test_a_bind_mount_of_what_lies_above(tmp_path: Path, mount: Callable[..., None]) -> None:
    made(tmp_path / "outer" / "inner", tmp_path / "feed" / "sub")
    mount("--bind", tmp_path / "outer", tmp_path / "feed" / "sub")
    assert relation(tmp_path / "outer" / "inner", tmp_path / "feed") == "in"
    assert relation(tmp_path / "outer" / "inner", tmp_path / "feed" / "sub") == "in"


def test_one_file_system_mounted_twice(tmp_path: Path, mount: Callable[..., None]) -> None:
    made(tmp_path / "one", tmp_path / "two words\\", tmp_path / "other")
    mount("-t", "tmpfs", "backupd-test", tmp_path / "one")
    mount("--bind", tmp_path / "one", tmp_path / "two words\\")
    mount("-t", "tmpfs", "backupd-test", tmp_path / "other")
    made(tmp_path / "one" / "a" / "b")
    assert relation(tmp_path / "two words\\" / "a" / "b", tmp_path / "one" / "a") == "in"
    assert relation(tmp_path / "two words\\", tmp_path / "one") == "same"
    assert relation(tmp_path / "other", tmp_path / "one") == "apart"


def test_a_mount_in_between_hides_nothing(tmp_path: Path, mount: Callable[..., None]) -> None:
    made(tmp_path / "a" / "b")
    mount("-t", "tmpfs", "backupd-test", tmp_path / "a" / "b")
    made(tmp_path / "a" / "b" / "c")
    assert relation(tmp_path / "a" / "b" / "c", tmp_path / "a") == "in"


def test_without_the_mount_table_device_and_inode_still_tell(
    tmp_path: Path, mount: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    made(tmp_path / "a" / "b", tmp_path / "alias")
    mount("--bind", tmp_path / "a", tmp_path / "alias")

    def unreadable(_: Path) -> int:
        raise OSError

    monkeypatch.setattr(nesting, "mount_id", unreadable)
    assert relation(tmp_path / "alias", tmp_path / "a") == "same"
    assert relation(tmp_path / "alias" / "b", tmp_path / "a") == "in"
    assert relation(tmp_path / "alias", tmp_path / "alias" / "b") == "around"
