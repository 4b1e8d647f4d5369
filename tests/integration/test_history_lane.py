"""Done files leave the ledger for the history, and come back when they are delivered again."""

from __future__ import annotations

import asyncio
import sqlite3
from contextlib import asynccontextmanager, closing
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING

import pytest

from backupd.config.sections import LedgerSection
from backupd.core import moves
from backupd.core.dependencies import Dependency
from backupd.core.errors import DependencyDownError, PermanentError
from backupd.core.history import Past, Remembered, Story
from backupd.core.incidents import Kind
from backupd.core.records import Move, Result, new_id
from backupd.core.rows import row_id
from backupd.core.shares import Shares
from backupd.core.stages import Awaits, Stage, Status
from backupd.ledger import Ledger, batches, files, history, incidents, reports, start, stories
from backupd.worker import FileLane, HistoryHealth, HistoryLane, Recaller
from backupd.worker.history import Use
from backupd.worker.recalling import NotRecalledError
from support.done_files import a_done_file, a_receipt, events_of
from support.fake_history import FakeHistory
from support.files import COUNTED, NOW, a_file
from support.intake import PATIENCE, eventually
from support.ledgers import FEED, Bench, files_of, finished, one, opened, plant

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence
    from pathlib import Path

    import sqlalchemy as sa

    from backupd.core.records import FileRecord, Task

HERE = "here"
DAY = 86_400.0


@pytest.fixture
async def ledger(tmp_path: Path) -> AsyncIterator[Ledger]:
    async with opened(tmp_path / "ledger.db") as ledger:
        yield ledger


@pytest.fixture
def past() -> FakeHistory:
    return FakeHistory()


def lane_of(
    bench: Bench, past: FakeHistory, keep: float = 1.0, remember: float = 1e9
) -> HistoryLane:
    section = LedgerSection(
        path=bench.ledger.path, keep=keep, remember=remember, backup_every=0, backups_kept=1
    )
    health = HistoryHealth(bench.context)
    bench.context.recall = Recaller(bench.context, past, health, HERE).recall
    return HistoryLane(bench.context, past, health, HERE, section)


def bench_of(ledger: Ledger, days: float = 40.0) -> Bench:
    """A bench whose clock is so many days ahead of NOW."""
    bench = Bench(ledger=ledger, feeds=[FEED])
    bench.ahead = NOW + days * DAY - bench.now()
    return bench


async def passed(lane: HistoryLane) -> None:
    """Take the lane through all that there is."""
    lane._not_before = 0.0
    while True:
        await lane._look()
        if not lane.is_at_work:
            return


async def ids_of(ledger: Ledger) -> list[str]:
    return [file.id for file in await files_of(ledger)]


async def done_in_status(ledger: Ledger) -> int:
    return sum(count.files for count in await ledger.ask(reports.counts))


def rows(ledger: Ledger, table: str) -> int:
    with closing(sqlite3.connect(ledger.path)) as connection:
        query = f"SELECT count(*) FROM {table}"  # noqa: S608 -- a table of ours
        found: int = connection.execute(query).fetchone()[0]
    return found


# -- leaving -------------------------------------------------------------------------------------


async def test_what_is_done_and_old_leaves_with_all_that_is_known(
    ledger: Ledger, past: FakeHistory
) -> None:
    done = await finished(ledger, *[a_done_file(number) for number in range(5)])
    young = a_done_file(9, done_at=NOW + 39.5 * DAY)
    await finished(ledger, young)
    before = await ledger.ask(history.stories_of, HERE, [file.id for file in done])
    lane = lane_of(bench_of(ledger), past, keep=30 * DAY)
    assert lane.is_at_work
    await passed(lane)
    assert await ids_of(ledger) == [young.id]
    assert sorted(past.stories(), key=lambda story: story.file.id) == before
    assert before[0] == Story(
        host=HERE, file=done[0], receipt=a_receipt(done[0]), events=events_of(done[0])
    )
    for table in ("stories", "receipts", "events", "history_batches", "history_members"):
        assert rows(ledger, table) == (1 if table == "stories" else 0)
    assert rows(ledger, "remembered") == 5
    assert await done_in_status(ledger) == 6


