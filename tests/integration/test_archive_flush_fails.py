"""An archive host whose disk fails right after a file got its name there."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from backupd.archive import open_archive
from backupd.core.errors import BackupdError
from support.archives import archive_section
from support.blocks import disk
from support.sshd import running_sshd

if TYPE_CHECKING:
    from pathlib import Path


async def test_a_flush_that_failed_is_not_taken_for_one_that_nobody_knows(tmp_path: Path) -> None:
    with (
        disk(tmp_path / "image", tmp_path / "disk", mib=24) as far,
        running_sshd(tmp_path / "sshd") as server,
    ):
        (far.place / "archive" / "d").mkdir(parents=True)
        archive = open_archive(archive_section(far.place / "archive", server))
        try:
            assert await archive.flush("d/a.csv.gz")
            far.cut_power()
            with pytest.raises(BackupdError):
                await archive.flush("d/a.csv.gz")
        finally:
            await archive.aclose()
            server.stop()
