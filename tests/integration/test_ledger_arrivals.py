"""What came of each date is counted once, whatever becomes of the files, on real SQLite."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest
import sqlalchemy as sa

from backupd.completeness.arrivals import Came, arrival_of, together
from backupd.completeness.dates import DAY, day_of, day_start
from backupd.completeness.expectations import Bounds, Expectations, SequenceRule
from backupd.completeness.judging import Excuse, Known
from backupd.core import moves
from backupd.core.records import FileRecord, Result
from backupd.core.stages import Stage, Status
from backupd.core.times import Pauses
from backupd.ledger import arrival_tables, arrivals, recounting, schema, watching
from backupd.ledger.watching import Watch
from support.coming import an_arrival, come
from support.files import COUNTED, NOW, a_file, a_sighting
from support.intake import an_identity
from support.ledgers import FEED, FEEDS, WELL, files_of, looked_at, one, opened, plant

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence
    from pathlib import Path

    from backupd.ledger import Ledger

EXPECTED = Expectations(files=Bounds(least=3), sequence=SequenceRule(regex=r"_(\d+)\.csv$"))
WATCH = Watch(feed=FEED.name, expected=EXPECTED, since=NOW)
TODAY = day_of(NOW)


@pytest.fixture
async def ledger(tmp_path: Path) -> AsyncIterator[Ledger]:
    async with opened(tmp_path / "ledger.db") as ledger:
        await ledger.past.watch([WATCH])
        yield ledger


async def claimed(ledger: Ledger, name: str, ino: int) -> FileRecord:
    """A file is seen, settles and is claimed by manifest."""
    identity = replace(an_identity(ino=ino), ctime_ns=int((NOW - 60 * ino) * 1e9))
    seen = a_sighting(f"/feed/{name}", feed=FEED, identity=identity, seen_at=NOW + ino)
    await looked_at(ledger, seen)
    (file,) = [file for file in await files_of(ledger) if file.identity == identity]
    await ledger.move([replace(moves.advance(file, WELL, NOW), stage=Stage.MANIFEST)])
    (found,) = await ledger.claim(Stage.MANIFEST, 1, NOW, FEEDS)
    return found


async def read(ledger: Ledger, file: FileRecord, **changes: Any) -> FileRecord:  # noqa: ANN401 - any field
    """Manifest is done with it."""
    values = {**COUNTED, "sha256": f"{file.identity.ino:064x}", **changes}
    move = moves.advance(file, Result(changes=values, detail="well"), NOW)
    arrival = arrival_of(file, values, EXPECTED)
    assert await ledger.manifest_done([replace(move, arrival=arrival)]) == [True]
    return await one(ledger, file.id)


async def known(ledger: Ledger) -> Known:
    found = await ledger.ask(arrivals.known, TODAY - 1, TODAY, [FEED.name])
    return found[FEED.name]


def _remove(connection: sa.Connection, ids: Sequence[str]) -> list[None]:
    connection.execute(sa.delete(schema.files).where(schema.files.c.id.in_(ids)))
    return [None] * len(ids)


async def test_files_are_counted_by_date_with_their_numbers(ledger: Ledger) -> None:
    await read(ledger, await claimed(ledger, "a_007.csv", 1), record_count=5)
    await read(ledger, await claimed(ledger, "a_009.csv", 2), size_bytes=70)

    found = await known(ledger)

    assert found.since == NOW
    assert found.seen == {
        TODAY: Came(2, 6, 80, NOW - 120, NOW - 60, 60.0, 1, 5, 10, 70, found.seen[TODAY].minutes)
    }
    numbers = found.numbers[""][TODAY]
    assert [(span.low, span.high, span.since) for span in numbers.spans] == [
        (7, 7, NOW - 60),
        (9, 9, NOW - 120),
    ]
    assert numbers.name(8) == "a_008.csv"


@pytest.mark.parametrize("sha256", ["ab" * 32, "cd" * 32])
async def test_a_name_that_comes_again_is_not_counted_again(ledger: Ledger, sha256: str) -> None:
    await read(ledger, await claimed(ledger, "a_007.csv", 1), sha256="ab" * 32)
    first = (await files_of(ledger))[0]
    await ledger.move([moves.parked(first, "vanished", NOW, local=False)])

    await read(ledger, await claimed(ledger, "a_007.csv", 2), sha256=sha256)

    assert (await known(ledger)).seen[TODAY].files == 1


async def test_a_name_that_comes_each_day_counts_each_day(ledger: Ledger) -> None:
    for day in (0, 1, 1, 2):
        file = await claimed(ledger, "actives.csv", len(await files_of(ledger)) + 1)
        read_one = await read(ledger, file, file_timestamp=NOW + day * DAY)
        await ledger.move([moves.parked(read_one, "vanished", NOW, local=False)])

    found = await ledger.ask(arrivals.known, TODAY, TODAY + 2, [FEED.name])
    counted = {day: came.files for day, came in found[FEED.name].seen.items()}
    assert counted == {TODAY: 1, TODAY + 1: 1, TODAY + 2: 1}

    of_files = arrivals.arrivals_of(await files_of(ledger), EXPECTED)
    assert {day: came.files for (_, day), came in arrivals.by_day(of_files, {}).items()} == counted


async def test_files_of_one_date_are_added_up_as_one_by_one() -> None:
    times = [NOW + 60 * minute for minute in (9, 0, 3, 3, 700, 1)]
    new = [an_arrival("a", at)._replace(records=number) for number, at in enumerate(times)]
    one_by_one: dict[arrivals.Day, Came] = {}
    for each in new:
        arrivals.by_day([each], one_by_one)

    assert arrivals.by_day(new, {}) == one_by_one


async def test_a_lot_of_a_date_is_merged_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    merges: list[Came] = []

    def counted(one: Came, other: Came) -> Came:
        merges.append(other)
        return together(one, other)

    monkeypatch.setattr("backupd.ledger.arrivals.together", counted)
    there = arrivals.by_day([an_arrival("a", NOW)], {})
    arrivals.by_day([an_arrival("a", NOW + second) for second in range(100)], there)
    assert len(merges) == 2


async def test_a_file_that_is_read_again_is_not_counted_again(ledger: Ledger) -> None:
    file = await read(ledger, await claimed(ledger, "a_007.csv", 1))
    await ledger.move([moves.parked(file, "broken", NOW)])
    parked = await one(ledger, file.id)
    await ledger.move([moves.requeued(parked, Stage.MANIFEST, NOW)])
    (again,) = await ledger.claim(Stage.MANIFEST, 1, NOW, FEEDS)

    await read(ledger, again)

    assert (await known(ledger)).seen[TODAY].files == 1


async def test_what_is_there_is_counted_when_a_feed_is_first_watched(tmp_path: Path) -> None:
    done = a_file(Stage.CLEANUP, Status.DONE, done_at=NOW, local=False, **COUNTED)
    names = ("a_1.csv", "a_2.csv", "a_4.csv")
    async with opened(tmp_path / "ledger.db") as ledger:
        await plant(
            ledger,
            *(
                replace(
                    done,
                    id=name,
                    row_id=name,
                    path=f"/feed/{name}",
                    relative_path=name,
                    status=Status.PARKED if name == "a_4.csv" else Status.DONE,
                    done_at=None if name == "a_4.csv" else NOW,
                )
                for name in names
            ),
            replace(done, id="d", path="/feed/a_1.csv", duplicate_of="a_1.csv"),
        )
        for _ in range(2):
            await ledger.past.watch([WATCH])

        found = await known(ledger)

    assert found.seen[TODAY].files == 3
    assert [(span.low, span.high) for span in found.numbers[""][TODAY].spans] == [(1, 2), (4, 4)]


async def test_what_left_stays_counted(ledger: Ledger) -> None:
    await read(ledger, await claimed(ledger, "a_007.csv", 1))
    await read(ledger, await claimed(ledger, "a_008.csv", 2))
    before = (await known(ledger)).seen
    await ledger._writer.apply(_remove, [(await files_of(ledger))[0].id])

    await ledger.past.watch([WATCH])

    assert (await known(ledger)).seen == before


async def test_other_numbers_are_read_from_the_same_files(ledger: Ledger) -> None:
    await read(ledger, await claimed(ledger, "a_007.csv", 1))
    rule = SequenceRule(regex=r"^a_00(\d)")

    other = replace(WATCH, expected=replace(EXPECTED, sequence=rule))
    await ledger.past.watch([other])

    assert (await ledger.ask(watching.terms)) == {FEED.name: other.terms}
    found = await known(ledger)
    assert found.numbers[""][TODAY].width == 1
    assert found.seen[TODAY].files == 1


async def test_a_date_of_which_files_left_has_no_numbers_by_another_pattern(
    ledger: Ledger,
) -> None:
    for number in range(1, 5):
        file = await claimed(ledger, f"a_{number}.csv", number)
        await read(ledger, file, file_timestamp=NOW + DAY * (number > 3))
    await ledger._writer.apply(_remove, [(await files_of(ledger))[1].id])
    rule = SequenceRule(regex=r"^a_(\d)")

    await ledger.past.watch([replace(WATCH, expected=replace(EXPECTED, sequence=rule))])

    found = await ledger.ask(arrivals.known, TODAY, TODAY + 1, [FEED.name])
    assert list(found[FEED.name].numbers[""]) == [TODAY + 1]
    assert found[FEED.name].seen[TODAY].files == 3


async def test_what_comes_while_a_feed_is_counted_is_added(ledger: Ledger) -> None:
    await read(ledger, await claimed(ledger, "a_1.csv", 1))
    await read(ledger, await claimed(ledger, "a_3.csv", 3))
    await ledger._writer.apply(_uncounted, [WATCH])
    await ledger._writer.apply(watching.begin, [WATCH])
    assert await ledger.ask(watching.terms) == {FEED.name: ""}
    pieces = await ledger.ask(recounting.counted, WATCH)
    await read(ledger, await claimed(ledger, "a_2.csv", 2), record_count=7)

    for _ in range(2):  # a kill, and once more
        for piece in pieces:
            await ledger._writer.apply(recounting.add, [piece])
        found = await known(ledger)
        assert found.seen[TODAY][:6] == (3, 9, 30, NOW - 180, NOW - 60, 60.0)
        assert [(each.low, each.high) for each in found.numbers[""][TODAY].spans] == [(1, 3)]
        pieces = await ledger.ask(recounting.counted, WATCH)

    assert await ledger.ask(watching.terms) == {FEED.name: WATCH.terms}


async def test_many_dates_are_written_some_at_a_time(ledger: Ledger) -> None:
    done = a_file(Stage.CLEANUP, Status.DONE, done_at=NOW, local=False, **COUNTED)
    names = [f"a_{number}.csv" for number in range(70)]
    old = [
        replace(
            done,
            id=name,
            row_id=name,
            path=f"/feed/{name}",
            relative_path=name,
            file_timestamp=NOW - days * DAY,
        )
        for days, name in enumerate(names)
    ]
    await plant(ledger, *old)

    pieces = await ledger.ask(recounting.counted, WATCH)

    assert [len(piece.days) for piece in pieces] == [30, 30, 10]
    assert [piece.is_last for piece in pieces] == [False, False, True]
    assert [len(piece.sources) for piece in pieces] == [30, 30, 10]


async def test_what_was_read_by_other_words_is_not_written(ledger: Ledger) -> None:
    await read(ledger, await claimed(ledger, "a_1.csv", 1))
    old = await ledger.ask(recounting.counted, WATCH)
    rule = SequenceRule(regex=r"^a_(\d)")
    other = replace(WATCH, expected=replace(EXPECTED, sequence=rule))
    await ledger._writer.apply(watching.begin, [other])

    await ledger._writer.apply(recounting.add, old)

    assert (await known(ledger)).numbers == {}
    assert await ledger.ask(watching.terms) == {FEED.name: ""}


def _uncounted(connection: sa.Connection, items: Sequence[Watch]) -> list[None]:
    """As if a feed had been counted from its second file on, and then there was a kill."""
    connection.execute(sa.delete(arrival_tables.watched_feeds))
    connection.execute(sa.update(arrival_tables.arrivals).values(files=1, records=1, size=10))
    return [None] * len(items)


async def test_a_watch_of_a_time_to_come_begins_now(ledger: Ledger) -> None:
    await ledger.past.watch_no_more([FEED.name])
    await ledger.past.watch([replace(WATCH, since=NOW + 400 * DAY)])
    await ledger._writer.apply(_restored, [NOW + 400 * DAY])

    await ledger.bring_forward(NOW, Pauses(longest=60.0, kept=60.0))

    assert (await known(ledger)).since == day_start(TODAY + 1)
    assert await ledger.ask(watching.terms_since) == {FEED.name: NOW}


async def test_a_feed_that_is_watched_no_more_is_not_known(ledger: Ledger) -> None:
    await ledger.past.watch_no_more([FEED.name])

    assert await ledger.ask(arrivals.known, TODAY, TODAY, [FEED.name]) == {}


async def test_old_dates_are_forgotten_and_excuses_never(ledger: Ledger) -> None:
    await read(ledger, await claimed(ledger, "a_007.csv", 1))
    excuse = Excuse(feed=FEED.name, day=TODAY, low=8, high=9, why="lost", at=NOW)
    await ledger.past.excuse(excuse)

    await ledger.past.forget_arrivals(TODAY + 1)

    found = await known(ledger)
    assert (found.seen, found.numbers) == ({}, {})
    assert found.excuses == [excuse]


async def test_it_is_known_since_when_files_wait_to_be_counted(ledger: Ledger) -> None:
    file = await claimed(ledger, "a_007.csv", 1)
    assert await ledger.ask(arrivals.pending, NOW) == {FEED.name: NOW + 1}
    assert await ledger.ask(arrivals.pending, NOW + 1) == {}

    await read(ledger, file)

    assert await ledger.ask(arrivals.pending, NOW) == {}


async def test_after_a_restore_it_is_as_if_watching_began_the_day_after(ledger: Ledger) -> None:
    await read(ledger, await claimed(ledger, "a_007.csv", 1))

    await ledger._writer.apply(_restored, [NOW + 60])

    found = await known(ledger)
    assert found.since == day_start(TODAY + 1)
    assert found.seen[TODAY].files == 1


def _restored(connection: sa.Connection, times: Sequence[float]) -> list[None]:
    connection.execute(sa.insert(schema.restores), [{"at": at} for at in times])
    return [None] * len(times)


async def test_what_came_of_feeds_without_expectations_is_counted_too(ledger: Ledger) -> None:
    await come(ledger, an_arrival("other/a", NOW), an_arrival("other/a", NOW))
    both = ["other/a", FEED.name]
    came = await ledger.ask(arrivals.came, TODAY - 1, TODAY, both)
    assert {feed: days[TODAY].files for feed, days in came.items()} == {"other/a": 2}
    assert list(await ledger.ask(arrivals.known, TODAY - 1, TODAY, both)) == [FEED.name]
