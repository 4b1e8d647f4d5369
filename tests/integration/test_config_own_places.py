"""Feeds that could take what is backupd's own, whatever the path by which they reach it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from backupd.config import ConfigMistakes, load
from support.configs import feed, loaded, mistakes, one_traffic_feed, write
from support.mounts import mounting

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from support.configs import Changes

SFTP: Changes = {
    "archive.url": '"sftp://u@h/x"',
    "archive.known_hosts_file": '"TMP/ours/hosts"',
    "archive.identity_file": '"TMP/ours/key"',
    "archive.password_file": '"TMP/ours/password"',
}
HIVE: Changes = {
    "warehouse.kind": '"hive"',
    "warehouse.hive.host": '"h"',
    "warehouse.hive.auth": '"LDAP"',
    "warehouse.hive.password_file": '"TMP/ours/password"',
    "warehouse.hive.staging_url": '"webhdfs://h:1/x"',
}
MAIL: Changes = {
    "alerts.smtp_url": '"smtp://u@h"',
    "alerts.smtp_password_file": '"TMP/ours/password"',
    "alerts.from": '"a@b"',
}
APART: dict[str, Changes] = {
    "ledger.url": {"ledger.url": '"sqlite:///TMP/ours/ledger.db"'},
    "archive.known_hosts_file": SFTP,
    "archive.identity_file": SFTP,
    "archive.password_file": SFTP,
    "warehouse.hive.password_file": HIVE,
    "alerts.smtp_password_file": MAIL,
}
AMONG_OTHERS: dict[str, Changes] = {
    "control.socket": {"control.socket": '"TMP/ours/socket"'},
    "status_file.path": {"status_file.path": '"TMP/ours/status"'},
    "alerts.hook": {"alerts.hook": '"TMP/ours/hook"'},
}
FILES = APART | AMONG_OTHERS
TREES: dict[str, Changes] = {
    "archive.url": {"archive.url": '"file://TMP/ours"'},
    "warehouse.embedded.root": {"warehouse.embedded.root": '"TMP/ours"'},
    "warehouse.hive.staging_url": HIVE | {"warehouse.hive.staging_url": '"file://TMP/ours"'},
}


@pytest.fixture
def ours(tmp_path: Path) -> Path:
    """Make a directory with files that keys may name."""
    ours = tmp_path / "ours"
    (ours / "sub").mkdir(parents=True)
    for name in ("hosts", "key", "password", "hook"):
        (ours / name).write_text("x")
        (ours / name).chmod(0o700)
    return ours


@pytest.fixture
def mount() -> Iterator[Callable[..., None]]:
    with mounting() as mount:
        yield mount


def problems(tmp_path: Path, changes: Changes, key: str) -> list[str]:
    """Return what is told of feeds' directories and this place."""
    found = mistakes(tmp_path, changes)
    assert {each.key for each in found} == {"feeds.traffic.directory"}
    return [each.problem for each in found if f"({key})" in each.problem]


def traffic(directory: str, *, recursive: bool = False) -> Changes:
    more: Changes = {"feeds.traffic.recursive": "true"} if recursive else {}
    return feed("traffic", "*", directory) | more


@pytest.mark.parametrize("key", FILES)
def test_a_feed_that_holds_a_file_of_ours(tmp_path: Path, ours: Path, key: str) -> None:
    (problem,) = problems(tmp_path, FILES[key] | traffic("TMP/ours"), key)
    assert problem.startswith(f"names {ours}, which holds {ours}/")


@pytest.mark.parametrize("key", FILES)
def test_a_recursive_feed_with_a_file_of_ours_anywhere_below(
    tmp_path: Path, ours: Path, key: str
) -> None:
    (tmp_path / "in" / "a").mkdir(parents=True)
    ours.rename(tmp_path / "in" / "a" / "ours")
    changes = {
        name: value and value.replace("TMP/ours", "TMP/in/a/ours")
        for name, value in FILES[key].items()
    }
    (problem,) = problems(tmp_path, changes | traffic("TMP/in/a", recursive=True), key)
    assert problem.startswith(f"names {tmp_path}/in/a, which contains {tmp_path}/in/a/ours/")
    assert loaded(tmp_path, changes | traffic("TMP/in/a"))


@pytest.mark.parametrize("key", TREES)
@pytest.mark.parametrize(
    "lie",
    [
        ("TMP/ours", False, "is"),
        ("TMP/ours/sub", False, "lies in"),
        ("TMP/ours/sub", True, "lies in"),
        ("TMP", True, "contains"),
    ],
)
def test_a_feed_in_or_around_a_directory_of_ours(
    tmp_path: Path, ours: Path, key: str, lie: tuple[str, bool, str]
) -> None:
    directory, recursive, how = lie
    (problem,) = problems(tmp_path, TREES[key] | traffic(directory, recursive=recursive), key)
    assert f"which {how} {ours} ({key})" in problem


