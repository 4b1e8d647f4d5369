"""Which of two deliveries of one name is the first, on real SQLite."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest

from backupd.core import moves
from backupd.core.errors import PermanentError
from backupd.core.records import FileRecord, Result, Seen
from backupd.core.stages import UNSHIPPED, Stage, Status
from support.files import NOW, POLICY, a_file, a_sighting
from support.intake import an_identity
from support.ledgers import FEED, FEEDS, OTHER, WELL, files_of, looked_at, one, opened, plant, story

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from backupd.ledger import Ledger


@pytest.fixture
async def ledger(tmp_path: Path) -> AsyncIterator[Ledger]:
    async with opened(tmp_path / "ledger.db") as ledger:
        yield ledger


def counted(sha256: str = "ab" * 32, **changes: object) -> Result:
    """What manifest says of a file."""
    values: dict[str, Any] = {
        "sha256": sha256,
        "size_bytes": 10,
        "record_count": 1,
        "file_timestamp": NOW,
        "archive_name": "eLUX/traffic/eLUX_1.csv.gz",
        **changes,
    }
    return Result(changes=values, detail="1 records, 10 bytes")


async def delivered(ledger: Ledger, path: str = "/feed/eLUX_1.csv", **identity: int) -> FileRecord:
    """A file is seen, settles and is claimed by manifest."""
    seen_at = NOW + len(await files_of(ledger))  # so that ids tell which came first
    seen = a_sighting(path, feed=FEED, identity=an_identity(**identity), seen_at=seen_at)
    assert await looked_at(ledger, seen) == [Seen.NEW]
    file = (await files_of(ledger))[-1]
    ready = replace(moves.advance(file, WELL, NOW), stage=Stage.MANIFEST)
    assert await ledger.move([ready]) == [True]
    (claimed,) = await ledger.claim(Stage.MANIFEST, 1, NOW, FEEDS)
    return claimed


async def manifest(ledger: Ledger, file: FileRecord, sha256: str = "ab" * 32) -> FileRecord:
    """The manifest of a running file is done."""
    assert await ledger.manifest_done([moves.advance(file, counted(sha256), NOW)]) == [True]
    return await one(ledger, file.id)


async def stand(ledger: Ledger, file: FileRecord, **changes: object) -> FileRecord:
    """Make a file stand somewhere, as if all before had happened."""
    stage, status = changes.pop("stage", file.stage), changes.pop("status", file.status)
    assert isinstance(stage, Stage)
    assert isinstance(status, Status)
    move = moves.parked(file, "made so by the test", NOW)
    move = replace(move, stage=stage, status=status, changes=changes)
    assert await ledger.move([move]) == [True]
    return await one(ledger, file.id)


async def test_the_first_delivery_is_owed_a_load_under_its_own_name(ledger: Ledger) -> None:
    file = await manifest(ledger, await delivered(ledger))
    assert (file.stage, file.duplicate_of) == (Stage.LOAD, None)
    assert file.archive_name == "eLUX/traffic/eLUX_1.csv.gz"


async def test_the_same_name_and_content_again_is_a_duplicate_and_owes_only_cleanup(
    ledger: Ledger,
) -> None:
    first = await manifest(ledger, await delivered(ledger))
    await stand(ledger, first, stage=Stage.CLEANUP, status=Status.DONE, row_seen_at=NOW)
    second = await manifest(ledger, await delivered(ledger, ino=3))
    assert (second.stage, second.status) == (Stage.CLEANUP, Status.WAITING)
    assert (second.duplicate_of, second.awaits) == (first.id, "")
    third = await stand(ledger, second, status=Status.DONE)
    fourth = await manifest(ledger, await delivered(ledger, ino=4))
    assert fourth.duplicate_of == first.id != third.id


async def test_the_same_name_with_other_content_is_a_new_file_under_a_versioned_name(
    ledger: Ledger,
) -> None:
    first = await manifest(ledger, await delivered(ledger))
    await stand(ledger, first, stage=Stage.CLEANUP, status=Status.DONE, row_seen_at=NOW)
    second = await manifest(ledger, await delivered(ledger, ino=3), sha256="cd" * 32)
    assert (second.stage, second.duplicate_of) == (Stage.LOAD, None)
    assert second.archive_name == "eLUX/traffic/eLUX_1.csv.cdcdcdcd.gz"


async def test_the_same_name_in_another_feed_is_no_duplicate(ledger: Ledger) -> None:
    first = await manifest(ledger, await delivered(ledger))
    (other,) = await plant(
        ledger,
        replace(first, id="other", path="/other/eLUX_1.csv", feed=OTHER.name, sha256=None),
    )
    other = await stand(ledger, other, stage=Stage.MANIFEST, status=Status.RUNNING)
    assert (await manifest(ledger, other)).duplicate_of is None


async def test_a_duplicate_waits_for_its_original_and_is_woken_when_that_is_done(
    ledger: Ledger,
) -> None:
    first = await manifest(ledger, await delivered(ledger))
    first = await stand(ledger, first, stage=Stage.CLEANUP, status=Status.PARKED, row_seen_at=NOW)
    second = await manifest(ledger, await delivered(ledger, ino=3))
    assert second.awaits == "original"
    assert first.id in second.reason
    assert await ledger.claim(Stage.CLEANUP, 10, NOW + 1e9, FEEDS) == []
    await stand(ledger, await one(ledger, first.id), status=Status.DONE)
    (claimed,) = await ledger.claim(Stage.CLEANUP, 10, NOW, FEEDS)
    assert (claimed.id, claimed.awaits, claimed.reason) == (second.id, "", "")


async def test_nobody_is_a_duplicate_of_a_file_whose_content_left_no_trace(
    ledger: Ledger,
) -> None:
    first = await manifest(ledger, await delivered(ledger))
    await stand(ledger, first, status=Status.PARKED, local=False)
    second = await manifest(ledger, await delivered(ledger, ino=3))
    assert (second.stage, second.duplicate_of) == (Stage.LOAD, None)


@pytest.mark.parametrize("stage", UNSHIPPED)
async def test_content_that_was_lost_before_it_was_shipped_ships_when_delivered_again(
    ledger: Ledger, stage: Stage
) -> None:
    first = await manifest(ledger, await delivered(ledger))
    await stand(ledger, first, stage=stage, status=Status.PARKED, local=False, row_seen_at=NOW)
    second = await manifest(ledger, await delivered(ledger, ino=3))
    assert (second.duplicate_of, second.awaits) == (first.id, "original")
    (again,) = await ledger.claim(UNSHIPPED[0], 10, NOW, FEEDS)
    assert again.id == first.id
    assert "delivered again" in (await story(ledger, first.id))[-2][2]


async def test_a_file_held_by_hand_stays_so_when_its_content_is_delivered_again(
    ledger: Ledger,
) -> None:
    first = await manifest(ledger, await delivered(ledger))
    held = {"awaits": "release", "row_seen_at": NOW}
    await stand(ledger, first, stage=Stage.SHIP, status=Status.PARKED, **held)
    await manifest(ledger, await delivered(ledger, ino=3))
    assert (await one(ledger, first.id)).status is Status.PARKED


async def test_two_deliveries_of_one_file_that_are_counted_at_the_same_moment_make_one_row(
    ledger: Ledger,
) -> None:
    twins = [
        a_file(Stage.MANIFEST, Status.RUNNING, id=id_, local=id_ == "f1", attempts=1, claims=1)
        for id_ in ("f0", "f1")
    ]
    await plant(ledger, *twins)
    both = [moves.advance(file, counted(), NOW) for file in twins]
    assert await ledger.manifest_done(both) == [True, True]
    first, second = await files_of(ledger)
    assert (first.stage, second.stage) == (Stage.LOAD, Stage.CLEANUP)
    assert second.duplicate_of == first.id


async def test_a_registered_file_that_is_counted_again_is_no_duplicate_of_its_own_duplicates(
    ledger: Ledger,
) -> None:
    first = await manifest(ledger, await delivered(ledger))
    first = await stand(ledger, first, stage=Stage.CLEANUP, status=Status.DONE)
    second = await manifest(ledger, await delivered(ledger, ino=3))
    await stand(ledger, second, status=Status.DONE)
    first = await stand(ledger, first, stage=Stage.MANIFEST, status=Status.RUNNING)
    assert (await manifest(ledger, first)).duplicate_of is None


async def test_what_manifest_sends_back_or_parks_is_no_duplicate_of_anything(
    ledger: Ledger,
) -> None:
    first = await manifest(ledger, await delivered(ledger))
    await stand(ledger, first, stage=Stage.CLEANUP, status=Status.DONE)
    second = await delivered(ledger, ino=3)
    parked = moves.failed(second, PermanentError("bad gzip"), NOW, POLICY)
    assert await ledger.manifest_done([parked]) == [True]
    after = await one(ledger, second.id)
    assert (after.status, after.duplicate_of) == (Status.PARKED, None)
