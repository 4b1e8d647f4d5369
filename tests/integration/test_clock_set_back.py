"""A clock that is set: what it had put off for later goes on at once, and nothing looks older."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING

import pytest
import sqlalchemy as sa
from structlog.testing import capture_logs

from backupd.core.moves import NEVER
from backupd.core.stages import Stage
from backupd.core.times import Pauses
from backupd.ledger import arrival_tables, schema
from backupd.worker import ClockWatch
from support.files import NOW, a_file
from support.intake import a_feed, eventually, watching
from support.ledgers import one, opened, plant

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence
    from pathlib import Path
    from typing import Any

    from backupd.ledger import Ledger

LONGEST = Pauses(longest=60.0, kept=9000.0)


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
        (NOW + 9001, "keep", NOW + 9000),
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


async def test_every_time_that_holds_something_is_brought_within_reach(ledger: Ledger) -> None:
    """By the schema: a time that is new there has to be thought of here."""
    await ledger._writer.apply(_far_off, [NOW + 7200])
    await ledger.bring_forward(NOW, LONGEST)
    late = await ledger.ask(_later_than, NOW + LONGEST.longest)
    assert late == {
        "files.first_seen_at",  # what was, and decides over nothing
        "files.file_timestamp",
        "files.unchanged_since",  # never believed beyond now
        "files.row_seen_at",  # no proof without `proven_at`
        "batches.created_at",
        "refreshes_owed.since",
        "places.known_since",
        "snapshots.taken_at",  # one of the future is no reason to wait
        "statements.began_at",  # waited for no longer than a statement may take
    }


def _far_off(connection: sa.Connection, moments: Sequence[float]) -> list[None]:
    for table in _TIMES:
        row = {column.name: _value(column, moments[0]) for column in table.c}
        connection.execute(sa.insert(table), row)
    return [None]


def _value(column: sa.Column[Any], at: float) -> object:
    if isinstance(column.type, sa.Float):
        return None if column.name in {"done_at", "closed_at"} else at
    made: dict[str, object] = {"stage": Stage.CLEANUP, "status": "waiting"}
    kind = column.type.python_type
    return made.get(column.name, kind(1) if kind is int else kind())


def _later_than(connection: sa.Connection, at: float) -> set[str]:
    return {
        f"{table.name}.{column.name}"
        for table in _TIMES
        for column in table.c
        if isinstance(column.type, sa.Float)
        and any(value > at for value in connection.execute(sa.select(column)).scalars() if value)
    }


_TIMES = [
    schema.files,
    schema.batches,
    schema.incidents,
    schema.notices,
    schema.statements,
    schema.row_counts_due,
    schema.refreshes_owed,
    schema.places,
    schema.snapshots,
    schema.replacements,
    schema.restores,
    arrival_tables.watched_feeds,
]


def test_no_table_is_forgotten() -> None:
    # What was, and decides over nothing, or over nothing once it is to come.
    happened = {"events", "receipts", "files_left", "in_history", "arrivals", "excuses"}
    timed = {
        table.name
        for table in schema.metadata.tables.values()
        if any(isinstance(column.type, sa.Float) for column in table.c)
    }
    assert timed - happened == {table.name for table in _TIMES}


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
    (told,) = (entry for entry in logs if entry["event"].startswith("the clock"))
    assert told["event"] == "the clock was set back"
    assert told["by_s"] == pytest.approx(7200, abs=1)


async def _written_since(ledger: Ledger, before: int) -> bool:
    return ledger.commits > before


async def _is_due(ledger: Ledger, file_id: str, now: float) -> bool:
    return (await one(ledger, file_id)).next_attempt_at <= now


async def test_a_step_forward_is_told_once(ledger: Ledger, monkeypatch: pytest.MonkeyPatch) -> None:
    real, offset = time.time, [0.0]
    monkeypatch.setattr(time, "time", lambda: real() + offset[0])
    stop = asyncio.Event()
    with capture_logs() as logs:
        watch = asyncio.create_task(ClockWatch(ledger, LONGEST, stop).run())
        before = ledger.commits
        await eventually(lambda: _written_since(ledger, before), lambda: "not begun")
        offset[0] = 86_400.0
        after = ledger.commits
        await eventually(lambda: _written_since(ledger, after), lambda: "not noticed")
        stop.set()
        await watch
    (told,) = (entry for entry in logs if entry["event"].startswith("the clock"))
    assert told["event"] == "the clock was set forward"
    assert told["by_s"] == pytest.approx(86_400, abs=1)


async def test_what_was_proven_before_a_step_is_looked_at_again(ledger: Ledger) -> None:
    (file,) = await plant(ledger, a_file(Stage.CLEANUP, proven_at=NOW - 1, row_seen_at=NOW - 1))
    await ledger.bring_forward(NOW, LONGEST)
    assert (await one(ledger, file.id)).proven_at is None


@pytest.mark.parametrize("step", [7200.0, -7200.0, 86_400.0 * 365])
async def test_a_file_that_settles_looks_no_older_after_a_step(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: float
) -> None:
    real, offset = time.time, [0.0]
    monkeypatch.setattr(time, "time", lambda: real() + offset[0])
    inbox = tmp_path / "in"
    inbox.mkdir()
    (inbox / "eLUX_1.csv").write_text("id\n1\n")
    async with watching(tmp_path, [a_feed(inbox)], settle_for=600.0) as watched:
        await watched.found(1)
        offset[0] = step
        await watched.ledger.bring_forward(time.time(), LONGEST)  # it is due: looked at again
        await watched.intake.settle_once()
        (file,) = await watched.files()
        assert file.stage is Stage.SETTLE
        assert file.next_attempt_at == pytest.approx(time.time() + 600, abs=300)