@pytest.mark.parametrize("key", [*FILES, *TREES])
def test_a_feed_beside_what_is_ours_is_fine(tmp_path: Path, ours: Path, key: str) -> None:
    assert ours.exists()
    changes = {**FILES, **TREES}[key]
    for directory in ("TMP/in/a", "TMP/ours/sub" if key in AMONG_OTHERS else "TMP/in/b"):
        for recursive in (False, True):
            assert loaded(tmp_path, changes | traffic(directory, recursive=recursive))


@pytest.mark.parametrize("recursive", [False, True])
@pytest.mark.parametrize("key", APART)
def test_a_feed_below_the_directory_of_a_file_of_ours(
    tmp_path: Path, ours: Path, key: str, recursive: bool
) -> None:
    changes = APART[key] | traffic("TMP/ours/sub", recursive=recursive)
    (problem,) = problems(tmp_path, changes, key)
    assert problem.startswith(f"names {ours}/sub, which lies in the directory of {ours}/")
    assert "by a link" not in problem


@pytest.mark.parametrize("deep", ["", "a/b"])
def test_a_feed_below_the_directory_of_the_config(tmp_path: Path, deep: str) -> None:
    place = tmp_path / "etc" / deep
    place.mkdir(parents=True)
    config = write(tmp_path, traffic(f"TMP/etc/{deep}".rstrip("/") + "/in"))
    (place / "in").mkdir()
    assert load(config, environ={})
    (link := tmp_path / "etc" / "config.toml").symlink_to(config)
    moved = config.rename(tmp_path / "etc" / "real.toml")
    config.symlink_to(moved)
    for each in (moved, link, config):
        with pytest.raises(ConfigMistakes) as caught:
            load(each, environ={})
        assert {told.key for told in caught.value.mistakes} == {"feeds.traffic.directory"}
        assert f"lies in the directory of {each}" in caught.value.mistakes[0].problem


@pytest.mark.parametrize("key", ["archive.url", "ledger.url", "warehouse.embedded.root"])
def test_feeds_may_lie_in_one_directory_with_all_the_rest(tmp_path: Path, key: str) -> None:
    home, apart = tmp_path / "home", tmp_path / "apart"
    apart.mkdir()
    all_apart: Changes = {
        "archive.url": f'"file://{apart}/archive"',
        "ledger.url": f'"sqlite:///{apart}/ledger.db"',
        "warehouse.embedded.root": f'"{apart}/warehouse"',
    }
    (only,) = mistakes(home, all_apart)
    assert f"lies in the directory of {home}/config.toml" in only.problem
    here = (all_apart[key] or "").replace(str(apart), "TMP")
    assert loaded(home, all_apart | {key: here})


def test_a_feed_with_the_config_itself(tmp_path: Path) -> None:
    path = write(tmp_path, traffic("TMP/in/a"))
    moved = path.rename(tmp_path / "in" / "a" / "config.toml")
    path.symlink_to(moved)
    for each in (moved, path):
        with pytest.raises(ConfigMistakes) as caught:
            load(each, environ={})
        (only,) = caught.value.mistakes
        assert only.key == "feeds.traffic.directory"
        assert f"holds {each}" in only.problem


def test_a_feed_with_credentials_of_the_service(tmp_path: Path, ours: Path) -> None:
    changes = SFTP | {f"archive.{name}": None for name in ("known_hosts_file", "password_file")}
    changes |= {"archive.identity_file": '"key"', "archive.known_hosts_file": '"hosts"'}
    (ours / "key").chmod(0o600)
    found = mistakes(
        tmp_path, changes | traffic("TMP/ours"), environ={"CREDENTIALS_DIRECTORY": str(ours)}
    )
    told = [each.problem for each in found if each.key == "feeds.traffic.directory"]
    assert [f"({key})" in each for key, each in zip(sorted(changes), told, strict=False)]
    assert len(told) == 2


def test_a_ledger_that_is_a_link_lies_where_it_leads(tmp_path: Path, ours: Path) -> None:
    (tmp_path / "ledger.db").symlink_to(ours / "ledger.db")
    (problem,) = problems(tmp_path, traffic("TMP/ours"), "ledger.url")
    assert "by a link or a bind mount" in problem


