"""Files in the ledger: first sight, claims, moves, duplicates. On real SQLite."""

from __future__ import annotations

import asyncio
import os
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backupd.control.requests import plan_hold
from backupd.core import moves
from backupd.core.records import FeedMount, FileRecord, Known, Receipt, Seen, VerifiedBy
from backupd.core.stages import Stage, Status
from backupd.ledger import Ledger, files, reports
from support.files import NOW, POLICY, a_file, a_sighting
from support.intake import an_identity
from support.ledgers import (
    FEED,
    FEEDS,
    OTHER,
    WELL,
    files_of,
    looked_at,
    numbered,
    one,
    opened,
    plant,
    story,
)

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from backupd.core.records import Move


@pytest.fixture
async def ledger(tmp_path: Path) -> AsyncIterator[Ledger]:
    async with opened(tmp_path / "ledger.db") as ledger:
        yield ledger


async def stand(ledger: Ledger, file: FileRecord, **changes: object) -> FileRecord:
    """Make a file stand somewhere, as if all before had happened."""
    stage, status = changes.pop("stage", file.stage), changes.pop("status", file.status)
    assert isinstance(stage, Stage)
    assert isinstance(status, Status)
    move = moves.parked(file, "made so by the test", NOW)
    move = replace(move, stage=stage, status=status, changes=changes)
    assert await ledger.move([move]) == [True]
    return await one(ledger, file.id)


# -- first sight ------------------------------------------------------------------------------


async def test_a_sighting_makes_a_row_that_is_due_at_once(ledger: Ledger) -> None:
    assert await ledger.see([a_sighting("/feed/eLUX_1.csv", feed=FEED)]) == [Seen.NEW]
    (file,) = await ledger.due_settle(NOW, 10)
    assert (file.path, file.relative_path) == ("/feed/eLUX_1.csv", "eLUX_1.csv")
    assert (file.stage, file.status, file.feed) == (Stage.SETTLE, Status.WAITING, FEED.name)
    assert await story(ledger, file.id) == [("settle", "waiting", "first seen")]
    assert await ledger.known([file.path]) == {file.path: Known(file.id, an_identity())}


async def test_seeing_a_file_again_changes_nothing(ledger: Ledger) -> None:
    sighting = a_sighting("/feed/eLUX_1.csv", feed=FEED)
    grown = replace(sighting, identity=an_identity(size=99))
    assert await ledger.see([sighting, sighting]) == [Seen.NEW, Seen.KNOWN]
    (before,) = await files_of(ledger)
    assert await ledger.see([sighting]) == [Seen.KNOWN]
    assert await ledger.see([grown]) == [Seen.KNOWN]
    assert await files_of(ledger) == [before]
    assert len(await story(ledger, before.id)) == 1


@pytest.mark.parametrize("stage", list(Stage))
async def test_a_file_on_its_way_keeps_its_path_whatever_is_seen_there(
    ledger: Ledger, stage: Stage
) -> None:
    for status in (Status.WAITING, Status.RUNNING):
        path = f"/feed/{status}"
        await plant(ledger, a_file(stage, status, id=status, path=path))
        assert await ledger.see([a_sighting(path, identity=an_identity(ino=3))]) == [Seen.KNOWN]


@pytest.mark.parametrize(
    ("stage", "status"), [(Stage.CLEANUP, Status.DONE), (Stage.SHIP, Status.PARKED)]
)
async def test_a_path_delivered_again_makes_a_new_row_and_the_old_one_lets_go(
    ledger: Ledger, stage: Stage, status: Status
) -> None:
    (old,) = await plant(ledger, a_file(stage, status, row_seen_at=NOW))
    assert await looked_at(ledger, a_sighting(old.path, identity=old.identity)) == [Seen.KNOWN]
    again = a_sighting(old.path, identity=an_identity(ino=3))
    assert await looked_at(ledger, again) == [Seen.NEW]
    first, second = sorted(await files_of(ledger), key=lambda file: file.first_seen_at)
    assert (first.local, second.local) == (False, True)
    assert first.status is status
    assert await ledger.known([old.path]) == {old.path: Known(second.id, again.identity)}
    assert (await story(ledger, old.id))[-1][2].startswith("its path holds a newer file now")


