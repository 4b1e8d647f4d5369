"""Feeds whose files could want one name in the archive."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from support.configs import feed, loaded, mistakes, one_traffic_feed

if TYPE_CHECKING:
    from pathlib import Path

    from support.configs import Changes


def tolling(pattern: str, archive: str, **more: str) -> Changes:
    extra: Changes = {f"feeds.tolling.{key}": value for key, value in more.items()}
    place: Changes = {"feeds.tolling.archive_directory": f'"{archive}"'}
    return feed("tolling", pattern, "TMP/in/b") | place | extra


def traffic(pattern: str, archive: str, **more: str) -> Changes:
    return one_traffic_feed(pattern, archive_directory=f'"{archive}"', **more)


NONE: Changes = {"archive.compression": '"none"'}
SFTP: Changes = {
    "archive.url": '"sftp://u@h/x"',
    "archive.password_file": '"TMP/secret"',
    "archive.known_hosts_file": '"TMP/secret"',
}


@pytest.mark.parametrize(
    ("one", "other", "told"),
    [
        (traffic("*.csv", "x"), tolling("*.csv", "x"), "'0.csv' of tolling/a and '0.csv'"),
        (traffic("*.csv", "x"), tolling("a*", "x") | NONE, "'a.csv' of tolling/a and 'a.csv'"),
        (traffic("*.csv", "x"), tolling("*.csv.gz", "x"), "'0.csv.gz' of tolling/a and '0.csv'"),
        (traffic("*.gz", "x"), tolling("*.csv", "x"), "'0.csv' of tolling/a and '0.csv.gz'"),
        (traffic("a*", "x"), tolling("*", "x") | SFTP, "'a' of tolling/a and 'a'"),
        (traffic("*.csv", ""), tolling("*.csv", ""), "in 'its root'"),
        (traffic("*.csv", "x/./y"), tolling("*.csv", "x/y/"), "in '/x/y'"),
        (traffic("*", "x", recursive="true"), tolling("*.csv", "x/y/z"), "in '/x/y/z'"),
        (traffic("*", "x/y"), tolling("*.csv", "", recursive="true"), "in '/x/y'"),
        (traffic("*", "x/y"), tolling("*.gz", "x", recursive="true"), "in '/x/y'"),
        (
            traffic("*.sum", "x"),
            tolling("*.gz", "x", companion_suffix='".sum"'),
            "'0.sum.gz' of tolling/a and '0.sum'",
        ),
    ],
)
def test_they_are_refused(tmp_path: Path, one: Changes, other: Changes, told: str) -> None:
    (tmp_path / "secret").write_text("x")
    (tmp_path / "secret").chmod(0o600)

    (only,) = mistakes(tmp_path, one | other)

    assert only.key == "feeds.tolling.archive_directory"
    assert told in only.problem


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (traffic("*.csv", "x"), tolling("*.csv", "y")),
        (traffic("*.csv", "x"), tolling("*.csv", "x/y")),
        (traffic("*.csv", "x"), tolling("*.csv", "xy", recursive="true")),
        (traffic("*.csv", "x", recursive="true"), tolling("*.csv", "")),
        (traffic("*.csv", "x"), tolling("*.csv.gz", "x") | NONE),
        (traffic("*.csv", "x"), tolling("*.txt.gz", "x")),
        (traffic("*.csv.gz", "x"), tolling("*.csv.gz.gz", "x")),
        (traffic("*.csv.GZ", "x"), tolling("*.csv.GZ.gz", "x")),
        (traffic("*.csv.Gz", "x"), tolling("*.csv.Gz.gz", "x")),
        (traffic("*.csv", "x"), tolling("*.csv.GZ", "x")),
        (traffic("*.csv", "x"), tolling("*.gz", "x", companion_suffix='".csv.gz"')),
        (traffic("a_*", "x"), tolling("b_*", "x")),
        (traffic("*.x", "x", companion_suffix='".y.x"'), tolling("*.y.x.gz", "x")),
    ],
)
def test_others_are_not(tmp_path: Path, one: Changes, other: Changes) -> None:
    assert len(loaded(tmp_path, one | other).feeds) == 2


def test_customers_of_one_section_are_feeds_too(tmp_path: Path) -> None:
    changes: Changes = {
        "feeds.traffic.pattern": '"*.csv"',
        "feeds.traffic.archive_directory": '"all"',
    }

    (only,) = mistakes(tmp_path, changes)

    assert only.key == "feeds.traffic.archive_directory"
    assert only.problem == (
        "lets '0.csv' of traffic/b and '0.csv' of traffic/a have one name in the archive, in '/all'"
    )


def test_within_one_feed_nothing_is_refused(tmp_path: Path) -> None:
    assert loaded(tmp_path, one_traffic_feed("*.csv*"))


def test_feeds_that_take_the_same_file_are_told_that_alone(tmp_path: Path) -> None:
    both = traffic("*.csv", "x") | tolling("*.csv", "x")
    both["feeds.tolling.directory"] = '"TMP/in/a"'

    (only,) = mistakes(tmp_path, both)

    assert only.key == "feeds.tolling.pattern"


def test_links_in_a_local_archive_are_followed(tmp_path: Path) -> None:
    (tmp_path / "archive" / "x").mkdir(parents=True)
    (tmp_path / "archive" / "y").symlink_to("x")

    (only,) = mistakes(tmp_path, traffic("*.csv", "x") | tolling("*.csv", "y"))

    assert only.key == "feeds.tolling.archive_directory"
