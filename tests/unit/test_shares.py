"""Places shared by feeds: whose turn it is, and that none is ever lost."""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from contextlib import AsyncExitStack, nullcontext
from typing import TYPE_CHECKING

import pytest

from backupd.core.shares import Shares

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

TURNS = 20  # of the loop: more than anything here needs to come to rest


@pytest.fixture
async def begun() -> AsyncIterator[list[asyncio.Task[None]]]:
    tasks: list[asyncio.Task[None]] = []
    yield tasks
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


class Work:
    """Files of feeds that ask for a place, each held until it is let go."""

    def __init__(self, places: int, begun: list[asyncio.Task[None]]) -> None:
        self.shares = Shares(places)
        self.got: list[str] = []
        self.held: Counter[str] = Counter()
        self._begun = begun
        self._go: dict[str, asyncio.Event] = {}

    async def ask(self, *names: str) -> None:
        """Have files ask one after the other; the first letter of a name is its feed."""
        for name in names:
            self._begun.append(asyncio.create_task(self._hold(name)))
            await rest()

    async def let_go(self, *names: str) -> None:
        for name in names:
            self._go[name].set()
        await rest()

    async def _hold(self, name: str) -> None:
        self._go[name] = asyncio.Event()
        async with self.shares.place(name[0]):
            self.got.append(name)
            self.held[name[0]] += 1
            await self._go[name].wait()
            self.held[name[0]] -= 1


async def rest() -> None:
    for _ in range(TURNS):
        await asyncio.sleep(0)


async def test_a_place_goes_to_the_feed_that_has_fewest(begun: list[asyncio.Task[None]]) -> None:
    work = Work(4, begun)
    await work.ask("a1", "a2", "a3", "a4", "a5", "a6", "b1", "b2", "b3")
    await work.let_go("a1", "a2", "a3")
    assert work.got[4:] == ["b1", "b2", "a5"]


async def test_feeds_that_have_as_many_take_turns(begun: list[asyncio.Task[None]]) -> None:
    work = Work(1, begun)
    await work.ask("a1", "a2", "a3", "b1", "b2", "c1", "c2")
    for _ in range(6):
        await work.let_go(work.got[-1])
    assert "".join(name[0] for name in work.got) == "aabcabc"


async def test_one_feed_alone_has_all_places_in_order(begun: list[asyncio.Task[None]]) -> None:
    work = Work(3, begun)
    await work.ask("a1", "a2", "a3", "a4", "a5")
    assert work.got == ["a1", "a2", "a3"]
    await work.let_go("a2", "a1")
    assert work.got[3:] == ["a4", "a5"]


async def test_long_work_takes_turns_with_other_feeds_and_not_with_its_own() -> None:
    shares = Shares(1)
    happened: list[str] = []

    async def long(name: str, steps: int) -> None:
        async with shares.place(name[0]):
            for _ in range(steps):
                happened.append(name)
                await asyncio.sleep(0)
                await shares.take_turns(name[0])

    await asyncio.gather(long("a1", 6), long("a2", 2), long("b1", 2), long("c1", 1))
    assert happened == ["a1", "b1", "c1", "a1", "b1", "a1", "a1", "a1", "a1", "a2", "a2"]


async def test_work_that_does_not_come_on_keeps_no_other_feed_waiting(
    begun: list[asyncio.Task[None]],
) -> None:
    work = Work(2, begun)
    await work.ask("a1", "a2", "a3", "b1", "b2", "b3")
    with work.shares.lent(), work.shares.lent():
        await rest()
        assert work.got == ["a1", "a2", "b1", "b2"], "no third one of the feed that hangs"
    await work.let_go("b1", "b2")
    assert work.got == ["a1", "a2", "b1", "b2"], "it has come on, and has its places again"
    await work.let_go("a1", "a2")
    assert work.got[4:] == ["b3", "a3"]


class Chances:
    """Files that hold a place for a while, in every way there is."""

    def __init__(self, seed: int) -> None:
        self.chance = random.Random(seed)
        self.places = self.chance.randint(1, 4)
        self.shares = Shares(self.places)

    async def hold(self, feed: str) -> None:
        async with self.shares.place(feed):
            for _ in range(self.chance.randint(0, 3)):
                with self.shares.lent() if self.chance.random() < 0.2 else nullcontext():
                    await asyncio.sleep(0)
                await self.shares.take_turns(feed)
            if self.chance.random() < 0.1:
                raise ZeroDivisionError

    async def are_all_there(self, feed: str) -> None:
        async with AsyncExitStack() as stack:
            for _ in range(self.places):
                await stack.enter_async_context(self.shares.place(feed))
            late = asyncio.create_task(self.shares.place("e").__aenter__())
            await rest()
            assert not late.done(), "there are more places than there were"
            late.cancel()
            await asyncio.wait([late])


@pytest.mark.parametrize("seed", range(40))
async def test_whoever_is_cancelled_whenever_no_place_is_lost(seed: int) -> None:
    chances = Chances(seed)
    chance = chances.chance
    tasks = [asyncio.create_task(chances.hold(chance.choice("abcd"))) for _ in range(60)]
    while not all(task.done() for task in tasks):
        chance.choice(tasks).cancel()
        for _ in range(chance.randint(0, 3)):
            await asyncio.sleep(0)
    await asyncio.gather(*tasks, return_exceptions=True)
    async with asyncio.timeout(30):
        for feed in "abcd":
            await chances.are_all_there(feed)
