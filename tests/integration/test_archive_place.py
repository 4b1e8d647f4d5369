"""What the ledger remembers of the archive's place, and who else ships there."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest
from structlog.testing import capture_logs

from backupd.core.places import new_mark
from backupd.core.stages import Stage
from backupd.worker import ArchivePlace
from support.archives import archive_section
from support.files import a_file
from support.ledgers import opened, plant

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from backupd.ledger import Ledger


@pytest.fixture
async def ledger(tmp_path: Path) -> AsyncIterator[Ledger]:
    (tmp_path / "archive").mkdir()
    async with opened(tmp_path / "ledger.db") as made:
        yield made


async def test_a_new_mark_is_remembered(tmp_path: Path, ledger: Ledger) -> None:
    place, mark = ArchivePlace(archive_section(tmp_path / "archive"), ledger), new_mark()
    await plant(ledger, a_file(Stage.SHIP))
    assert await place.known() == (None, [])
    await place.identified(mark)
    assert await place.known() == (mark, [])
    assert await ledger.place("archive") == mark
    place.close()


async def test_another_daemon_that_ships_there_is_told_of(tmp_path: Path, ledger: Ledger) -> None:
    first = ArchivePlace(archive_section(tmp_path / "archive"), ledger)
    await first.identified(new_mark())
    (tmp_path / "link").symlink_to(tmp_path / "archive")
    second = ArchivePlace(archive_section(tmp_path / "link"), ledger)
    with capture_logs() as logs:
        await second.identified(new_mark())
    (told,) = (entry for entry in logs if entry["log_level"] == "warning")
    assert told["pid"] == str(os.getpid())
    first.close()
    with capture_logs() as logs:
        await second.identified(new_mark())
    assert not [entry for entry in logs if entry["log_level"] == "warning"]
    second.close()
