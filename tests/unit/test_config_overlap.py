from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from support.configs import feed, loaded, mistakes, one_traffic_feed

if TYPE_CHECKING:
    from pathlib import Path

    from support.configs import Changes


@pytest.mark.parametrize(
    "other",
    [
        feed("tolling", "a_HOL_*"),
        feed("tolling", "*"),
        feed("tolling", "*.csv", directory="TMP/link"),
        feed("tolling", "a_1.csv", directory="TMP/in") | {"feeds.tolling.recursive": "true"},
        feed("tolling", "*[!x]sv", directory="TMP/in/../in/a"),
    ],
)
def test_feeds_that_can_claim_the_same_file(tmp_path: Path, other: Changes) -> None:
    (tmp_path / "link").symlink_to("in/a")

    (only,) = mistakes(tmp_path, one_traffic_feed("a_*.csv") | other)

    assert only.key == "feeds.tolling.pattern"
    assert only.problem.startswith("lets tolling/a claim the same file as traffic/a, such as 'a_")


@pytest.mark.parametrize(
    "other",
    [
        feed("tolling", "b_*.csv"),
        feed("tolling", "a_*.csv.gz"),
        feed("tolling", "a_*.csv", directory="TMP/in/b"),
        feed("tolling", "a_*.csv", directory="TMP/in"),
        feed("tolling", "a_*", directory="TMP/in/b") | {"feeds.tolling.recursive": "true"},
        feed("tolling", "a_*", directory="TMP/in/ab") | {"feeds.traffic.recursive": "true"},
    ],
)
def test_feeds_that_cannot(tmp_path: Path, other: Changes) -> None:
    (tmp_path / "in" / "ab").mkdir(parents=True)

    assert len(loaded(tmp_path, one_traffic_feed("a_*.csv") | other).feeds) == 2


def test_customers_collide_where_nothing_tells_them_apart(tmp_path: Path) -> None:
    changes: Changes = {
        "feeds.traffic.customers": '["a", "b", "c"]',
        "feeds.traffic.directory": '"TMP/in"',
        "feeds.traffic.pattern": '"*.csv"',
    }

    (only,) = mistakes(tmp_path, changes)

    assert only.problem == (
        "lets traffic/b claim the same file as traffic/a, such as '0.csv', "
        "and 2 more pairs of feeds like these"
    )


def test_companions_are_not_claimed(tmp_path: Path) -> None:
    both = one_traffic_feed("a_*", companion_suffix='".sum"') | feed("tolling", "b_*.sum")

    assert len(loaded(tmp_path, both).feeds) == 2


def test_a_feed_cannot_take_the_companions_of_another(tmp_path: Path) -> None:
    both = one_traffic_feed("a_*.csv", companion_suffix='".sum"') | feed("sums", "a_*.sum")

    (only,) = mistakes(tmp_path, both)

    assert only.key == "feeds.sums.pattern"
    assert only.problem == "lets sums/a take companions of traffic/a, such as 'a_.sum'"


def test_overlaps_are_told_beside_other_mistakes(tmp_path: Path) -> None:
    both = one_traffic_feed("a_*", header_lines="-1") | feed("tolling", "a_*")

    keys = [each.key for each in mistakes(tmp_path, both)]

    assert keys == ["feeds.traffic.header_lines", "feeds.tolling.pattern"]


def test_an_archive_directory_cannot_leave_by_a_symlink(tmp_path: Path) -> None:
    (tmp_path / "archive").mkdir()
    (tmp_path / "archive" / "out").symlink_to(tmp_path)

    (only,) = mistakes(tmp_path, one_traffic_feed("*", archive_directory='"out/x"'))

    assert only.key == "feeds.traffic.archive_directory"
    assert "by a symlink, out of the archive's root" in only.problem
