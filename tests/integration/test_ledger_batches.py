"""Batches in the ledger: they and all their members move as one. On real SQLite."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from backupd.core import moves
from backupd.core.errors import PermanentError, RewindError, TransientError
from backupd.core.stages import UNSHIPPED, Stage, Status
from backupd.ledger import Ledger, batches
from support.files import NOW, POLICY, a_file
from support.ledgers import files_of, numbered, open_batches, opened, plant, story

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from backupd.core.records import Batch


@pytest.fixture
async def ledger(tmp_path: Path) -> AsyncIterator[Ledger]:
    async with opened(tmp_path / "ledger.db") as ledger:
        yield ledger


async def claimed(ledger: Ledger, stage: Stage = Stage.LOAD) -> Batch:
    batch = await ledger.claim_batch(stage, NOW)
    assert batch is not None
    return batch


async def a_loading_batch(ledger: Ledger, size: int = 4) -> Batch:
    await plant(ledger, *numbered(a_file(Stage.LOAD), size))
    assert await ledger.form_batch(size, NOW)
    return await claimed(ledger)


async def standing(ledger: Ledger) -> set[tuple[Stage, Status]]:
    return {(file.stage, file.status) for file in await files_of(ledger)}


async def stored(ledger: Ledger, batch_id: str) -> Batch:
    batch = await ledger.ask(batches.batch, batch_id)
    assert batch is not None
    return batch


async def test_where_nothing_waits_no_batch_is_formed(ledger: Ledger) -> None:
    assert await ledger.form_batch(10, NOW) is None
    assert await ledger.claim_batch(Stage.LOAD, NOW) is None
    assert await ledger.ask(batches.unbatched, 10) == (0, None)


async def test_those_that_waited_longest_come_into_the_batch_first(ledger: Ledger) -> None:
    files = [
        replace(file, stage_since=NOW - number)
        for number, file in enumerate(numbered(a_file(Stage.LOAD), 5))
    ]
    await plant(ledger, *files)
    assert await ledger.ask(batches.unbatched, 3) == (3, NOW - 4)
    first = await ledger.form_batch(3, NOW)
    assert first is not None
    assert (await stored(ledger, first)).members == (files[4].id, files[3].id, files[2].id)
    assert await ledger.ask(batches.unbatched, 3) == (2, NOW - 1)


async def test_a_burst_of_one_feed_leaves_the_others_their_share_of_a_batch(ledger: Ledger) -> None:
    files = numbered(a_file(Stage.LOAD, feed="cdr/A", stage_since=NOW), 44)
    few = [replace(file, feed="cdr/B", next_attempt_at=NOW + 1) for file in files[40:43]]
    gone = replace(files[43], feed="no/more", stage_since=NOW - 9_999)
    await plant(ledger, *files[:40], *few, gone)
    feeds = ["cdr/A", "cdr/B", "cdr/C"]
    first = await stored(ledger, await ledger.form_batch(12, NOW, feeds) or "")
    assert len(first.members) == 12
    assert {file.id for file in [*few, gone]} <= set(first.members)
    second = await stored(ledger, await ledger.form_batch(12, NOW, feeds) or "")
    assert len(second.members) == 12
    assert not set(first.members) & set(second.members)


async def test_with_more_feeds_than_a_batch_takes_the_oldest_come_first(ledger: Ledger) -> None:
    files = [
        a_file(Stage.LOAD, id=f"f{i}", feed=f"cdr/{i}", next_attempt_at=NOW - i) for i in range(6)
    ]
    await plant(
        ledger, *(replace(f, path=f"/{f.id}", stage_since=f.next_attempt_at) for f in files)
    )
    batch = await stored(ledger, await ledger.form_batch(2, NOW, [f.feed for f in files]) or "")
    assert batch.members == ("f5", "f4")


async def test_only_waiting_files_without_a_batch_at_load_come_into_one(ledger: Ledger) -> None:
    right, parked, elsewhere, batched = numbered(a_file(Stage.LOAD), 4)
    await plant(
        ledger,
        right,
        replace(parked, status=Status.PARKED),
        replace(elsewhere, stage=Stage.SHIP),
        replace(batched, batch_id="b0"),
    )
    batch_id = await ledger.form_batch(10, NOW)
    assert batch_id is not None
    assert (await stored(ledger, batch_id)).members == (right.id,)


async def test_a_file_never_comes_into_two_batches(ledger: Ledger) -> None:
    await plant(ledger, *numbered(a_file(Stage.LOAD), 30))
    ids = await asyncio.gather(*(ledger.form_batch(7, NOW) for _ in range(8)))
    batches = [await stored(ledger, batch_id) for batch_id in ids if batch_id]
    members = [file_id for batch in batches for file_id in batch.members]
    assert len(members) == len(set(members)) == 30


async def test_a_claimed_batch_runs_with_all_its_members_and_their_histories_tell(
    ledger: Ledger,
) -> None:
    batch = await a_loading_batch(ledger)
    assert (batch.status, batch.attempts, batch.claims) == (Status.RUNNING, 1, 1)
    assert [file.id for file in await ledger.members(batch)] == list(batch.members)
    for file in await files_of(ledger):
        assert (file.status, file.attempts, file.claims) == (Status.RUNNING, 1, 1)
        line = ("load", "running", f"started with batch {batch.id}")
        assert await story(ledger, file.id) == [line]
    assert await ledger.claim_batch(Stage.LOAD, NOW) is None


async def test_a_batch_is_claimed_by_its_stage_once_it_is_due_the_longest_due_first(
    ledger: Ledger,
) -> None:
    batch = await a_loading_batch(ledger)
    failed = moves.batch_failed(batch, TransientError("slow"), NOW, POLICY)
    assert await ledger.move_batch(failed)
    assert await ledger.claim_batch(Stage.LOAD, NOW) is None
    assert await ledger.claim_batch(Stage.MERGE, NOW + 1e6) is None
    assert await ledger.ask(batches.next_due_batch, Stage.LOAD) == NOW + POLICY.first
    await plant(ledger, replace(a_file(Stage.LOAD), id="late", path="/late"))
    await ledger.form_batch(10, NOW + 100)
    first = await ledger.claim_batch(Stage.LOAD, NOW + 1e6)
    assert first is not None
    assert first.id == batch.id


async def test_loaded_then_merged_all_members_go_on_towards_the_archive(ledger: Ledger) -> None:
    batch = await a_loading_batch(ledger)
    assert await ledger.move_batch(moves.batch_advanced(batch, "memory", NOW))
    assert await standing(ledger) == {(Stage.MERGE, Status.WAITING)}
    merging = await claimed(ledger, Stage.MERGE)
    assert (merging.id, merging.staged_at, merging.attempts) == (batch.id, "memory", 1)
    assert await ledger.move_batch(moves.batch_merged(merging, NOW))
    assert await standing(ledger) == {(UNSHIPPED[0], Status.WAITING)}
    assert {file.row_seen_at for file in await files_of(ledger)} == {NOW}
    assert {file.batch_id for file in await files_of(ledger)} == {batch.id}
    assert await ledger.ask(batches.open_batches) == []
    assert [line[:2] for line in await story(ledger, batch.members[0])] == [
        ("load", "running"),
        ("merge", "waiting"),
        ("merge", "running"),
        (UNSHIPPED[0], "waiting"),
    ]


async def test_of_two_who_move_the_same_batch_one_wins_and_the_loser_touches_no_file(
    ledger: Ledger,
) -> None:
    batch = await a_loading_batch(ledger)
    answers = await asyncio.gather(
        ledger.move_batch(moves.batch_advanced(batch, "memory", NOW)),
        ledger.move_batch(moves.batch_failed(batch, PermanentError("bad row"), NOW, POLICY)),
    )
    assert sorted(answers) == [False, True]
    assert len(await standing(ledger)) == 1
    lines = await story(ledger, batch.members[0])
    assert len(lines) == 2


async def test_a_refused_batch_becomes_two_with_the_same_members(ledger: Ledger) -> None:
    batch = await a_loading_batch(ledger, 5)
    refused = moves.batch_failed(batch, PermanentError("bad row"), NOW, POLICY)
    assert await ledger.move_batch(refused)
    assert (await stored(ledger, batch.id)).status is Status.DONE
    parts = await open_batches(ledger)
    assert {part.members for part in parts} == set(refused.parts)
    assert await standing(ledger) == {(Stage.LOAD, Status.WAITING)}
    owner = {file.id: file.batch_id for file in await files_of(ledger)}
    assert all(owner[file_id] == part.id for part in parts for file_id in part.members)
    before = await ledger.ask(batches.previously_batched, batch.members, parts[0].id)
    assert before == set(batch.members)
    lines = await story(ledger, batch.members[0])
    assert lines[-1] == ("load", "waiting", "its batch was split: bad row")


async def test_a_batch_of_one_that_is_refused_is_parked_with_its_file(ledger: Ledger) -> None:
    batch = await a_loading_batch(ledger, 1)
    await ledger.move_batch(moves.batch_failed(batch, PermanentError("bad row"), NOW, POLICY))
    (file,) = await files_of(ledger)
    assert (file.stage, file.status, file.reason) == (Stage.LOAD, Status.PARKED, "bad row")
    assert (await stored(ledger, batch.id)).status is Status.PARKED
    assert await ledger.ask(batches.open_batches) == []


async def test_a_parked_file_that_is_requeued_comes_into_a_new_batch(ledger: Ledger) -> None:
    batch = await a_loading_batch(ledger, 1)
    await ledger.move_batch(moves.batch_failed(batch, PermanentError("bad row"), NOW, POLICY))
    (file,) = await files_of(ledger)
    assert await ledger.move([moves.requeued(file, Stage.LOAD, NOW)]) == [True]
    second = await ledger.form_batch(10, NOW)
    assert second not in {None, batch.id}
    assert (await stored(ledger, batch.id)).members == (file.id,)


async def test_a_rewound_batch_is_loaded_again_as_the_same_batch(ledger: Ledger) -> None:
    batch = await a_loading_batch(ledger)
    await ledger.move_batch(moves.batch_advanced(batch, "memory", NOW))
    merging = await claimed(ledger, Stage.MERGE)
    lost = RewindError(Stage.LOAD, "nowhere")
    assert await ledger.move_batch(moves.batch_failed(merging, lost, NOW, POLICY))
    assert await standing(ledger) == {(Stage.LOAD, Status.WAITING)}
    again = await ledger.claim_batch(Stage.LOAD, NOW + POLICY.first)
    assert again is not None
    assert (again.id, again.members) == (batch.id, batch.members)


async def test_an_interrupted_batch_waits_again_with_its_members(tmp_path: Path) -> None:
    async with opened(tmp_path / "ledger.db") as ledger:
        await a_loading_batch(ledger)
    async with opened(tmp_path / "ledger.db") as ledger:
        (batch,) = await ledger.ask(batches.running_batches)
        assert batch.status is Status.RUNNING
        assert await ledger.move_batch(moves.batch_interrupted(batch, NOW, POLICY))
        assert await standing(ledger) == {(Stage.LOAD, Status.WAITING)}
        assert (await claimed(ledger)).attempts == 1


async def test_a_batch_larger_than_a_query_takes_moves_whole(ledger: Ledger) -> None:
    batch = await a_loading_batch(ledger, 1_201)
    assert len(await ledger.members(batch)) == 1_201
    assert await ledger.move_batch(moves.batch_advanced(batch, "memory", NOW))
    assert await standing(ledger) == {(Stage.MERGE, Status.WAITING)}


async def test_a_batch_may_have_made_the_row_of_another_file_with_the_same_name_and_content(
    ledger: Ledger,
) -> None:
    batch = await a_loading_batch(ledger)
    first = batch.members[0]
    again = a_file(Stage.LOAD, id="again", row_id=first, path="/again")
    other = a_file(Stage.LOAD, id="other", path="/other")
    await plant(ledger, again, other)
    asked = ["again", "other", first]
    assert await ledger.ask(batches.previously_batched, asked, "new") == {"again", first}
    assert await ledger.ask(batches.previously_batched, asked, batch.id) == set()
