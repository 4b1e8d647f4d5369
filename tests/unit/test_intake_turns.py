"""The turns that jobs in feeds' directories take."""

from __future__ import annotations

import asyncio
import gc

import pytest

from backupd.core.threads import DirectoryThreads
from backupd.intake.turns import Turns


async def test_a_job_that_is_given_up_before_it_began_leaves_nothing(
    recwarn: pytest.WarningsRecorder,
) -> None:
    done: list[str] = []

    async def job(name: str) -> None:
        done.append(name)
        await asyncio.sleep(60)

    turns = Turns(DirectoryThreads("test"))
    jobs = [("/a", lambda: job("a")), ("/b", lambda: job("b"))]
    for steps in range(4):  # given up before any, between, and after they began
        taking = asyncio.create_task(turns.take(jobs))
        for _ in range(steps):
            await asyncio.sleep(0)
        taking.cancel()
        with pytest.raises(asyncio.CancelledError):
            await taking
    gc.collect()
    assert not [each for each in recwarn if "never awaited" in str(each.message)]
    assert done