async def test_each_date_goes_by_itself_and_whole_days_at_a_time(
    ledger: Ledger, past: FakeHistory
) -> None:
    noon = NOW + 5 * DAY
    await finished(
        ledger, *[a_done_file(n, done_at=at) for n, at in enumerate((NOW, NOW + DAY, noon))]
    )
    bench = bench_of(ledger, days=5 + 2.25)
    await passed(lane_of(bench, past, keep=2 * DAY))
    assert [date for _, date in past.batches] == ["2026-11-23", "2026-11-24"]
    assert len(await ids_of(ledger)) == 1, "its day is not over for as long"


@pytest.mark.parametrize(
    ("why", "file"),
    [
        ("not done", a_file(Stage.SHIP, id="x", **COUNTED)),
        ("kept on this host", a_done_file(1, local=True)),
        ("its row was not seen", a_done_file(1, row_seen_at=None)),
    ],
)
async def test_what_is_not_over_stays(
    ledger: Ledger, past: FakeHistory, why: str, file: FileRecord
) -> None:
    await finished(ledger, file)
    await passed(lane_of(bench_of(ledger), past))
    assert await ids_of(ledger) == [file.id], why
    assert not past.batches


async def test_what_was_registered_and_never_shipped_stays(
    ledger: Ledger, past: FakeHistory
) -> None:
    (file,) = await finished(ledger, a_done_file(1, reason="closed: lost"), receipts=False)
    await passed(lane_of(bench_of(ledger), past))
    assert await ids_of(ledger) == [file.id]


async def test_what_was_closed_without_a_trace_leaves_and_is_not_recognised(
    ledger: Ledger, past: FakeHistory
) -> None:
    closed = a_done_file(1, reason="closed: not wanted", row_seen_at=None)
    await finished(ledger, closed, receipts=False)
    await passed(lane_of(bench_of(ledger), past))
    assert await ids_of(ledger) == []
    assert rows(ledger, "remembered") == 0


async def test_what_is_not_folded_yet_waits_for_that(ledger: Ledger, past: FakeHistory) -> None:
    (file,) = await finished(ledger, a_done_file(1))
    await ledger.move([_noted(file)])
    lane = lane_of(bench_of(ledger), past)
    await passed(lane)
    assert await ids_of(ledger) == [file.id]
    found = await ledger.ask(stories.foldings, NOW + DAY, 10)
    await ledger.past.fold(found)
    await passed(lane)
    assert await ids_of(ledger) == []
    assert past.stories()[0].events[-1].detail == "looked at by hand"


def _noted(file: FileRecord) -> Move:
    detail = "looked at by hand"
    return Move(file=file, stage=file.stage, status=file.status, changes={}, at=NOW, detail=detail)


async def test_an_original_stays_as_long_as_a_duplicate_of_it(
    ledger: Ledger, past: FakeHistory
) -> None:
    first = a_done_file(1)
    again = replace(
        a_done_file(2, done_at=NOW + 20 * DAY), duplicate_of=first.id, row_id=first.row_id
    )
    await finished(ledger, first, again)
    bench = bench_of(ledger, days=30)
    lane = lane_of(bench, past, keep=20 * DAY)
    await passed(lane)
    assert await ids_of(ledger) == [first.id, again.id]
    bench.ahead += 20 * DAY
    for _ in range(2):
        await passed(lane)
    assert await ids_of(ledger) == []
    assert rows(ledger, "remembered") == 1


async def test_a_batch_goes_with_its_last_file(ledger: Ledger, past: FakeHistory) -> None:
    loaded = [a_file(Stage.LOAD, id=f"{n:020x}", path=f"/feed/{n}", **COUNTED) for n in range(2)]
    await plant(ledger, *loaded)
    batch_id = await ledger.form_batch(10, NOW)
    assert batch_id is not None
    for stage in (Stage.LOAD, Stage.MERGE):
        batch = await ledger.claim_batch(stage, NOW)
        assert batch is not None
        step = moves.batch_advanced(batch, "x", NOW)
        await ledger.move_batch(step if stage is Stage.LOAD else moves.batch_merged(batch, NOW))
    await finish_from_ship(ledger, 1)
    lane = lane_of(bench_of(ledger), past)
    await fold_all(ledger)
    await passed(lane)
    batch = await ledger.ask(batches.batch, batch_id)
    assert batch is not None
    assert len(batch.members) == 1
    await finish_from_ship(ledger, 1)
    await fold_all(ledger)
    await passed(lane)
    assert await ledger.ask(batches.batch, batch_id) is None
    assert rows(ledger, "batch_members") == 0


