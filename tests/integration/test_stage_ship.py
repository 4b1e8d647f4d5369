"""ship with real files and an archive in memory: whatever the archive does, nothing is lost."""

from __future__ import annotations

import gzip
import hashlib
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING
from unittest.mock import AsyncMock, Mock

import pytest

from backupd.archive.stream import SendStream
from backupd.core.archive_names import versioned
from backupd.core.errors import (
    LocalGoneError,
    NameTakenError,
    PermanentError,
    RefusedError,
    TransientError,
    UnknownOutcomeError,
)
from backupd.core.ports import Checksum
from backupd.core.records import Identity, Receipt, Result, VerifiedBy
from backupd.stages import FeedThreads, Ship, ShipRules
from support.fake_archive import FakeArchive
from support.files import NOW, registered, task_of

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from backupd.core.ports import Published
    from backupd.core.records import FileRecord

CONTENT = b"id;name\n1;a\n2;b\n" * 20_000
NAME = "eLUX/traffic/eLUX_1.csv.gz"
OTHER = versioned(NAME, hashlib.sha256(CONTENT).hexdigest())


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "eLUX_1.csv"
    path.write_bytes(CONTENT)
    return path


def shipper(archive: FakeArchive, *, compress: bool = True, keep_for: float = 0.0) -> Ship:
    stream = partial(SendStream, level=1)
    rules = ShipRules(compress=compress, keep_for=keep_for)
    return Ship(archive, stream, FeedThreads("feeds"), rules)


async def ship(archive: FakeArchive, file: FileRecord, receipt: Receipt | None = None) -> Result:
    return await shipper(archive)(task_of(file, receipt=receipt))


def holds(archive: FakeArchive, name: str) -> bytes:
    return gzip.decompress(archive.files[name])


def a_receipt(sha256: str, *, remote_sha256: str, verified_by: VerifiedBy) -> Receipt:
    return Receipt(
        file_id="f",
        archive_name=NAME,
        sha256=sha256,
        sent_sha256="cd" * 32,
        remote_sha256=remote_sha256,
        sent_bytes=1,
        verified_by=verified_by,
        flushed=True,
        shipped_at=NOW,
        verified_at=NOW,
    )


def receipt_in(result: Result) -> Receipt:
    assert result.receipt is not None
    return result.receipt


async def test_a_file_is_sent_verified_and_receipted(path: Path) -> None:
    archive = FakeArchive()
    result = await ship(archive, registered(path))
    assert holds(archive, NAME) == CONTENT
    assert not archive.parts
    receipt = receipt_in(result)
    assert receipt.archive_name == result.changes["archive_name"] == NAME
    assert receipt.sha256 == hashlib.sha256(CONTENT).hexdigest()
    stored = hashlib.sha256(archive.files[NAME]).hexdigest()
    assert receipt.sent_sha256 == receipt.remote_sha256 == stored
    assert receipt.sent_bytes == len(archive.files[NAME])
    assert (receipt.verified_by, receipt.flushed) == ("remote-sha256", True)
    assert receipt.named_by == "link"
    assert result.changes["identity"] == Identity.of(path.stat())


@pytest.mark.parametrize("content", [b"", b"a", b"id\n", bytes(range(256)) * 5_000])
@pytest.mark.parametrize("compress", [True, False])
async def test_what_arrives_is_what_was_there(path: Path, content: bytes, compress: bool) -> None:
    path.write_bytes(content)
    archive = FakeArchive()
    file = registered(path, archive_name=None)
    await shipper(archive, compress=compress)(task_of(file))
    (stored,) = archive.files.values()
    assert (gzip.decompress(stored) if compress else stored) == content


@pytest.mark.parametrize("ending", [".gz", ".GZ", ".gZ"])
async def test_a_gz_is_sent_as_it_is(path: Path, ending: str) -> None:
    gz = path.with_name(f"eLUX_1.csv{ending}")
    gz.write_bytes(gzip.compress(CONTENT, mtime=0))
    archive = FakeArchive()
    await ship(archive, registered(gz, archive_name=NAME))
    assert archive.files[NAME] == gz.read_bytes()


async def test_an_archive_that_does_not_flush_is_said_so_in_the_receipt(path: Path) -> None:
    assert not receipt_in(await ship(FakeArchive(flushes=False), registered(path))).flushed


# -- the name is taken ------------------------------------------------------------------------


async def test_the_same_content_under_the_name_counts_as_shipped(path: Path) -> None:
    archive = FakeArchive()
    first = receipt_in(await ship(archive, registered(path)))
    stored = dict(archive.files)
    for claims in (1, 2):
        receipt = receipt_in(await ship(archive, registered(path, claims=claims)))
        assert archive.files == stored
        assert receipt.remote_sha256 == first.remote_sha256
        assert receipt.verified_by is VerifiedBy.SAME_CONTENT
        assert receipt.evidence == "found there with the same content"