async def test_a_thousand_sightings_are_one_commit(ledger: Ledger) -> None:
    before = ledger.commits
    seen = await ledger.see([a_sighting(f"/feed/{n}", feed=FEED) for n in range(1_000)])
    assert seen == [Seen.NEW] * 1_000
    assert ledger.commits == before + 1


AWKWARD = [
    "plain.csv",
    "with space; $(rm -rf .) 'quotes' \"double\" %s %n `x`",
    "-rf",
    "new\nline\ttab",
    "Zürich ☎ 漢字",
    os.fsdecode(b"latin1-\xe9\xff\xfe"),
    "x" * 255,
    "?:@name = 'x' -- comment",
]


async def test_any_name_comes_back_as_it_was(ledger: Ledger) -> None:
    paths = [f"/feed/{name}" for name in AWKWARD]
    sightings = [a_sighting(path, feed=FEED, companion_path=path + ".cksum") for path in paths]
    assert await ledger.see(sightings) == [Seen.NEW] * len(AWKWARD)
    assert (await ledger.known(paths)).keys() == set(paths)
    found = {file.path: file for file in await files_of(ledger)}
    assert found.keys() == set(paths)
    for path, file in found.items():
        assert file.companion_path == path + ".cksum"
        assert file.relative_path == file.file_name == path.removeprefix("/feed/")
        assert await ledger.ask(reports.matching, path) == [file]
        assert await ledger.ask(reports.matching, file.file_name) == [file]


names = st.binary(min_size=1, max_size=40).filter(lambda name: not {0, 0x2F} & set(name))


@given(st.lists(names, unique=True, max_size=8))
def test_whatever_bytes_a_name_has(names: list[bytes]) -> None:
    async def check(directory: str) -> None:
        from pathlib import Path  # noqa: PLC0415 - for this one only

        paths = [os.fsdecode(b"/feed/" + name) for name in names]
        async with opened(Path(directory) / "ledger.db") as ledger:
            seen = await ledger.see([a_sighting(path, feed=FEED) for path in paths])
            assert seen == [Seen.NEW] * len(paths)
            assert {file.path for file in await files_of(ledger)} == set(paths)

    import tempfile  # noqa: PLC0415 - a directory for each example

    with tempfile.TemporaryDirectory() as directory:
        asyncio.run(check(directory))


async def test_an_inode_number_beyond_64_bits_signed_is_kept(ledger: Ledger) -> None:
    identity = an_identity(ino=2**64 - 1, dev=2**64 - 1, mtime_ns=-1)
    await ledger.see([a_sighting("/feed/a", feed=FEED, identity=identity)])
    assert (await files_of(ledger))[0].identity == identity


async def test_a_companion_that_came_makes_its_file_due(ledger: Ledger) -> None:
    waits = a_file(Stage.SETTLE, companion_path="/feed/1.cksum", next_attempt_at=NOW + 60)
    other = replace(waits, id="f2", path="/feed/2", companion_path="/feed/2.cksum")
    await plant(ledger, waits, other)
    await ledger.wake_companions(["/feed/1.cksum", "/feed/none"], NOW)
    assert [file.id for file in await ledger.due_settle(NOW, 10)] == [waits.id]
    assert await ledger.next_settle_at() == NOW


# -- claims -----------------------------------------------------------------------------------


async def test_a_claim_counts_the_attempt_before_the_work_and_writes_it_down(
    ledger: Ledger,
) -> None:
    await plant(ledger, a_file(Stage.SHIP, attempts=2, claims=4))
    (claimed,) = await ledger.claim(Stage.SHIP, 5, NOW, FEEDS)
    assert (claimed.status, claimed.attempts, claimed.claims) == (Status.RUNNING, 3, 5)
    assert await one(ledger, claimed.id) == claimed
    assert await story(ledger, claimed.id) == [("ship", "running", "started again (try 5)")]
    assert await ledger.claim(Stage.SHIP, 5, NOW, FEEDS) == []


async def test_those_due_longest_are_claimed_first(ledger: Ledger) -> None:
    files = [
        replace(file, next_attempt_at=NOW - number)
        for number, file in enumerate(numbered(a_file(Stage.SHIP), 10))
    ]
    await plant(ledger, *files)
    claimed = await ledger.claim(Stage.SHIP, 3, NOW, FEEDS)
    assert {file.id for file in claimed} == {files[9].id, files[8].id, files[7].id}