async def finish_from_ship(ledger: Ledger, number: int) -> None:
    well = Result(changes={"local": False}, detail="well")
    for file in await ledger.claim(Stage.SHIP, number, NOW, [FEED.name]):
        await ledger.move([replace(moves.advance(file, well, NOW), receipt=a_receipt(file))])
    for file in await ledger.claim(Stage.CLEANUP, number, NOW, [FEED.name]):
        await ledger.move([moves.advance(file, well, NOW)])


async def fold_all(ledger: Ledger) -> None:
    await ledger.past.fold(await ledger.ask(stories.foldings, NOW + DAY, 100))


async def test_after_a_pass_in_vain_the_next_is_on_a_new_day(
    ledger: Ledger, past: FakeHistory
) -> None:
    kept = a_done_file(1, local=True)
    await finished(ledger, kept)
    bench = bench_of(ledger)
    lane = lane_of(bench, past, keep=2 * DAY)
    await passed(lane)
    lane._not_before -= 600.0
    await finished(ledger, a_done_file(2, done_at=NOW + DAY))
    await lane._look()
    assert len(await ids_of(ledger)) == 2, "those that stay are not gone through each minute"
    bench.ahead += DAY
    for _ in range(3):
        await lane._look()
    assert await ids_of(ledger) == [kept.id]


# -- what goes wrong -----------------------------------------------------------------------------


async def test_nothing_leaves_while_the_history_is_down(ledger: Ledger, past: FakeHistory) -> None:
    await finished(ledger, a_done_file(1))
    lane = lane_of(bench_of(ledger), past)
    past.down_for = 1
    await passed(lane)
    assert len(await ids_of(ledger)) == 1
    assert not lane.is_at_work
    await passed_again(lane)
    assert await ids_of(ledger) == []
    assert len(past.stories()) == 1


async def passed_again(lane: HistoryLane) -> None:
    """The pause after a failure is over."""
    lane._pause = 0.0
    await passed(lane)


async def test_nothing_is_removed_that_is_not_seen_there(ledger: Ledger, past: FakeHistory) -> None:
    await finished(ledger, *[a_done_file(number) for number in range(3)])
    lane = lane_of(bench_of(ledger), past)
    past.hides = 1
    for _ in range(2):
        await passed_again(lane)
    assert len(await ids_of(ledger)) == 3
    (incident,) = await ledger.ask(incidents.all_open)
    assert "1 of 3 stories" in incident.reason
    past.hides = 0
    await passed_again(lane)
    assert await ids_of(ledger) == []
    assert await ledger.ask(incidents.all_open) == []


async def test_what_is_not_seen_there_is_not_written_again_in_another_batch(
    ledger: Ledger, past: FakeHistory
) -> None:
    await finished(ledger, *[a_done_file(number) for number in range(3)])
    lane = lane_of(bench_of(ledger), past)
    past.hides = 3
    for _ in range(3):
        await passed_again(lane)
    assert len(past.stories()) == 3
    past.hides = 0
    await passed_again(lane)
    assert len(past.stories()) == 3
    assert await ids_of(ledger) == []


async def test_what_was_written_before_a_crash_is_not_written_again(
    ledger: Ledger, past: FakeHistory
) -> None:
    done = await finished(ledger, *[a_done_file(number) for number in range(3)])
    bench = bench_of(ledger)
    batch = history.HistoryBatch(id="b" * 20, done_date="2026-11-23", members=ids(done))
    await ledger.past.begin(batch)
    told = await ledger.ask(history.stories_of, HERE, list(batch.members))
    await past.write(batch.id, batch.done_date, told)
    await passed(lane_of(bench, past))
    assert past.writes == 1
    assert await ids_of(ledger) == []


def ids(done: list[FileRecord]) -> tuple[str, ...]:
    return tuple(file.id for file in done)


