"""ship of a file that is gone from this host: shipped if the archive has it, never otherwise."""

from __future__ import annotations

import gzip
from functools import partial
from typing import TYPE_CHECKING

import pytest

from backupd.archive.stream import SendStream
from backupd.core.archive_names import versioned
from backupd.core.errors import LocalGoneError
from backupd.core.records import VerifiedBy
from backupd.stages import FeedThreads, Ship, ShipRules
from support.fake_archive import FakeArchive
from support.files import registered, task_of

if TYPE_CHECKING:
    from pathlib import Path

    from backupd.core.records import FileRecord, Receipt

CONTENT = b"id;name\n1;a\n" * 2_000
NAME = "eLUX/traffic/eLUX_1.csv.gz"


@pytest.fixture
def gone(tmp_path: Path) -> FileRecord:
    path = tmp_path / "eLUX_1.csv"
    path.write_bytes(CONTENT)
    file = registered(path)
    path.unlink()
    return file


async def receipt_of(archive: FakeArchive, file: FileRecord, *, compress: bool = True) -> Receipt:
    stream = partial(SendStream, level=1)
    shipper = Ship(archive, stream, FeedThreads("feeds"), ShipRules(compress=compress))
    result = await shipper(task_of(file))
    assert result.receipt is not None
    return result.receipt


@pytest.mark.parametrize("level", [1, 9])
async def test_its_copy_is_recognised_by_its_content(gone: FileRecord, level: int) -> None:
    """A ledger that was restored does not know that it was shipped."""
    archive = FakeArchive()
    archive.files[NAME] = gzip.compress(CONTENT, level)
    receipt = await receipt_of(archive, gone)
    assert (receipt.archive_name, receipt.sha256) == (NAME, gone.sha256)
    assert receipt.verified_by is VerifiedBy.SAME_CONTENT
    assert receipt.sent_bytes == len(archive.files[NAME])
    assert not archive.parts


async def test_under_its_second_name_too(gone: FileRecord) -> None:
    archive = FakeArchive()
    other = versioned(NAME, gone.sha256 or "")
    archive.files |= {NAME: gzip.compress(b"other"), other: gzip.compress(CONTENT)}
    assert (await receipt_of(archive, gone)).archive_name == other


async def test_what_is_not_compressed_is_compared_as_it_is(gone: FileRecord) -> None:
    archive = FakeArchive()
    archive.files[NAME] = CONTENT
    assert (await receipt_of(archive, gone, compress=False)).archive_name == NAME


@pytest.mark.parametrize(
    "there", [None, b"", b"text", gzip.compress(CONTENT, mtime=0)[:-1], CONTENT]
)
async def test_nothing_else_counts(gone: FileRecord, there: bytes | None) -> None:
    archive = FakeArchive()
    if there is not None:
        archive.files[NAME] = there
    with pytest.raises(LocalGoneError, match="vanished"):
        await receipt_of(archive, gone)