async def test_the_same_text_compressed_by_other_hands_counts_as_shipped(path: Path) -> None:
    archive = FakeArchive()
    archive.files[NAME] = gzip.compress(CONTENT, 9, mtime=0)
    receipt = receipt_in(await ship(archive, registered(path)))
    assert list(archive.files) == [NAME]
    assert receipt.archive_name == NAME
    assert receipt.remote_sha256 == hashlib.sha256(archive.files[NAME]).hexdigest()
    assert receipt.sent_sha256 != receipt.remote_sha256  # what would have been sent
    assert receipt.verified_by is VerifiedBy.SAME_CONTENT
    assert list(receipt.flaws(hashlib.sha256(CONTENT).hexdigest())) == []
    assert receipt.sent_bytes == len(archive.files[NAME])
    assert receipt.named_by == ""


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"no gzip",
        gzip.compress(b"other text", mtime=0),
        gzip.compress(CONTENT, mtime=0)[:-4],
        gzip.compress(CONTENT, mtime=0) + gzip.compress(b"more"),
    ],
    ids=["empty", "no gzip", "other text", "cut short", "more behind it"],
)
@pytest.mark.parametrize("claims", [1, 2])
async def test_other_content_under_the_name_is_never_written_over(
    path: Path, content: bytes, claims: int
) -> None:
    archive = FakeArchive()
    archive.files[NAME] = content
    receipt = receipt_in(await ship(archive, registered(path, claims=claims)))
    assert archive.files[NAME] == content
    assert receipt.archive_name == OTHER
    assert holds(archive, OTHER) == CONTENT


def test_a_receipt_without_a_sum_of_what_is_there_proves_nothing() -> None:
    sha256 = hashlib.sha256(CONTENT).hexdigest()
    for how in VerifiedBy:
        receipt = a_receipt(sha256, remote_sha256="", verified_by=how)
        assert list(receipt.flaws(sha256)) == ["what the archive holds is not what was sent"]