@pytest.mark.parametrize("below", ["", "/sub"])
@pytest.mark.parametrize("how", ["link", "bind"])
@pytest.mark.parametrize("key", ["ledger.url", "archive.url", "warehouse.embedded.root"])
def test_a_feed_by_another_path(  # noqa: PLR0913, PLR0917 -- three ways to vary it
    tmp_path: Path, ours: Path, mount: Callable[..., None], key: str, how: str, below: str
) -> None:
    alias = tmp_path / "alias"
    if how == "link":
        alias.symlink_to(ours)
    else:
        alias.mkdir()
        mount("--bind", ours, alias)
    changes = {**FILES, **TREES}[key]
    (problem,) = problems(tmp_path, changes | traffic(f"TMP/alias{below}"), key)
    assert problem.endswith(f"({key}), by a link or a bind mount")
    assert loaded(tmp_path, changes | traffic("TMP/in/a"))


@pytest.mark.parametrize("key", ["ledger.url", "archive.url", "warehouse.embedded.root"])
def test_what_is_ours_mounted_somewhere_in_a_feed(
    tmp_path: Path, ours: Path, mount: Callable[..., None], key: str
) -> None:
    deep = tmp_path / "in" / "a" / "deep"
    deep.mkdir(parents=True)
    mount("--bind", ours, deep)
    changes = {**FILES, **TREES}[key]
    (problem,) = problems(tmp_path, changes | traffic("TMP/in/a", recursive=True), key)
    assert "contains" in problem
    assert loaded(tmp_path, changes | traffic("TMP/in/a"))


def test_a_feed_mounted_somewhere_in_the_archive(
    tmp_path: Path, mount: Callable[..., None]
) -> None:
    below = tmp_path / "archive" / "a"
    below.mkdir(parents=True)
    write(tmp_path, {})
    mount("--bind", tmp_path / "in" / "a", below)
    (problem,) = problems(tmp_path, traffic("TMP/in/a"), "archive.url")
    assert "lies in" in problem


def test_shipped_files_cannot_come_back_into_a_feed(tmp_path: Path) -> None:
    changes = one_traffic_feed("*", recursive="true") | {"archive.url": '"file://TMP/in/a/done"'}
    (only,) = mistakes(tmp_path, changes)
    assert only.key == "feeds.traffic.directory"
    assert f"contains {tmp_path}/in/a/done (archive.url)" in only.problem


def test_many_directories_are_one_mistake(tmp_path: Path) -> None:
    changes: Changes = {
        "archive.url": '"file://TMP/in"',
        "feeds.traffic.customers": '["a", "b"]',
    }
    (only,) = mistakes(tmp_path, changes)
    assert only.problem.endswith("(archive.url), and 1 more such directories")


def test_two_feeds_on_one_directory_by_a_bind_mount(
    tmp_path: Path, mount: Callable[..., None]
) -> None:
    write(tmp_path, {})
    mount("--bind", tmp_path / "in" / "a", tmp_path / "in" / "b")
    both = one_traffic_feed("*") | feed("tolling", "*", "TMP/in/b")
    (only,) = mistakes(tmp_path, both)
    assert only.key == "feeds.tolling.pattern"


def test_one_directory_under_two_paths_is_refused_whatever_the_feeds_take_there(
    tmp_path: Path, mount: Callable[..., None]
) -> None:
    write(tmp_path, {})
    both = one_traffic_feed("*.csv") | feed("tolling", "*.txt", "TMP/in/b")
    assert loaded(tmp_path, both)
    mount("--bind", tmp_path / "in" / "a", tmp_path / "in" / "b")
    (only,) = mistakes(tmp_path, both)
    assert only.key == "feeds.tolling.directory"
    assert f"{tmp_path}/in/b is the same directory as {tmp_path}/in/a of traffic/a" in only.problem
    assert loaded(tmp_path, one_traffic_feed("*.csv") | feed("tolling", "*.txt"))


def test_two_recursive_feeds_that_share_a_mount_below(
    tmp_path: Path, mount: Callable[..., None]
) -> None:
    write(tmp_path, {})
    for customer in ("a", "b"):
        (tmp_path / "in" / customer / "deep").mkdir()
    mount("--bind", tmp_path / "in" / "a" / "deep", tmp_path / "in" / "b" / "deep")
    both = one_traffic_feed("*") | feed("tolling", "*", "TMP/in/b")
    assert loaded(tmp_path, both)
    recursive: Changes = {f"feeds.{name}.recursive": "true" for name in ("traffic", "tolling")}
    (only,) = mistakes(tmp_path, both | recursive)
    assert only.key == "feeds.tolling.pattern"
