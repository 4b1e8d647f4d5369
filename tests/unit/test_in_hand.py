"""What a lane claims next, by what it has in hand."""

from __future__ import annotations

import random
from collections import Counter

import pytest

from backupd.worker.files import InHand


def holding(capacity: int, **files: int) -> InHand:
    in_hand = InHand(capacity)
    for feed, count in files.items():
        for _ in range(count):
            in_hand.add(feed)
    return in_hand


def test_one_feed_alone_is_claimed_for_in_large_portions() -> None:
    assert holding(256).limits(["a"]) == (["a"], 256, 256)
    assert holding(256, a=129).limits(["a"]).feeds == []
    assert holding(256, a=128).limits(["a"]) == (["a"], 128, 128)


def test_feeds_share_what_is_free() -> None:
    feeds = list("abcdefgh")
    assert holding(256).limits(feeds) == (feeds, 32, 256)
    assert holding(256, a=50, b=50).limits(feeds) == (feeds, 78, 156)
    assert holding(256, a=100).limits(feeds) == (feeds, 156, 156)


def test_when_all_is_in_hand_a_feed_that_has_little_still_gets_its_share() -> None:
    feeds = list("abcdefgh")
    assert holding(256, a=256).limits(feeds) == (feeds[1:], 32, 256)
    assert holding(256, a=256, b=16, c=15).limits(feeds) == (feeds[2:], 32, 256)


def test_of_more_feeds_than_are_claimed_each_may_have_one() -> None:
    feeds = [f"f{number}" for number in range(1000)]
    busy = dict.fromkeys(feeds[:256], 1)
    assert holding(256, **busy).limits(feeds) == (feeds[256:], 1, 256)


def test_without_feeds_nothing_is_claimed() -> None:
    assert holding(256).limits([]).feeds == []
    assert holding(256, a=256).limits([]).feeds == []


@pytest.mark.parametrize("seed", range(20))
def test_whatever_is_due_no_feed_waits_and_no_more_than_twice_as_much_is_in_hand(seed: int) -> None:
    chance = random.Random(seed)
    capacity = chance.choice([16, 256])
    feeds = [f"f{number}" for number in range(chance.choice([1, 2, 7, 40]))]
    due = Counter({feed: chance.choice([0, 1, 10_000]) for feed in feeds})
    in_hand, held = InHand(capacity), Counter[str]()
    for _ in range(300):
        limits = in_hand.limits(feeds)
        room = limits.limit
        for feed in sorted(limits.feeds, key=lambda _: chance.random()):
            for _ in range(min(due[feed], limits.each, room)):
                room -= 1
                due[feed] -= 1
                held[feed] += 1
                in_hand.add(feed)
        assert in_hand.total == held.total() <= 2 * capacity + len(feeds)
        if not in_hand.limits(feeds).feeds or in_hand.total >= capacity:
            waiting = {feed for feed in feeds if due[feed]}
            short = set(in_hand.limits(feeds).feeds)
            assert all(held[feed] or feed in short for feed in waiting)
        for feed in list(held.elements()):
            if chance.random() < 0.3:
                held[feed] -= 1
                in_hand.remove(feed)
                due[feed] += chance.randint(0, 1)