async def test_a_file_that_went_on_after_its_story_was_written_stays_for_good(
    ledger: Ledger, past: FakeHistory
) -> None:
    done = await finished(ledger, *[a_done_file(number) for number in range(2)])
    batch = history.HistoryBatch(id="b" * 20, done_date="2026-11-23", members=ids(done))
    await ledger.past.begin(batch)
    told = await ledger.ask(history.stories_of, HERE, list(batch.members))
    await past.write(batch.id, batch.done_date, told)
    await ledger.move([moves.requeued(done[0], Stage.CLEANUP, NOW)])
    lane = lane_of(bench_of(ledger), past)
    await passed(lane)
    assert await ids_of(ledger) == [done[0].id]
    await ledger.claim(Stage.CLEANUP, 1, NOW, [FEED.name])
    running = await one(ledger, done[0].id)
    await ledger.move([moves.advance(running, Result(changes={}, detail="well"), NOW)])
    await fold_all(ledger)
    await passed(lane)
    assert await ids_of(ledger) == [done[0].id], "it would be there twice"
    assert past.writes == 1


@pytest.mark.parametrize("how", ["delivered again", "requeued"])
async def test_a_file_that_goes_on_before_it_is_removed_is_not_written_again(
    ledger: Ledger, past: FakeHistory, how: str
) -> None:
    (first,) = await finished(ledger, a_done_file(1))
    bench = bench_of(ledger)
    lane = lane_of(bench, past)
    remove = ledger.past.remove

    async def goes_on(seen: Sequence[Story]) -> int:
        if how == "requeued":
            await ledger.move([moves.requeued(first, Stage.CLEANUP, NOW)])
        else:
            await plant(ledger, replace(AGAIN, duplicate_of=first.id, status=Status.PARKED))
        return await remove(seen)

    ledger.past.remove = goes_on  # type: ignore[method-assign]
    await passed(lane)
    ledger.past.remove = remove  # type: ignore[method-assign]
    assert first.id in await ids_of(ledger)
    if how == "requeued":
        await ledger.claim(Stage.CLEANUP, 1, NOW, [FEED.name])
        running = await one(ledger, first.id)
        await ledger.move([moves.advance(running, Result(changes={}, detail="well"), NOW)])
        await fold_all(ledger)
    else:
        with closing(sqlite3.connect(ledger.path)) as connection, connection:
            connection.execute("UPDATE files SET duplicate_of = NULL WHERE id = ?", [AGAIN.id])
    for _ in range(2):
        await passed(lane)
    assert past.writes == 1
    assert [story.file.id for story in past.stories()] == [first.id]
    assert (first.id in await ids_of(ledger)) == (how == "requeued")


async def test_a_file_that_is_done_again_on_another_day_is_written_under_that_day(
    ledger: Ledger, past: FakeHistory
) -> None:
    (first,) = await finished(ledger, FIRST)
    bench = bench_of(ledger)
    lane = lane_of(bench, past)
    past.down_for = 1
    await passed(lane)
    assert rows(ledger, "history_members") == 1
    await done_again(ledger, first, NOW + 3 * DAY)
    await passed_again(lane)
    assert [date for _, date in past.batches] == ["2026-11-26"]
    async with reading(bench):
        found = await bench.until(lambda files: len(files) == 2 and files[1].duplicate_of)
    assert found[1].duplicate_of == first.id


async def done_again(ledger: Ledger, file: FileRecord, at: float) -> None:
    """A person has its cleanup done anew."""
    await ledger.move([moves.requeued(file, Stage.CLEANUP, at)])
    await ledger.claim(Stage.CLEANUP, 1, at, [FEED.name])
    running = await one(ledger, file.id)
    await ledger.move([moves.advance(running, Result(changes={}, detail="well"), at)])
    await ledger.past.fold(await ledger.ask(stories.foldings, at + DAY, 100))


async def test_a_restored_ledger_writes_nothing_twice(ledger: Ledger, past: FakeHistory) -> None:
    done = await finished(ledger, *[a_done_file(number) for number in range(3)])
    told = await ledger.ask(history.stories_of, HERE, [file.id for file in done[:2]])
    await past.write("b" * 20, "2026-11-23", told)
    await ledger._writer.apply(_restored, [NOW + DAY])
    await passed(lane_of(bench_of(ledger), past))
    assert await ids_of(ledger) == []
    assert sorted(story.file.id for story in past.stories()) == list(ids(done))


