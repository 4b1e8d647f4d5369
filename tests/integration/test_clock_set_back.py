"""A clock that is set back: what it had put off for later goes on at once."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING

import pytest
from structlog.testing import capture_logs

from backupd.core.moves import NEVER
from backupd.core.stages import Stage
from backupd.worker import ClockWatch
from support.files import NOW, a_file
from support.intake import eventually
from support.ledgers import one, opened, plant

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from backupd.ledger import Ledger

LONGEST = 60.0


@pytest.fixture
async def ledger(tmp_path: Path) -> AsyncIterator[Ledger]:
    async with opened(tmp_path / "ledger.db") as made:
        yield made


@pytest.mark.parametrize("stage", [Stage.SETTLE, Stage.MANIFEST, Stage.SHIP, Stage.CLEANUP])
@pytest.mark.parametrize(
    ("due", "awaits", "after"),
    [
        (NOW + 7200, "", NOW),
        (NOW + 59, "", NOW + 59),
        (NOW - 5, "", NOW - 5),
        (NOW + 7200, "companion", NOW),
        (NOW + 7200, "keep", NOW + 7200),
        (NEVER, "original", NEVER),
    ],
)
async def test_nothing_waits_for_longer_than_it_would_by_itself(
    ledger: Ledger, stage: Stage, due: float, awaits: str, after: float
) -> None:
    (file,) = await plant(ledger, a_file(stage, next_attempt_at=due, awaits=awaits))
    await ledger.bring_forward(NOW, LONGEST)
    assert (await one(ledger, file.id)).next_attempt_at == after


async def test_a_file_that_came_into_its_stage_later_than_now_came_now(ledger: Ledger) -> None:
    (file,) = await plant(ledger, a_file(Stage.LOAD, stage_since=NOW + 7200))
    await ledger.bring_forward(NOW, LONGEST)
    assert (await one(ledger, file.id)).stage_since == NOW


async def test_a_batch_that_was_put_off_is_due(ledger: Ledger) -> None:
    await plant(ledger, a_file(Stage.LOAD))
    assert await ledger.form_batch(10, NOW + 7200)
    assert await ledger.claim_batch(Stage.LOAD, NOW) is None
    await ledger.bring_forward(NOW, LONGEST)
    assert await ledger.claim_batch(Stage.LOAD, NOW) is not None


async def test_a_step_is_noticed_and_told_once(
    ledger: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    real, offset = time.time, [7200.0]
    monkeypatch.setattr(time, "time", lambda: real() + offset[0])
    stop = asyncio.Event()
    (file,) = await plant(ledger, a_file(Stage.SHIP, next_attempt_at=time.time() + 5))
    with capture_logs() as logs:
        watching = asyncio.create_task(ClockWatch(ledger, LONGEST, stop).run())
        before = ledger.commits
        await eventually(lambda: _written_since(ledger, before), lambda: "not begun")
        offset[0] = 0.0
        await eventually(lambda: _is_due(ledger, file.id, real()), lambda: "not noticed")
        stop.set()
        await watching
    (told,) = (entry for entry in logs if entry["event"] == "the clock was set back")
    assert told["by_s"] == pytest.approx(7200, abs=1)


async def _written_since(ledger: Ledger, before: int) -> bool:
    return ledger.commits > before


async def _is_due(ledger: Ledger, file_id: str, now: float) -> bool:
    return (await one(ledger, file_id)).next_attempt_at <= now
