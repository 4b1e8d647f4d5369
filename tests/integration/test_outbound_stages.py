"""What the carrier does again by itself, after a refusal that was the file's alone."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from backupd.carrier.outbound import OutboundStages
from backupd.carrier.wire import CarrierConfig
from backupd.core.errors import RefusedError
from backupd.core.records import Result
from backupd.core.stages import Stage
from backupd.stages import CleanupRules, ShipRules
from support.archives import archive_section
from support.fake_archive import FakeArchive
from support.files import registered, task_of

if TYPE_CHECKING:
    from pathlib import Path

REFUSED = RefusedError("Failure")


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "eLUX_1.csv"
    path.write_bytes(b"id\n1\n")
    return path


async def shipped(archive: FakeArchive, path: Path) -> Result:
    config = CarrierConfig(
        archive=archive_section(path.parent / "archive"),
        ship=ShipRules(compress=True),
        cleanup=CleanupRules(delete=True),
        directories=["traffic"],
    )
    outbound = OutboundStages(config, archive, lambda: None)
    result = await outbound.do(Stage.SHIP, task_of(registered(path)))
    assert isinstance(result, Result)
    return result


async def test_what_went_well_at_once_is_proven(path: Path) -> None:
    assert "proven_at" in (await shipped(FakeArchive(), path)).changes


@pytest.mark.parametrize("verb", ["flush", "checksum"])
async def test_what_was_named_before_the_refusal_is_found_and_looked_at_again(
    path: Path, verb: str
) -> None:
    archive = FakeArchive()
    archive.fail_next(verb, REFUSED)
    result = await shipped(archive, path)
    assert [verb for verb, _ in archive.calls].count("publish") == 2  # the file, and the canary
    assert result.receipt is not None
    assert "proven_at" not in result.changes
    assert not archive.parts