async def test_a_file_that_left_under_another_day_is_not_written_by_a_restored_ledger(
    ledger: Ledger, past: FakeHistory
) -> None:
    """It was under way when the snapshot was taken, and is done again after that is in place."""
    (first,) = await finished(ledger, a_done_file(1))
    await past.write("b" * 20, "2026-11-23", await ledger.ask(history.stories_of, HERE, [first.id]))
    await ledger._writer.apply(_restored, [NOW + DAY])
    await done_again(ledger, first, NOW + 3 * DAY)
    for _ in range(2):
        await passed(lane_of(bench_of(ledger), past))
    assert past.writes == 1
    assert await ids_of(ledger) == [first.id], "it stays for good: its story is another one"


async def test_a_batch_is_complete_that_was_formed_long_after_the_last_that_left_was_done(
    ledger: Ledger, past: FakeHistory
) -> None:
    assert await ledger.ask(history.complete_since) == ""
    await finished(ledger, a_done_file(1), a_done_file(2, done_at=NOW + DAY))
    await passed(lane_of(bench_of(ledger), past))
    since = await ledger.ask(history.complete_since)
    assert new_id(NOW + DAY) < since <= new_id(NOW + 2 * DAY)


async def test_a_ledger_that_was_restored_on_another_host_forgets_what_left(
    ledger: Ledger, past: FakeHistory
) -> None:
    done = await finished(ledger, *[a_done_file(number) for number in range(2)])
    told = await ledger.ask(history.stories_of, "before", [file.id for file in done])
    await past.write("b" * 20, "2026-11-23", told)
    await ledger._writer.apply(_restored, [NOW + DAY])
    await passed(lane_of(bench_of(ledger), past))
    assert await ids_of(ledger) == []
    assert past.writes == 1


async def test_the_host_names_under_which_was_written_are_kept(
    ledger: Ledger, past: FakeHistory
) -> None:
    await ledger.past.writes_as("before")
    bench = bench_of(ledger)

    async def both() -> bool:
        return await ledger.ask(history.hosts) == {"before", HERE}

    async with bench.at_work(lane_of(bench, past).run()):
        await eventually(both, lambda: "the second name is not written")


def _restored(connection: sa.Connection, times: Sequence[float]) -> list[int]:
    connection.exec_driver_sql(f"PRAGMA application_id = {start.RESTORED:d}")
    return start.set_right(connection, times)


async def test_an_error_that_lasts_is_one_incident_until_it_is_over(
    ledger: Ledger, past: FakeHistory, monkeypatch: pytest.MonkeyPatch
) -> None:
    await finished(ledger, a_done_file(1))
    lane = lane_of(bench_of(ledger), past)
    monkeypatch.setattr(past, "seen", _broken)
    for _ in range(2):
        await passed_again(lane)
    (incident,) = await ledger.ask(incidents.all_open)
    assert incident.kind is Kind.HISTORY
    assert "cannot be read as Parquet" in incident.reason
    monkeypatch.undo()
    await passed_again(lane)
    assert await ledger.ask(incidents.all_open) == []
    assert await ids_of(ledger) == []


