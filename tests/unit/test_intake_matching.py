"""Which feed a name belongs to."""

from __future__ import annotations

import pytest

from backupd.intake.matching import FeedMap, Matcher, is_companion, match
from support.intake import a_feed, a_rule, an_identity


def matchers(feeds: FeedMap, directory: str) -> list[Matcher]:
    """Return what has a say in a directory."""
    roots = feeds.roots_of(directory)
    return [each for root in roots for each in root.at(directory.removeprefix(root.directory))]


def feed_of(feeds: FeedMap, directory: str, name: str) -> str | None:
    matcher = match(matchers(feeds, directory), name)
    return matcher.feed.name if matcher else None


def test_feeds_that_share_a_directory_are_told_apart_by_pattern() -> None:
    feeds = FeedMap([a_feed("/d"), a_feed("/d", customer="SKYROAM", pattern="SKYROAM_*.csv")])
    assert feed_of(feeds, "/d", "eLUX_1.csv") == "traffic/eLUX"
    assert feed_of(feeds, "/d", "SKYROAM_1.csv") == "traffic/SKYROAM"
    assert feed_of(feeds, "/d", "other.csv") is None
    assert [root.directory for root in feeds.roots] == ["/d"]


def test_patterns_are_case_sensitive_and_match_the_whole_name() -> None:
    feeds = FeedMap([a_feed("/d")])
    assert feed_of(feeds, "/d", "elux_1.csv") is None
    assert feed_of(feeds, "/d", "eLUX_1.csv.gz") is None
    assert feed_of(feeds, "/d", "eLUX_1\n.csv") == "traffic/eLUX"


def test_only_recursive_feeds_reach_below_their_directory() -> None:
    flat = a_feed("/d", customer="flat", pattern="f_*")
    deep = a_feed("/d", customer="deep", pattern="d_*", recursive=True)
    feeds = FeedMap([flat, deep])
    assert feed_of(feeds, "/d", "f_1") == "traffic/flat"
    assert feed_of(feeds, "/d/a/b", "f_1") is None
    assert feed_of(feeds, "/d/a/b", "d_1") == "traffic/deep"
    assert feed_of(feeds, "/dd", "d_1") is None
    assert feed_of(feeds, "/", "d_1") is None


def test_nested_feed_directories_each_have_their_say() -> None:
    above = a_feed("/d", customer="above", pattern="a_*", recursive=True)
    within = a_feed("/d/in", customer="within", pattern="w_*")
    feeds = FeedMap([above, within])
    assert feed_of(feeds, "/d/in", "a_1") == "traffic/above"
    assert feed_of(feeds, "/d/in", "w_1") == "traffic/within"


@pytest.mark.parametrize("name", [".eLUX_1.csv", "eLUX_1.csv.tmp", "eLUX_1.cksum"])
def test_hidden_unfinished_and_companion_names_are_no_backup_files(name: str) -> None:
    feeds = FeedMap([a_feed("/d", pattern="*", companion=a_rule())])
    assert feed_of(feeds, "/d", name) is None
    assert is_companion(matchers(feeds, "/d"), name) == name.endswith(".cksum")


def test_a_sighting_tells_the_path_below_the_feed_and_the_companion() -> None:
    feeds = FeedMap([a_feed("/d", recursive=True, companion=a_rule(suffix=".SEM"))])
    matcher = match(matchers(feeds, "/d/a"), "eLUX_1.csv")
    assert matcher is not None
    sighting = matcher.sighting("/d/a/eLUX_1.csv", an_identity(), 7.0)
    assert sighting.relative_path == "a/eLUX_1.csv"
    assert sighting.companion_path == "/d/a/eLUX_1.SEM"
