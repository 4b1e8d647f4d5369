"""Files that can never go on come to their end, and nothing leans on them. On real SQLite."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest

from backupd.control import actions
from backupd.core import moves
from backupd.core.errors import LocalGoneError
from backupd.core.records import FileRecord, Move, Receipt, Result, Seen, VerifiedBy
from backupd.core.stages import BATCHED, UNSHIPPED, Awaits, Stage, Status
from backupd.ledger import files, incidents
from support.files import NOW, POLICY, a_file, a_sighting
from support.intake import an_identity
from support.ledgers import FEED, FEEDS, files_of, looked_at, one, opened, plant, story

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from backupd.ledger import Ledger

PATH = "/feed/eLUX_1.csv"
SAME, OTHER = "ab" * 32, "cd" * 32
VANISHED = "vanished before it was shipped (deliver it again: it will be a new file)"


@pytest.fixture
async def ledger(tmp_path: Path) -> AsyncIterator[Ledger]:
    async with opened(tmp_path / "ledger.db") as ledger:
        yield ledger


def parked(stage: Stage, **changes: Any) -> FileRecord:  # noqa: ANN401 -- any field
    """A parked file, in trouble; from manifest on its content is known."""
    known = {} if stage is Stage.SETTLE else {"sha256": SAME, "size_bytes": 10, "record_count": 1}
    values = {"path": PATH, "reason": "odd", "trouble": "odd", **known, **changes}
    return a_file(stage, Status.PARKED, **values)


def receipt_for(file: FileRecord) -> Receipt:
    return Receipt(
        file_id=file.id,
        archive_name="a.gz",
        sha256=SAME,
        sent_sha256="5e" * 32,
        remote_sha256="5e" * 32,
        sent_bytes=40,
        verified_by=VerifiedBy.READBACK,
        flushed=True,
        shipped_at=NOW,
        verified_at=NOW,
    )


async def with_receipt(ledger: Ledger, file: FileRecord) -> FileRecord:
    """The file as it stands, once it was shipped."""
    (planted,) = await plant(ledger, replace(file, stage=Stage.SHIP))
    move = Move(
        file=planted,
        stage=file.stage,
        status=file.status,
        changes={},
        at=NOW,
        detail="shipped",
        receipt=receipt_for(file),
    )
    assert await ledger.move([move]) == [True]
    return await one(ledger, file.id)


async def delivered_again(ledger: Ledger, ino: int = 3) -> FileRecord:
    """Another file is seen at the path."""
    seen = a_sighting(PATH, feed=FEED, identity=an_identity(ino=ino), seen_at=NOW + ino)
    assert await looked_at(ledger, seen) == [Seen.NEW]
    return next(file for file in await files_of(ledger) if file.identity == seen.identity)


async def counted(ledger: Ledger, file: FileRecord, sha256: str = SAME) -> FileRecord:
    """It settles, and manifest is done with it."""
    ready = replace(moves.advance(file, Result(changes={}, detail=""), NOW), stage=Stage.MANIFEST)
    assert await ledger.move([ready]) == [True]
    return await manifest(ledger, file, sha256)


async def manifest(ledger: Ledger, file: FileRecord, sha256: str = SAME) -> FileRecord:
    claimed = await ledger.claim(Stage.MANIFEST, 10, NOW + 100, FEEDS)
    (running,) = (each for each in claimed if each.id == file.id)
    content = {
        "sha256": sha256,
        "size_bytes": 10,
        "record_count": 1,
        "file_timestamp": NOW,
        "archive_name": "eLUX/traffic/eLUX_1.csv.gz",
    }
    result = Result(changes=content, detail="counted")
    assert await ledger.manifest_done([moves.advance(running, result, NOW)]) == [True]
    return await one(ledger, file.id)


async def dismissed(ledger: Ledger, file: FileRecord) -> FileRecord:
    (answer,) = await actions.dismiss(ledger, [file.id], "not wanted", NOW)
    assert answer.done
    return await one(ledger, file.id)


# -- delivered again -------------------------------------------------------------------------------


@pytest.mark.parametrize("stage", [each for each in Stage if each is not Stage.SHIP])
@pytest.mark.parametrize("local", [True, False])
@pytest.mark.parametrize("awaits", [Awaits.NOTHING, Awaits.RELEASE])
async def test_a_later_delivery_closes_what_can_never_go_on(
    ledger: Ledger,
    stage: Stage,
    local: bool,
    awaits: Awaits,
) -> None:
    (file,) = await plant(ledger, parked(stage, local=local, awaits=awaits))
    again = await delivered_again(ledger)
    after = await one(ledger, file.id)
    assert (after.stage, after.status, after.local) == (Stage.CLEANUP, Status.DONE, False)
    assert after.reason == f"closed: delivered again as {again.id}"
    assert (await story(ledger, file.id))[-1] == ("cleanup", "done", after.reason)
    assert not (await ledger.ask(incidents.troubles)).parked
    assert await ledger.ask(files.not_done) == 1  # the new one


async def test_all_that_vanished_from_one_path_are_closed_and_no_others(ledger: Ledger) -> None:
    lost = [parked(Stage.SETTLE, id=f"f{n}", local=False) for n in range(3)]
    others = [
        parked(Stage.SETTLE, id="f3", path="/feed/eLUX_2.csv"),
        a_file(Stage.CLEANUP, Status.DONE, id="f4", path=PATH, local=False, done_at=NOW),
    ]
    await plant(ledger, *lost, *others)
    await delivered_again(ledger)
    status = {file.id: (file.status, file.is_closed) for file in await files_of(ledger)}
    assert {status[f"f{n}"] for n in range(3)} == {(Status.DONE, True)}
    assert (status["f3"], status["f4"]) == ((Status.PARKED, False), (Status.DONE, False))


@pytest.mark.parametrize("local", [True, False])
async def test_a_registered_file_stays_until_the_content_of_the_new_one_is_known(
    ledger: Ledger,
    local: bool,
) -> None:
    (file,) = await plant(ledger, parked(Stage.SHIP, local=local, row_seen_at=NOW))
    again = await delivered_again(ledger)
    assert (await one(ledger, file.id)).status is Status.PARKED
    duplicate = await counted(ledger, again, SAME)
    assert (duplicate.duplicate_of, duplicate.awaits) == (file.id, "original")
    after = await one(ledger, file.id)
    assert (after.stage, after.status) == (UNSHIPPED[0], Status.WAITING)


@pytest.mark.parametrize("local", [True, False])
async def test_a_registered_file_is_closed_by_other_content(
    ledger: Ledger,
    local: bool,
) -> None:
    (file,) = await plant(ledger, parked(Stage.SHIP, local=local, row_seen_at=NOW))
    again = await counted(ledger, await delivered_again(ledger), OTHER)
    assert (again.stage, again.archive_name) == (
        Stage.LOAD,
        "eLUX/traffic/eLUX_1.csv.cdcdcdcd.gz",
    )
    after = await one(ledger, file.id)
    assert (after.status, after.is_closed) == (Status.DONE, True)
    assert f"delivered again with other content as {again.id}" in after.reason
    assert "registered and never shipped" in after.reason


async def test_a_registered_file_that_is_held_is_not_closed_by_other_content(
    ledger: Ledger,
) -> None:
    held = parked(Stage.SHIP, row_seen_at=NOW, awaits=Awaits.RELEASE)
    await plant(ledger, held)
    await counted(ledger, await delivered_again(ledger), OTHER)
    assert (await one(ledger, held.id)).status is Status.PARKED


async def test_a_registered_file_whose_own_path_still_holds_it_is_not_closed(
    ledger: Ledger,
) -> None:
    moved_away = parked(Stage.SHIP, row_seen_at=NOW, path="/old/eLUX_1.csv")
    await plant(ledger, moved_away)
    await counted(ledger, await delivered_again(ledger), OTHER)
    assert (await one(ledger, moved_away.id)).status is Status.PARKED


# -- duplicates of what was closed -----------------------------------------------------------------


@pytest.mark.parametrize("stage", sorted(BATCHED))
async def test_a_duplicate_that_waits_for_a_dismissed_file_becomes_a_file_of_its_own(
    ledger: Ledger, stage: Stage
) -> None:
    (first,) = await plant(ledger, parked(stage, path="/old/eLUX_1.csv"))
    waiting = await counted(ledger, await delivered_again(ledger))
    assert (waiting.duplicate_of, waiting.awaits) == (first.id, "original")
    await dismissed(ledger, first)
    freed = await one(ledger, waiting.id)
    assert (freed.stage, freed.status, freed.duplicate_of) == (Stage.MANIFEST, "waiting", None)
    assert first.id in (await story(ledger, waiting.id))[-1][2]
    own = await manifest(ledger, freed)
    assert (own.stage, own.duplicate_of, own.awaits) == (Stage.LOAD, None, "")


async def test_of_several_duplicates_one_becomes_the_file_and_the_others_wait_for_it(
    ledger: Ledger,
) -> None:
    (first,) = await plant(ledger, parked(Stage.LOAD, path="/old/eLUX_1.csv"))
    waiting = a_file(Stage.CLEANUP, duplicate_of=first.id, awaits=Awaits.ORIGINAL, sha256=SAME)
    twins = [replace(waiting, id=f"g{n}", path=f"/{n}/eLUX_1.csv") for n in range(3)]
    await plant(ledger, *twins)
    await dismissed(ledger, first)
    claimed = await ledger.claim(Stage.MANIFEST, 10, NOW + 100, FEEDS)
    content = {"sha256": SAME, "archive_name": "a.gz"}
    result = Result(changes=content, detail="counted")
    await ledger.manifest_done([moves.advance(each, result, NOW) for each in claimed])
    after = [await one(ledger, twin.id) for twin in twins]
    owner = next(each for each in after if each.duplicate_of is None)
    assert owner.stage is Stage.LOAD
    assert [each.duplicate_of for each in after if each.id != owner.id] == [owner.id] * 2


@pytest.mark.parametrize("awaits", [Awaits.NOTHING, Awaits.RELEASE])
async def test_a_parked_duplicate_of_a_dismissed_file_stays_so_and_is_read_when_it_is_taken_back(
    ledger: Ledger,
    awaits: Awaits,
) -> None:
    (first,) = await plant(ledger, parked(Stage.LOAD, path="/old/eLUX_1.csv"))
    waits = parked(Stage.CLEANUP, id="g1", duplicate_of=first.id, awaits=awaits)
    await plant(ledger, waits)
    await dismissed(ledger, first)
    after = await one(ledger, waits.id)
    assert (after.stage, after.status, after.duplicate_of) == (Stage.MANIFEST, "parked", None)
    assert (after.reason, after.trouble, after.awaits) == ("odd", "odd", awaits)


async def test_a_later_duplicate_of_a_dismissed_file_is_a_file_of_its_own(
    ledger: Ledger,
) -> None:
    (first,) = await plant(ledger, parked(Stage.LOAD))
    await dismissed(ledger, first)
    own = await counted(ledger, await delivered_again(ledger))
    assert (own.stage, own.duplicate_of) == (Stage.LOAD, None)
    assert own.archive_name == "eLUX/traffic/eLUX_1.csv.gz"


@pytest.mark.parametrize("waits", [True, False])
async def test_a_dismissed_file_with_a_row_ships_what_is_delivered_again(
    ledger: Ledger,
    waits: bool,
) -> None:
    held = parked(Stage.SHIP, row_seen_at=NOW, awaits=Awaits.RELEASE)
    (first,) = await plant(ledger, held)
    if waits:
        again = await counted(ledger, await delivered_again(ledger))
        assert again.awaits == "original"
        await dismissed(ledger, first)
        await manifest(ledger, again)
    else:
        await dismissed(ledger, first)
        again = await counted(ledger, await delivered_again(ledger))
    duplicate, original = await one(ledger, again.id), await one(ledger, first.id)
    assert (duplicate.duplicate_of, duplicate.awaits) == (first.id, "original")
    assert (original.stage, original.status, original.is_closed) == (UNSHIPPED[0], "waiting", False)


async def test_a_shipped_file_that_is_parked_is_closed_by_a_later_delivery_and_carries_it(
    ledger: Ledger,
) -> None:
    first = await with_receipt(ledger, parked(Stage.CLEANUP, row_seen_at=NOW))
    again = await counted(ledger, await delivered_again(ledger))
    assert (await one(ledger, first.id)).is_closed
    assert (again.stage, again.duplicate_of, again.awaits) == (Stage.CLEANUP, first.id, "")


@pytest.mark.parametrize("stage", UNSHIPPED)
async def test_a_duplicate_is_read_anew_when_the_first_file_loses_its_content_once_more(
    ledger: Ledger, stage: Stage
) -> None:
    (first,) = await plant(ledger, parked(stage, row_seen_at=NOW, local=False))
    again = await counted(ledger, await delivered_again(ledger))
    assert again.awaits == "original"
    (running,) = await ledger.claim(UNSHIPPED[0], 1, NOW, [first.feed])
    assert await ledger.move([moves.failed(running, LocalGoneError("vanished"), NOW, POLICY)])
    freed = await one(ledger, again.id)
    assert (freed.stage, freed.duplicate_of, freed.awaits) == (Stage.MANIFEST, None, "")


async def test_a_later_duplicate_of_a_dismissed_file_that_is_proven_leans_on_it(
    ledger: Ledger,
) -> None:
    first = await with_receipt(ledger, parked(Stage.CLEANUP, row_seen_at=NOW))
    await dismissed(ledger, first)
    again = await counted(ledger, await delivered_again(ledger))
    assert (again.stage, again.duplicate_of, again.awaits) == (Stage.CLEANUP, first.id, "")
    assert (await one(ledger, first.id)).is_closed


async def test_what_was_done_without_shipping_carries_its_duplicates_as_ever(
    ledger: Ledger,
) -> None:
    """In dev nothing is shipped."""
    done = a_file(Stage.CLEANUP, Status.DONE, path=PATH, sha256=SAME, done_at=NOW, row_seen_at=NOW)
    await plant(ledger, done)
    again = await counted(ledger, await delivered_again(ledger))
    assert (again.stage, again.duplicate_of, again.awaits) == (Stage.CLEANUP, done.id, "")


# -- what older versions left ----------------------------------------------------------------------


async def a_done_file(ledger: Ledger, **changes: Any) -> FileRecord:  # noqa: ANN401 -- any field
    values = {"id": "real", "path": PATH, "local": False, "done_at": NOW, "row_seen_at": NOW}
    file = a_file(Stage.CLEANUP, Status.DONE, sha256=SAME, **{**values, **changes})
    return await with_receipt(ledger, file)


async def test_a_phantom_of_an_older_version_is_closed_at_the_start(ledger: Ledger) -> None:
    real = await a_done_file(ledger)
    phantom = parked(Stage.SETTLE, local=False, reason=VANISHED, identity=an_identity(ctime_ns=99))
    await plant(ledger, phantom)
    assert await ledger.set_right(NOW) == 1
    after = await one(ledger, phantom.id)
    assert (after.status, after.trouble) == (Status.DONE, "")
    assert f"it never was a file of its own, but {real.id}" in after.reason
    assert (await story(ledger, phantom.id))[-1][2] == after.reason
    assert await ledger.set_right(NOW) == 0


@pytest.mark.parametrize(
    "other",
    [
        {"identity": an_identity(ino=3)},
        {"identity": an_identity(size=11)},
        {"identity": an_identity(mtime_ns=1)},
        {"path": "/feed/eLUX_2.csv"},
        {"reason": "its name is not UTF-8"},
        {"local": True},
        {"stage": Stage.MANIFEST},
    ],
)
async def test_what_may_have_been_a_file_of_its_own_stays_parked(
    ledger: Ledger, other: dict[str, Any]
) -> None:
    await a_done_file(ledger)
    suspect = parked(**{"stage": Stage.SETTLE, "local": False, "reason": VANISHED, **other})
    await plant(ledger, suspect)
    assert await ledger.set_right(NOW) == 0
    assert (await one(ledger, suspect.id)).status is Status.PARKED


async def test_a_phantom_of_a_file_without_a_receipt_stays_parked(ledger: Ledger) -> None:
    await plant(
        ledger,
        a_file(Stage.CLEANUP, Status.DONE, id="real", path=PATH, local=False, done_at=NOW),
        parked(Stage.SETTLE, local=False, reason=VANISHED),
    )
    assert await ledger.set_right(NOW) == 0


async def test_a_phantom_of_a_duplicate_leans_on_the_originals_receipt(ledger: Ledger) -> None:
    await a_done_file(ledger, path="/old/eLUX_1.csv")
    twin = {"duplicate_of": "real", "sha256": SAME, "local": False, "done_at": NOW}
    await plant(
        ledger,
        a_file(Stage.CLEANUP, Status.DONE, id="twin", path=PATH, **twin),
        parked(Stage.SETTLE, local=False, reason=VANISHED),
    )
    assert await ledger.set_right(NOW) == 1


async def test_no_proof_outlives_the_process_that_saw_it(ledger: Ledger) -> None:
    proven = [
        a_file(Stage.CLEANUP, id="f1", path="/feed/1", proven_at=NOW),
        a_file(Stage.CLEANUP, id="f2", path="/feed/2", proven_at=NOW, awaits=Awaits.KEEP),
    ]
    await plant(ledger, *proven)
    await ledger.set_right(NOW)
    assert [file.proven_at for file in await files_of(ledger)] == [None, None]