async def test_what_changes_between_its_sum_and_its_reading_does_not_count_as_shipped(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    archive = FakeArchive()
    archive.files[NAME] = gzip.compress(CONTENT, 9, mtime=0)
    earlier = Checksum(hashlib.sha256(b"what was there before").hexdigest(), VerifiedBy.READBACK)
    monkeypatch.setattr(archive, "checksum", AsyncMock(side_effect=[earlier]))
    with pytest.raises(StopAsyncIteration):  # it goes on to the other name, and asks there
        await ship(archive, registered(path))
    assert holds(archive, OTHER) == CONTENT


@pytest.mark.parametrize("there", [b"other", gzip.compress(CONTENT, 9, mtime=0)])
@pytest.mark.parametrize("claims", [1, 2])
async def test_a_temporary_file_that_was_not_removed_beside_a_taken_name_goes_in_the_same_try(
    path: Path, monkeypatch: pytest.MonkeyPatch, there: bytes, claims: int
) -> None:
    archive = FakeArchive()
    archive.files[NAME] = there
    monkeypatch.setattr(archive, "forget_part", Mock())
    await ship(archive, registered(path, claims=claims))
    assert not archive.parts


async def test_other_content_under_both_names_is_parked(path: Path) -> None:
    archive = FakeArchive()
    archive.files = {NAME: b"other", OTHER: b"another"}
    with pytest.raises(NameTakenError, match="holds other content as"):
        await ship(archive, registered(path))
    assert archive.files == {NAME: b"other", OTHER: b"another"}


async def test_where_the_versioned_name_would_be_too_long_the_file_is_parked(path: Path) -> None:
    archive = FakeArchive()
    long_name = "eLUX/traffic/" + "x" * 252 + ".gz"
    archive.files[long_name] = b"other"
    with pytest.raises(NameTakenError):
        await ship(archive, registered(path, archive_name=long_name))


# -- tried again ------------------------------------------------------------------------------


async def test_a_lost_answer_is_found_out_by_looking(path: Path) -> None:
    archive = FakeArchive()
    archive.lose_next_answer_to_publish()
    with pytest.raises(UnknownOutcomeError):
        await ship(archive, registered(path))
    archive.calls.clear()
    receipt = receipt_in(await ship(archive, registered(path, claims=2)))
    assert receipt.archive_name == NAME
    assert list(archive.files) == [NAME]
    assert "publish" not in {verb for verb, _ in archive.calls}


@pytest.mark.parametrize("verb", ["size", "checksum", "upload", "write", "publish"])
async def test_a_connection_lost_at_any_step_leaves_nothing_wrong(path: Path, verb: str) -> None:
    archive = FakeArchive()
    archive.fail_next(verb, TransientError("connection lost"))
    claims = 1 if verb != "size" else 2
    with pytest.raises(TransientError):
        await ship(archive, registered(path, claims=claims))
    receipt = receipt_in(await ship(archive, registered(path, claims=claims + 1)))
    assert receipt.archive_name == NAME
    assert holds(archive, NAME) == CONTENT
    assert list(archive.files) == [NAME]
    assert not archive.parts


async def test_what_an_earlier_try_left_is_removed_under_either_name(path: Path) -> None:
    archive = FakeArchive()
    archive.files[NAME] = b"other"
    file = registered(path, claims=4)
    for name in (NAME, OTHER):
        for claims in (1, 2, 3):
            archive.parts[name, f"{file.id}.{claims}"] = bytearray(b"half")
        archive.parts[name, "another-file.1"] = bytearray(b"not ours")
    await ship(archive, file)
    assert set(archive.parts) == {(NAME, "another-file.1"), (OTHER, "another-file.1")}


async def test_a_requeued_file_that_is_still_there_needs_no_local_copy(path: Path) -> None:
    archive = FakeArchive()
    file = registered(path)
    receipt = receipt_in(await ship(archive, file))
    path.unlink()
    result = await ship(archive, file, receipt)
    assert "still in the archive" in result.detail
    assert result.receipt is None


@pytest.mark.parametrize("harm", ["gone", "changed"])
async def test_a_requeued_file_whose_copy_was_harmed_is_sent_again(path: Path, harm: str) -> None:
    archive = FakeArchive()
    file = registered(path)
    receipt = receipt_in(await ship(archive, file))
    if harm == "gone":
        del archive.files[NAME]
    else:
        archive.files[NAME] = b"harmed"
    again = receipt_in(await ship(archive, replace(file, claims=2), receipt))
    assert holds(archive, again.archive_name) == CONTENT
    assert again.archive_name == (NAME if harm == "gone" else OTHER)


# -- something is wrong -----------------------------------------------------------------------


async def test_an_archive_that_holds_other_bytes_than_were_sent_proves_nothing(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    archive = FakeArchive()
    real = archive.publish

    def corrupt(name: str, part_id: str) -> Published:
        published = real(name, part_id)
        archive.files[name] = archive.files[name][:-1]
        return published

    monkeypatch.setattr(archive, "publish", corrupt)
    with pytest.raises(PermanentError, match="holds other bytes"):
        await ship(archive, registered(path))


async def test_a_file_that_is_gone_again_after_its_rename_is_tried_again(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    archive = FakeArchive()
    real = archive.publish

    def remove(name: str, part_id: str) -> Published:
        published = real(name, part_id)
        del archive.files[name]
        return published

    monkeypatch.setattr(archive, "publish", remove)
    with pytest.raises(TransientError, match="not there any more"):
        await ship(archive, registered(path))


@pytest.mark.parametrize(
    "act",
    [lambda path: path.write_bytes(b"other"), lambda path: path.write_bytes(b"")],
    ids=["other content", "emptied"],
)
@pytest.mark.parametrize("taken", [False, True])
async def test_local_content_that_changed_since_it_was_registered_is_never_published(
    path: Path, act: Callable[[Path], object], taken: bool
) -> None:
    archive = FakeArchive()
    before = {NAME: gzip.compress(b"older", mtime=0)} if taken else {}
    archive.files = dict(before)
    file = registered(path)
    act(path)
    with pytest.raises(LocalGoneError, match="changed after it was registered"):
        await ship(archive, file)
    assert archive.files == before
    assert not archive.parts


async def test_a_local_file_that_was_only_touched_is_sent_and_its_new_identity_noted(
    path: Path,
) -> None:
    file = registered(path)
    path.touch()
    result = await ship(FakeArchive(), file)
    assert result.changes["identity"] == Identity.of(path.stat()) != file.identity


async def test_a_local_file_that_vanished_is_gone(path: Path) -> None:
    file = registered(path)
    path.unlink()
    with pytest.raises(LocalGoneError, match="vanished"):
        await ship(FakeArchive(), file)


async def test_an_archive_without_room_says_so(path: Path) -> None:
    with pytest.raises(RefusedError):
        await ship(FakeArchive(free=10), registered(path))


async def test_a_file_is_kept_for_as_long_as_it_shall_be(path: Path) -> None:
    archive = FakeArchive()
    task = task_of(registered(path))
    result = await shipper(archive, keep_for=3600)(task)
    assert result.changes["awaits"] == "keep"
    again = await shipper(archive, keep_for=3600)(replace(task, receipt=result.receipt))
    assert again.changes["awaits"] == "keep"
