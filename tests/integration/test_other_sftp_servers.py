"""SFTP servers of other makers: what goes up comes back."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from backupd.archive import open_archive
from support.archives import archive_section
from support.sftp_servers import running_dropbear, running_proftpd, running_rclone

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from backupd.core.ports import Archive

SERVERS = {"rclone": running_rclone, "proftpd": running_proftpd, "dropbear": running_dropbear}


@pytest.fixture(params=SERVERS)
async def archive(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Archive]:
    with SERVERS[request.param](tmp_path / "server") as server:
        opened = open_archive(archive_section(Path(server.remote_root, "archive"), server))
        yield opened
        await opened.aclose()


async def test_a_file_goes_up_and_comes_back(archive: Archive) -> None:
    content = bytes(range(256)) * 4096
    async with archive.upload("d/a.csv", "1", len(content)) as upload:
        for start in range(0, len(content), 100_000):
            await upload.write(content[start : start + 100_000])
        await upload.publish()
    assert b"".join([block async for block in archive.contents("d/a.csv")]) == content