async def test_only_due_waiting_files_of_the_stage_and_the_feeds_are_claimed(
    ledger: Ledger,
) -> None:
    right, later, parked, running, done, elsewhere, other = numbered(a_file(Stage.SHIP), 7)
    await plant(
        ledger,
        right,
        replace(later, next_attempt_at=NOW + 1),
        replace(parked, status=Status.PARKED),
        replace(running, status=Status.RUNNING),
        replace(done, status=Status.DONE),
        replace(elsewhere, stage=Stage.CLEANUP),
        replace(other, feed=OTHER.name),
    )
    claimed = await ledger.claim(Stage.SHIP, 100, NOW, [FEED.name])
    assert [file.id for file in claimed] == [right.id]
    assert await ledger.claim(Stage.SHIP, 100, NOW, []) == []
    assert await ledger.due(Stage.SHIP, [FEED.name]) == NOW + 1
    assert await ledger.due(Stage.SHIP, [OTHER.name]) == other.next_attempt_at


async def test_two_claims_at_once_never_get_the_same_file(ledger: Ledger) -> None:
    await plant(ledger, *numbered(a_file(Stage.SHIP), 60))
    got = await asyncio.gather(*(ledger.claim(Stage.SHIP, 7, NOW, FEEDS) for _ in range(10)))
    ids = [file.id for files in got for file in files]
    assert len(ids) == len(set(ids)) == 60


# -- moves ------------------------------------------------------------------------------------


async def test_many_moves_at_once_are_few_commits(ledger: Ledger) -> None:
    await plant(ledger, *numbered(a_file(Stage.SHIP), 500))
    running = await ledger.claim(Stage.SHIP, 500, NOW, FEEDS)
    before = ledger.commits
    each = (ledger.move([moves.advance(file, WELL, NOW)]) for file in running)
    assert await asyncio.gather(*each) == [[True]] * 500
    assert ledger.commits - before <= 10
    for file in running[::100]:
        assert (await story(ledger, file.id))[-1] == ("cleanup", "waiting", "well")


async def test_of_two_who_move_the_same_file_one_wins(ledger: Ledger) -> None:
    await plant(ledger, a_file(Stage.SHIP))
    (file,) = await ledger.claim(Stage.SHIP, 1, NOW, FEEDS)
    rivals = [moves.advance(file, WELL, NOW), moves.failed(file, ValueError("no"), NOW, POLICY)]
    answers = await asyncio.gather(*(ledger.move([move]) for move in rivals))
    assert sorted(answers) == [[False], [True]]
    winner = rivals[answers.index([True])]
    after = await one(ledger, file.id)
    assert (after.stage, after.status) == (winner.stage, winner.status)
    assert [line[2] for line in await story(ledger, file.id)] == ["started", winner.detail]


async def test_in_a_mixed_group_only_the_loser_is_told_so_and_leaves_no_trace(
    ledger: Ledger,
) -> None:
    await plant(ledger, *numbered(a_file(Stage.SHIP), 9))
    files = sorted(await ledger.claim(Stage.SHIP, 9, NOW, FEEDS), key=lambda file: file.id)
    stale = {2, 5}
    group: list[Move] = []
    for number, file in enumerate(files):
        as_seen = replace(file, claims=file.claims - 1) if number in stale else file
        if number % 3 == 0:
            group.append(moves.failed(as_seen, ValueError("no"), NOW, POLICY))
        else:
            move = moves.advance(as_seen, WELL, NOW)
            group.append(replace(move, receipt=a_receipt(file.id)))
    assert await ledger.move(group) == [number not in stale for number in range(9)]
    receipts = await ledger.receipts([file.id for file in files])
    for number, file in enumerate(files):
        after = await one(ledger, file.id)
        lines = await story(ledger, file.id)
        if number in stale:
            assert (after, len(lines)) == (file, 1)
        else:
            assert (after.stage, len(lines)) == (group[number].stage, 2)
        assert (file.id in receipts) == (number % 3 != 0 and number not in stale)


async def test_a_receipt_is_written_with_its_move_and_a_newer_one_takes_its_place(
    ledger: Ledger,
) -> None:
    await plant(ledger, a_file(Stage.SHIP))
    (file,) = await ledger.claim(Stage.SHIP, 1, NOW, FEEDS)
    receipt = a_receipt(file.id)
    await ledger.move([replace(moves.advance(file, WELL, NOW), receipt=receipt)])
    assert await ledger.receipts([file.id, "nobody"]) == {file.id: receipt}
    newer = replace(receipt, verified_at=NOW + 1)
    after = await one(ledger, file.id)
    await ledger.move([replace(moves.requeued(after, Stage.SHIP, NOW), receipt=newer)])
    assert await ledger.receipts([file.id]) == {file.id: newer}


