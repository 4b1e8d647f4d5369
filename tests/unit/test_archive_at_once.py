"""How many files at once an archive bears: no place is lost or taken twice by cancelling."""

from __future__ import annotations

import asyncio
import random

import pytest

from backupd.archive.at_once import GROWS_EVERY, AtOnce


class Crowd:
    """Tasks that enter and stay until they are let go."""

    def __init__(self) -> None:
        self.time = 0.0
        self.at_once = AtOnce(lambda: self.time)
        self.inside: list[int] = []
        self.tasks: dict[int, asyncio.Task[None]] = {}
        self.go: dict[int, asyncio.Event] = {}

    async def come(self, *numbers: int, turns: int = 5) -> None:
        for number in numbers:
            self.go[number] = asyncio.Event()
            self.tasks[number] = asyncio.create_task(self._stay(number))
        await self.settle(turns)

    async def leave(self, number: int) -> None:
        self.go[number].set()
        await self.settle()

    async def settle(self, turns: int = 5) -> None:
        for _ in range(turns):
            await asyncio.sleep(0)

    async def _stay(self, number: int) -> None:
        async with self.at_once:
            self.inside.append(number)
            try:
                await self.go[number].wait()
            finally:
                self.inside.remove(number)


@pytest.fixture
def crowd() -> Crowd:
    return Crowd()


async def test_without_a_refusal_there_is_no_limit(crowd: Crowd) -> None:
    await crowd.come(*range(500))
    assert len(crowd.inside) == 500


async def test_after_one_whoever_is_above_the_limit_waits_in_the_order_of_coming(
    crowd: Crowd,
) -> None:
    await crowd.come(0, 1, 2)
    crowd.at_once.shrink(2)
    await crowd.come(3, 4, 5)
    await crowd.leave(0)
    assert crowd.inside == [1, 2]
    await crowd.leave(1)
    assert crowd.inside == [2, 3]
    await crowd.leave(2)
    assert crowd.inside == [3, 4]


async def test_one_is_let_in_in_any_case(crowd: Crowd) -> None:
    crowd.at_once.shrink(0)
    await crowd.come(1, 2)
    assert crowd.inside == [1]


async def test_a_limit_is_never_widened_by_a_refusal(crowd: Crowd) -> None:
    crowd.at_once.shrink(1)
    crowd.at_once.shrink(9)
    await crowd.come(1, 2)
    assert crowd.inside == [1]


async def test_it_grows_again_while_nothing_is_refused(crowd: Crowd) -> None:
    crowd.at_once.shrink(1)
    await crowd.come(*range(5))
    crowd.time = GROWS_EVERY - 1
    await crowd.leave(0)
    assert len(crowd.inside) == 1
    crowd.time = GROWS_EVERY
    await crowd.leave(1)
    assert len(crowd.inside) == 2


async def test_what_was_no_matter_of_number_lets_all_in(crowd: Crowd) -> None:
    crowd.at_once.shrink(1)
    await crowd.come(*range(5))
    crowd.at_once.lift()
    await crowd.settle()
    assert len(crowd.inside) == 5


async def test_one_that_is_cancelled_when_it_has_just_got_its_place_hands_it_on(
    crowd: Crowd,
) -> None:
    crowd.at_once.shrink(1)
    await crowd.come(0, 1, 2)
    crowd.go[0].set()
    await asyncio.sleep(0)
    await asyncio.sleep(0)  # 0 has left; 1 was given the place and has not run yet, or just now
    crowd.tasks[1].cancel()
    await crowd.settle()
    assert crowd.inside == [2]


def happen(crowd: Crowd, chance: random.Random) -> None:
    match chance.randrange(6):
        case 0:
            crowd.at_once.shrink(chance.randrange(5))
        case 1 | 2:
            chance.choice(list(crowd.tasks.values())).cancel()
        case 3 | 4 if crowd.inside:
            crowd.go[chance.choice(crowd.inside)].set()
        case 5 if not chance.randrange(10):
            crowd.at_once.lift()


@pytest.mark.parametrize("seed", range(200))
async def test_whatever_happens_in_whatever_order_all_that_stay_come_in(seed: int) -> None:
    crowd, chance = Crowd(), random.Random(seed)
    for number in range(60):
        await crowd.come(number, turns=chance.randrange(4))
        crowd.time += chance.random()
        happen(crowd, chance)
        assert crowd.at_once.inside >= len(crowd.inside)
    for event in crowd.go.values():
        event.set()
    async with asyncio.timeout(30):
        await asyncio.gather(*crowd.tasks.values(), return_exceptions=True)
    assert crowd.at_once.inside == 0
    crowd.at_once.shrink(1)
    await crowd.come(100, 101)
    assert crowd.inside == [100]
    for number in (100, 101):
        crowd.tasks[number].cancel()
    await crowd.settle()
