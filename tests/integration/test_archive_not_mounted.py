"""An archive on a disk that is not mounted, while files are on their way."""

from __future__ import annotations

import asyncio
import contextlib
import subprocess
from typing import TYPE_CHECKING

import pytest

from backupd.archive import marks, open_archive
from backupd.core.errors import BackupdError, DependencyDownError
from backupd.core.places import Witness
from support.archives import archive_section
from support.sshd import running_sshd

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator
    from pathlib import Path

    from backupd.core.ports import Archive


class Disk:
    """A mount on the archive's root, which can be taken away: another directory stands for it."""

    def __init__(self, content: Path, root: Path) -> None:
        self._content = content
        self._root = root

    def mount(self) -> None:
        """Put it there."""
        subprocess.run(["mount", "--bind", self._content, self._root], check=True)

    def unmount(self) -> None:
        """Take it away, whoever has a file of it open."""
        subprocess.run(["umount", "--lazy", self._root], check=True)


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Disk]:
    content, root = tmp_path / "content", tmp_path / "root"
    content.mkdir()
    root.mkdir()
    disk = Disk(content, root)
    disk.mount()
    yield disk
    with contextlib.suppress(subprocess.CalledProcessError):
        disk.unmount()


@pytest.fixture(params=["local", "sftp"])
async def archive(
    request: pytest.FixtureRequest,
    tmp_path: Path,
    disk: Disk,  # noqa: ARG001 -- mounted before it is looked at
) -> AsyncIterator[Archive]:
    with contextlib.ExitStack() as stack:
        server = None
        if request.param == "sftp":
            server = stack.enter_context(running_sshd(tmp_path / "sshd"))
        opened = open_archive(archive_section(tmp_path / "root", server))
        yield opened
        await opened.aclose()


async def ship(archive: Archive, name: str) -> str | None:
    """As the stage does: the receipt's sum."""
    async with archive.upload(name, "id.1", 7) as upload:
        await upload.write(b"content")
        await upload.publish()
    _, found = await asyncio.gather(archive.flush(name), archive.checksum(name))
    return found.sha256 if found else None


async def test_nothing_goes_to_the_mount_point(
    archive: Archive, disk: Disk, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(marks, "LOOK_KEPT", 0.0)
    mark = await archive.identify(None, ())
    assert await ship(archive, "d/a.csv")
    disk.unmount()
    for act in (ship(archive, "d/b.csv"), archive.size("d/a.csv"), archive.checksum("d/a.csv")):
        with pytest.raises(DependencyDownError, match="missing"):
            await act
    with pytest.raises(DependencyDownError, match="not the archive"):
        await archive.identify(None, [Witness("d/a.csv", 7)])
    with pytest.raises(DependencyDownError, match="missing") as caught:
        await archive.identify(mark, ())
    assert "findmnt -T" in caught.value.hint
    assert list((tmp_path / "root").iterdir()) == []
    disk.mount()
    assert await ship(archive, "d/b.csv")
    assert await archive.size("d/a.csv") == 7


async def test_no_receipt_is_made_for_what_went_to_the_mount_point(
    archive: Archive, disk: Disk
) -> None:
    await archive.identify(None, ())
    assert await ship(archive, "d/first.csv")
    shipped: list[str] = []
    well_under_way = asyncio.Event()

    async def keep_shipping(worker: int) -> None:
        for number in range(1000):
            name = f"d/{worker}.{number}.csv"
            if await ship(archive, name):
                shipped.append(name)
            if len(shipped) > 20:
                well_under_way.set()

    working = [asyncio.create_task(keep_shipping(worker)) for worker in range(8)]
    await well_under_way.wait()
    await asyncio.to_thread(disk.unmount)
    ended = await asyncio.gather(*working, return_exceptions=True)
    assert all(isinstance(each, BackupdError) for each in ended)
    disk.mount()
    sizes = [await archive.size(name) for name in shipped]
    assert sizes == [7] * len(shipped)