async def test_a_file_that_came_into_a_batch_can_no_longer_be_held(ledger: Ledger) -> None:
    (file,) = await plant(ledger, a_file(Stage.LOAD))
    hold = plan_hold(file, NOW)
    await ledger.form_batch(10, NOW)
    assert await ledger.move([hold]) == [False]
    assert (await one(ledger, file.id)).status is Status.WAITING


async def test_nothing_to_move_costs_no_commit(ledger: Ledger) -> None:
    before = ledger.commits
    assert await ledger.move([]) == []
    assert ledger.commits == before


def a_receipt(file_id: str) -> Receipt:
    return Receipt(
        file_id=file_id,
        archive_name="eLUX/x.gz",
        sha256="ab" * 32,
        sent_sha256="cd" * 32,
        remote_sha256="cd" * 32,
        sent_bytes=7,
        verified_by=VerifiedBy.READBACK,
        flushed=True,
        shipped_at=NOW,
        verified_at=NOW,
    )


# -- recovery and reports ---------------------------------------------------------------------


async def test_what_ran_when_the_process_ended_is_found_and_noted_as_interrupted(
    tmp_path: Path,
) -> None:
    async with opened(tmp_path / "ledger.db") as ledger:
        await plant(ledger, *numbered(a_file(Stage.SHIP), 3))
        await ledger.claim(Stage.SHIP, 2, NOW, FEEDS)
    async with opened(tmp_path / "ledger.db") as ledger:
        running = await ledger.ask(files.running)
        assert len(running) == 2
        await ledger.move([moves.interrupted(file, NOW, POLICY) for file in running])
        assert await ledger.ask(files.running) == []
        after = await one(ledger, running[0].id)
        assert (after.interruptions, after.attempts, after.status) == (1, 0, Status.WAITING)
        assert "interrupted" in (await story(ledger, after.id))[-1][2]


async def test_the_oldest_open_file_is_told_by_feed(ledger: Ledger) -> None:
    assert await ledger.ask(reports.oldest_open) == {}
    first, second, parked, done = numbered(a_file(Stage.SHIP), 4)
    await plant(
        ledger,
        replace(first, first_seen_at=5.0),
        replace(second, first_seen_at=3.0, feed=OTHER.name, status=Status.RUNNING),
        replace(parked, first_seen_at=1.0, status=Status.PARKED),
        replace(done, first_seen_at=2.0, status=Status.DONE),
    )
    assert await ledger.ask(reports.oldest_open) == {FEED.name: 5.0, OTHER.name: 3.0}


async def test_counts_add_up(ledger: Ledger) -> None:
    await plant(ledger, *numbered(a_file(Stage.SHIP), 3))
    await ledger.claim(Stage.SHIP, 1, NOW, FEEDS)
    counts = {(c.feed, c.stage, c.status): c.files for c in await ledger.ask(reports.counts)}
    assert counts == {
        (FEED.name, Stage.SHIP, Status.WAITING): 2,
        (FEED.name, Stage.SHIP, Status.RUNNING): 1,
    }


async def test_a_root_is_told_while_a_file_of_its_feed_may_be_missed(ledger: Ledger) -> None:
    root = FeedMount(mount="/mnt/é", directory="/feed", real_path="/mnt/é/feed\udcff")
    await ledger.remember_root(FEED.name, root)
    await ledger.remember_root(OTHER.name, FeedMount(mount="/other"))
    other = {OTHER.name: FeedMount(mount="/other")}
    assert await ledger.feed_mounts() == {FEED.name: root, **other}
    (file,) = await plant(ledger, a_file(Stage.SHIP, Status.PARKED))
    assert await ledger.feed_mounts() == {FEED.name: replace(root, has_files=True), **other}
    moved = FeedMount(mount="/mnt/2", has_files=True)
    await ledger.remember_root(FEED.name, moved)
    assert await ledger.feed_mounts() == {FEED.name: moved, **other}
    await stand(ledger, file, local=False)
    assert await ledger.feed_mounts() == {FEED.name: FeedMount(mount="/mnt/2"), **other}
