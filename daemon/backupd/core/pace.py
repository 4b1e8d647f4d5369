"""Work that is done again and again, without taking more than its share of the time."""

from __future__ import annotations

import asyncio
import math
import time
from contextlib import suppress
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable


async def repeat(
    step: Callable[[], Awaitable[None]],
    every: float,
    stop: asyncio.Event,
    *,
    share: int = 0,
    longest: float = math.inf,
) -> None:
    """Do a step until `stop` is set, with a pause of `every` seconds after each.

    A step takes one part in `share` of the time at most (20: a twentieth): after a slow one the
    pause is longer. It is never longer than `longest` seconds, whatever `every` is.
    """
    while not stop.is_set():
        began = time.monotonic()
        await step()
        pause = min(max(every, share * (time.monotonic() - began)), longest)
        with suppress(TimeoutError):
            await asyncio.wait_for(stop.wait(), pause)