async def test_a_history_that_cannot_be_written_is_told_while_it_is_read(
    ledger: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    health = HistoryHealth(bench_of(ledger).context)
    down = DependencyDownError(Dependency.HISTORY, "it is read only")
    monkeypatch.setattr("backupd.worker.history._DOWN_FOR", 0.0)
    await health.failed(Use.WRITE, down)
    await health.succeeded(Use.READ)
    assert len(await ledger.ask(incidents.all_open)) == 1
    await health.succeeded(Use.WRITE)
    assert await ledger.ask(incidents.all_open) == []


async def test_how_long_writing_fails_is_not_counted_anew_when_reading_succeeds(
    ledger: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    health = HistoryHealth(bench_of(ledger).context)
    down = DependencyDownError(Dependency.HISTORY, "it is read only")
    await health.failed(Use.WRITE, down)
    await health.succeeded(Use.READ)
    monkeypatch.setattr("backupd.worker.history._DOWN_FOR", 1e-9)
    await health.failed(Use.WRITE, down)
    assert len(await ledger.ask(incidents.all_open)) == 1


async def _broken(*_: object) -> list[Story]:
    raise PermanentError("x.parquet cannot be read as Parquet")


# -- coming again --------------------------------------------------------------------------------


FIRST = a_done_file(1)
AGAIN = a_file(Stage.MANIFEST, id="f" * 20, path=FIRST.path, relative_path=FIRST.relative_path)


def read_as(first: FileRecord) -> Result:
    changes = {**COUNTED, "sha256": first.sha256, "companion_text": None}
    found = replace(AGAIN, row_id=None)
    changes["row_id"] = row_id(found, str(first.sha256))
    return Result(changes=changes, detail="1 record, 10 bytes")


@asynccontextmanager
async def reading(bench: Bench, first: FileRecord = FIRST) -> AsyncIterator[None]:
    """A lane at manifest, to which the same file comes again."""

    async def work(_: Task) -> Result:
        return read_as(first)

    lane = FileLane(bench.context, Stage.MANIFEST, work, Shares(1))
    async with bench.at_work(lane.run()):
        await plant(bench.ledger, replace(AGAIN, row_id=None, next_attempt_at=0.0))
        yield


async def test_a_file_that_comes_again_is_a_duplicate_of_the_one_that_left(
    ledger: Ledger, past: FakeHistory
) -> None:
    await finished(ledger, FIRST)
    bench = bench_of(ledger)
    lane = lane_of(bench, past)
    await passed(lane)
    assert await ids_of(ledger) == []
    async with reading(bench):
        found = await bench.until(lambda files: len(files) == 2 and files[1].duplicate_of)
    assert found[0] == FIRST
    assert (found[1].duplicate_of, found[1].stage) == (FIRST.id, Stage.CLEANUP)
    assert found[1].awaits is Awaits.NOTHING, "that one is done"
    assert await ledger.receipts([FIRST.id]) == {FIRST.id: a_receipt(FIRST)}
    assert await ledger.ask(reports.history, FIRST.id) == list(events_of(FIRST))
    assert await done_in_status(ledger) == 2
    assert await ledger.ask(batches.previously_batched, [FIRST.id], "x") == {FIRST.id}


@pytest.mark.parametrize("ahead", [0, 30 * DAY], ids=["", "after the clock was set right"])
async def test_what_came_back_leaves_again_without_being_written(
    ledger: Ledger, past: FakeHistory, ahead: float
) -> None:
    await finished(ledger, FIRST)
    bench = bench_of(ledger)
    lane = lane_of(bench, past)
    await passed(lane)
    async with reading(bench):
        await bench.until(lambda files: len(files) == 2 and files[1].duplicate_of)
    (again,) = [file for file in await files_of(ledger) if file.id == AGAIN.id]
    await ledger.claim(Stage.CLEANUP, 1, bench.now(), [FEED.name])
    again = await one(ledger, again.id)
    gone = Result(changes={"local": False}, detail="gone")
    await ledger.move([moves.advance(again, gone, bench.now())])
    await ledger.past.fold(await ledger.ask(stories.foldings, bench.now() + DAY, 10))
    with closing(sqlite3.connect(ledger.path)) as other, other:
        other.execute("UPDATE in_history SET since = since + ?", (ahead,))
    bench.ahead += 3 * DAY
    for _ in range(3):
        await passed(lane)
    assert await ids_of(ledger) == []
    assert sorted(story.file.id for story in past.stories()) == [FIRST.id, AGAIN.id]
    assert rows(ledger, "remembered") == 1
    assert rows(ledger, "in_history") == 0
    assert await done_in_status(ledger) == 2


async def test_one_whose_row_has_an_older_id_is_recognised_too(
    ledger: Ledger, past: FakeHistory
) -> None:
    first = replace(FIRST, row_id=FIRST.id)
    await finished(ledger, first)
    bench = bench_of(ledger)
    await passed(lane_of(bench, past))
    async with reading(bench):
        found = await bench.until(lambda files: len(files) == 2 and files[1].duplicate_of)
    assert found[1].row_id == first.row_id


async def test_a_file_waits_at_no_cost_while_the_history_cannot_be_read(
    ledger: Ledger, past: FakeHistory
) -> None:
    await finished(ledger, FIRST)
    bench = bench_of(ledger)
    await passed(lane_of(bench, past))
    past.down_for = 1
    async with reading(bench):
        (waits,) = await bench.until(lambda files: files and files[0].reason)
    assert (waits.stage, waits.status, waits.attempts) == (Stage.MANIFEST, Status.WAITING, 0)
    assert "the history is not readable" in waits.reason
    assert not bench.context.breakers.open, "nothing else waits"


MANY = 40


@asynccontextmanager
async def reading_many(bench: Bench, many: list[FileRecord]) -> AsyncIterator[None]:
    """As many files come again at once."""
    again = [
        replace(AGAIN, id=f"{n:020x}"[::-1], path=file.path, relative_path=file.relative_path)
        for n, file in enumerate(many, 1)
    ]
    by_path = {file.relative_path: file for file in many}

    async def work(task: Task) -> Result:
        first = by_path[task.file.relative_path]
        changes = {**COUNTED, "sha256": first.sha256, "companion_text": None}
        changes["row_id"] = row_id(replace(task.file, row_id=None), str(first.sha256))
        return Result(changes=changes, detail="1 record, 10 bytes")

    lane = FileLane(bench.context, Stage.MANIFEST, work, Shares(MANY))
    async with bench.at_work(lane.run()):
        rows = [replace(each, row_id=None, next_attempt_at=0.0) for each in again]
        await plant(bench.ledger, *rows)
        yield


async def test_many_that_come_again_are_looked_for_together(
    ledger: Ledger, past: FakeHistory
) -> None:
    many = [a_done_file(number, file_timestamp=NOW - 5 * DAY) for number in range(MANY)]
    await finished(ledger, *many)
    bench = bench_of(ledger)
    await passed(lane_of(bench, past))
    past.finds = 0
    async with reading_many(bench, many):
        await bench.until(lambda files: sum(bool(each.duplicate_of) for each in files) == MANY)
    assert past.finds < MANY / 4


async def test_a_history_that_is_down_is_asked_once_for_all_that_wait(
    ledger: Ledger, past: FakeHistory
) -> None:
    many = [a_done_file(number, file_timestamp=NOW - 5 * DAY) for number in range(MANY)]
    await finished(ledger, *many)
    bench = bench_of(ledger)
    await passed(lane_of(bench, past))
    past.down_for, past.asked = 1000, 0
    async with reading_many(bench, many):
        found = await bench.until(lambda files: sum(bool(each.reason) for each in files) == MANY)
    assert past.asked == 1
    assert all("the history is down" in each.reason for each in found)


async def test_the_pause_grows_while_the_history_cannot_be_read(
    ledger: Ledger, past: FakeHistory, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("backupd.worker.recalling._FIRST_PAUSE", 1e-3)
    bench = bench_of(ledger)
    lane_of(bench, past)
    past.down_for = 4
    pauses = []
    while past.down_for:
        with pytest.raises(NotRecalledError) as raised:
            await bench.context.recall(Remembered("ab" * 16, "2026-11-23"))
        pauses.append(raised.value.pause)
    assert max(pauses) > 4e-3
    await eventually(partial(_is_recalled, bench), lambda: "the pause does not end")


async def _is_recalled(bench: Bench) -> bool:
    try:
        await bench.context.recall(Remembered("ab" * 16, "2026-11-23"))
    except NotRecalledError:
        return False
    return True


async def test_one_that_the_history_lost_is_taken_as_new(ledger: Ledger, past: FakeHistory) -> None:
    await finished(ledger, FIRST)
    bench = bench_of(ledger)
    await passed(lane_of(bench, past))
    past.batches.clear()
    async with reading(bench):
        await bench.until(lambda files: files and files[0].stage is Stage.LOAD)
    assert rows(ledger, "remembered") == 0


async def test_a_file_that_leaves_while_the_same_one_is_read_is_not_missed(
    ledger: Ledger, past: FakeHistory
) -> None:
    """Whichever comes first: it is an original that stays, or one that is remembered."""
    bench = bench_of(ledger)
    lane = lane_of(bench, past)
    await finished(ledger, FIRST)
    async with reading(bench):
        async with asyncio.timeout(PATIENCE):
            await passed(lane)
        found = await bench.until(lambda files: len(files) == 2 and files[1].duplicate_of)
    assert found[0] == FIRST
    assert len(past.stories()) <= 1


async def test_other_files_are_not_looked_for(ledger: Ledger, past: FakeHistory) -> None:
    await finished(ledger, FIRST)
    bench = bench_of(ledger)
    await passed(lane_of(bench, past))
    past.finds = 0
    async with reading(bench, a_done_file(2)):
        await bench.until(lambda files: files and files[0].stage is Stage.LOAD)
    assert past.finds == 0


async def test_what_was_remembered_long_enough_is_forgotten_in_turns(
    ledger: Ledger, past: FakeHistory, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("backupd.worker.history._TURN", 4)
    monkeypatch.setattr("backupd.worker.history._TURN_EVERY", 0.0)
    await finished(ledger, *[a_done_file(number) for number in range(10)])
    await finished(ledger, a_done_file(20, done_at=NOW + 30 * DAY))
    bench = bench_of(ledger)
    lane = lane_of(bench, past, remember=100 * DAY)
    await passed(lane)
    assert rows(ledger, "remembered") == 11
    bench.ahead += 80 * DAY

    async def forgotten() -> bool:
        await lane._forget_some()
        return rows(ledger, "remembered") == 1

    await eventually(forgotten, lambda: f"{rows(ledger, 'remembered')} are remembered")


async def test_daemons_that_run_for_a_turn_each_come_to_all_that_is_remembered(
    ledger: Ledger, past: FakeHistory, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("backupd.worker.history._TURN", 4)
    done = sorted([a_done_file(number) for number in range(16)], key=lambda file: file.row_id or "")
    young = [replace(file, done_at=NOW + 30 * DAY) for file in done[:8]]  # their keys come first
    await finished(ledger, *young, *done[8:])
    bench = bench_of(ledger)
    await passed(lane_of(bench, past))
    bench.ahead += 80 * DAY

    async def forgotten() -> bool:
        await lane_of(bench, past, remember=100 * DAY)._forget_some()
        return rows(ledger, "remembered") == len(young)

    await eventually(forgotten, lambda: f"{rows(ledger, 'remembered')} are remembered")


OF_ITS_CHANGE = a_done_file(1, file_timestamp=FIRST.identity.mtime_ns / 1e9)
OLD_ID = replace(a_done_file(1, file_timestamp=NOW - 5 * DAY), row_id="1" * 20)


@pytest.mark.parametrize("file", [OF_ITS_CHANGE, OLD_ID], ids=["dated by mtime", "old id"])
async def test_what_production_would_not_recognise_is_remembered_for_good(
    ledger: Ledger, past: FakeHistory, file: FileRecord
) -> None:
    await finished(ledger, file)
    bench = bench_of(ledger)
    lane = lane_of(bench, past, remember=100 * DAY)
    await passed(lane)
    bench.ahead += 400 * DAY
    lane._forgets_at = 0.0
    await lane._forget_some()
    assert rows(ledger, "remembered") == 1
    async with reading(bench, file):
        found = await bench.until(lambda files: len(files) == 2 and files[1].duplicate_of)
    assert found[1].duplicate_of == file.id


async def test_one_that_production_would_not_recognise_is_parked_when_its_story_is_lost(
    ledger: Ledger, past: FakeHistory
) -> None:
    await finished(ledger, OF_ITS_CHANGE)
    bench = bench_of(ledger)
    await passed(lane_of(bench, past))
    past.batches.clear()
    async with reading(bench, OF_ITS_CHANGE):
        (parked,) = await bench.until(lambda files: files and files[0].status is Status.PARKED)
    assert "the history lacks its story" in parked.reason
    assert rows(ledger, "remembered") == 1


async def test_past_is_found_in_the_fake_as_it_was_told(past: FakeHistory, ledger: Ledger) -> None:
    done = await finished(ledger, FIRST)
    await passed(lane_of(bench_of(ledger), past))
    found = [story async for story in past.find(Past(names=[FIRST.file_name]))]
    assert [story.file for story in found] == done
    assert await ledger.ask(files.by_ids, [FIRST.id]) == []


async def test_when_a_feed_was_last_done_is_known_after_its_files_left(
    ledger: Ledger, past: FakeHistory
) -> None:
    await finished(ledger, *[a_done_file(n, done_at=NOW + n * DAY) for n in (2, 1)])
    feed = FIRST.feed
    bench = bench_of(ledger)
    for _ in range(2):
        await passed(lane_of(bench, past))
    assert await ids_of(ledger) == []
    assert await ledger.ask(reports.last_done, [feed, "tolling"]) == {feed: NOW + 2 * DAY}
    assert (await ledger.ask(reports.done, feed, 0.0, 0.0)).last_at == NOW + 2 * DAY
    async with reading(bench, FIRST):
        await bench.until(lambda files: len(files) == 2)
    assert await ledger.ask(reports.last_done, [feed]) == {feed: NOW + 2 * DAY}
