"""Which directory of an archive is down: from what is refused and taken beside each other."""

from __future__ import annotations

import posixpath

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backupd.archive.scope import topmost
from backupd.core.archive_names import is_below
from backupd.core.errors import RefusedError

FEEDS = ["x/a", "x/b", "x/y/c", "x/y/d", "z", ""]
NO = RefusedError("no")


async def found(refused: str, down: set[str], feeds: list[str]) -> tuple[str, list[str]]:
    """Return the answer, and what was tried for it; everything at or below `down` is refused."""
    tried: list[str] = []

    async def refusal_in(directory: str) -> RefusedError | None:
        tried.append(directory)
        return NO if any(is_below(directory, each) for each in down) else None

    return await topmost(refused, feeds, refusal_in), tried


@pytest.mark.parametrize(
    ("refused", "down", "answer"),
    [
        ("x/a", {"x/a"}, "x/a"),
        ("x/a/2026", {"x/a/2026"}, "x/a/2026"),
        ("x/a/2026", {"x/a"}, "x/a"),
        ("x/y/c", {"x/y"}, "x/y"),
        ("x/y/c", {"x"}, "x"),
        ("x/y/c", {"x/y/c", "x/a"}, "x/y/c"),
        ("x/a", {"x/a", "x/b"}, "x/a"),
        ("z", {"z"}, "z"),
        ("x/a", {""}, ""),
        ("", {""}, ""),
    ],
)
async def test_it_is_the_topmost_one_below_which_nothing_is_taken(
    refused: str, down: set[str], answer: str
) -> None:
    assert (await found(refused, down, FEEDS))[0] == answer


async def test_a_directory_that_no_other_feed_shares_tells_nothing() -> None:
    assert (await found("p/q/a", {"p"}, ["p/q/a", "z"]))[0] == "p/q/a"


async def test_where_no_other_feed_is_the_archive_as_a_whole_is_down() -> None:
    assert await found("x/a", {"x/a"}, ["x/a"]) == ("", [])


async def test_no_more_is_tried_than_the_answer_needs() -> None:
    assert (await found("x/a", {"x/a"}, FEEDS))[1] == ["x/b"]


PARTS = st.lists(st.sampled_from("ab"), max_size=3).map("/".join)


@given(st.sets(PARTS, min_size=1), st.sets(PARTS, min_size=1), st.data())
async def test_all_feeds_below_the_answer_are_refused_and_one_beside_it_is_not(
    feeds: set[str], down: set[str], data: st.DataObject
) -> None:
    closed = sorted(each for each in feeds if any(is_below(each, d) for d in down))
    if not closed:
        return
    refused = data.draw(st.sampled_from(closed))
    answer, _ = await found(refused, down, sorted(feeds))
    assert is_below(refused, answer)
    assert {each for each in feeds if is_below(each, answer)} <= set(closed)
    if answer:
        above = posixpath.dirname(answer)
        while not any(each not in closed and is_below(each, above) for each in feeds):
            assert above, "nothing is taken anywhere, so the archive is down"
            below = {each for each in feeds if is_below(each, above)}
            assert below == {each for each in feeds if is_below(each, answer)}
            above = posixpath.dirname(above)
    else:
        assert set(closed) == feeds
