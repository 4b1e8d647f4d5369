"""The source is never taken for its own copy, wherever the archive turns out to be."""

from __future__ import annotations

import contextlib
import hashlib
import subprocess
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING

import pytest

from backupd.archive import SendStream, open_archive
from backupd.config.sections import SftpArchiveSection
from backupd.core.archive_names import versioned
from backupd.core.errors import DependencyDownError, TransientError
from backupd.stages import FeedThreads, Ship, ShipRules
from support.archives import archive_section
from support.files import registered, task_of
from support.sshd import running_sshd

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator
    from pathlib import Path

    from backupd.core.ports import Archive
    from backupd.core.records import FileRecord, Receipt, Result

CONTENT = b"id;name\n1;a\n"
OTHER = versioned("d/a.csv", hashlib.sha256(CONTENT).hexdigest())


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """The archive's."""
    (tmp_path / "root").mkdir()
    return tmp_path / "root"


@pytest.fixture
def feed(tmp_path: Path) -> Path:
    """A feed's directory with one file."""
    (tmp_path / "feed").mkdir()
    (tmp_path / "feed/a.csv").write_bytes(CONTENT)
    return tmp_path / "feed"


@pytest.fixture(params=["local", "sftp", "sftp, read back"])
async def archive(
    request: pytest.FixtureRequest, tmp_path: Path, root: Path
) -> AsyncIterator[Archive]:
    """In `root`, here or by SFTP to this very host."""
    with contextlib.ExitStack() as stack:
        server = None
        if request.param != "local":
            server = stack.enter_context(running_sshd(tmp_path / "sshd"))
        section = archive_section(root, server)
        if isinstance(section, SftpArchiveSection) and "read back" in request.param:
            section = replace(section, verify="readback")
        opened = open_archive(section)
        yield opened
        await opened.aclose()


@contextlib.contextmanager
def bound(source: Path, target: Path) -> Iterator[None]:
    """Mount a directory, or a file, in another place too."""
    subprocess.run(["mount", "--bind", source, target], check=True)
    try:
        yield
    finally:
        subprocess.run(["umount", target], check=True)


def a_file(feed: Path, claims: int = 1, name: str = "d/a.csv") -> FileRecord:
    return registered(feed / "a.csv", archive_name=name, claims=claims)


async def ship(archive: Archive, file: FileRecord, receipt: Receipt | None = None) -> Result:
    rules = ShipRules(compress=False)
    stage = Ship(archive, partial(SendStream, level=1), FeedThreads("feeds"), rules)
    return await stage(task_of(file, receipt=receipt))


async def refused(archive: Archive, file: FileRecord, feed: Path) -> None:
    with pytest.raises(DependencyDownError, match="feed's own directory") as caught:
        await ship(archive, file)
    assert caught.value.dependency == "archive"
    assert str(feed) in str(caught.value)
    assert "archive_directory" in caught.value.hint
    assert {path.name: path.read_bytes() for path in feed.iterdir()} == {"a.csv": CONTENT}


@pytest.mark.parametrize("claims", [1, 2])
async def test_the_feeds_directory_mounted_in_the_archive(
    archive: Archive, root: Path, feed: Path, claims: int
) -> None:
    (root / "d").mkdir()
    with bound(feed, root / "d"):
        await refused(archive, a_file(feed, claims), feed)
        await refused(archive, a_file(feed, claims, name="d/b.csv"), feed)


@pytest.mark.parametrize("claims", [1, 2])
async def test_an_archive_whose_root_is_the_feeds_directory(
    archive: Archive, root: Path, claims: int
) -> None:
    (root / "a.csv").write_bytes(CONTENT)
    await refused(archive, a_file(root, claims, name="a.csv"), root)


async def test_a_file_with_a_receipt_whose_copy_turns_out_to_be_itself(
    archive: Archive, root: Path, feed: Path
) -> None:
    result = await ship(archive, a_file(feed))
    assert "still" in (await ship(archive, a_file(feed), result.receipt)).detail
    with bound(feed, root / "d"), pytest.raises(DependencyDownError, match="own directory"):
        await ship(archive, a_file(feed), result.receipt)
    file = a_file(feed)
    (feed / "a.csv").unlink()
    assert "still" in (await ship(archive, file, result.receipt)).detail


@pytest.mark.parametrize("claims", [1, 2])
async def test_a_link_to_the_source_under_the_archives_name(
    archive: Archive, root: Path, feed: Path, claims: int
) -> None:
    (root / "d").mkdir()
    (root / "d/a.csv").symlink_to(feed / "a.csv")
    result = await ship(archive, a_file(feed, claims))
    assert result.changes["archive_name"] == OTHER
    assert not (root / OTHER).samefile(feed / "a.csv")
    assert (root / OTHER).read_bytes() == CONTENT


@pytest.mark.parametrize("claims", [1, 2])
async def test_a_link_to_the_feeds_directory_in_the_archive(
    archive: Archive, root: Path, feed: Path, claims: int
) -> None:
    (root / "d").symlink_to(feed)
    with pytest.raises(TransientError, match="symbolic link"):
        await ship(archive, a_file(feed, claims))
    assert [path.name for path in feed.iterdir()] == ["a.csv"]


@pytest.mark.parametrize("archive", ["local"], indirect=True)
@pytest.mark.parametrize("claims", [1, 2])
@pytest.mark.parametrize("how", ["hard link", "mount"])
async def test_another_name_of_the_source_in_the_archive(
    archive: Archive, root: Path, feed: Path, claims: int, how: str
) -> None:
    (root / "d").mkdir()
    with contextlib.ExitStack() as stack:
        if how == "mount":
            (root / "d/a.csv").touch()
            stack.enter_context(bound(feed / "a.csv", root / "d/a.csv"))
        else:
            (root / "d/a.csv").hardlink_to(feed / "a.csv")
        result = await ship(archive, a_file(feed, claims))
        assert result.changes["archive_name"] == OTHER
        assert not (root / OTHER).samefile(feed / "a.csv")


async def test_the_same_content_in_a_file_of_its_own_is_a_copy(
    archive: Archive, root: Path, feed: Path
) -> None:
    (root / "d").mkdir()
    (root / "d/a.csv").write_bytes(CONTENT)
    result = await ship(archive, a_file(feed))
    assert result.changes["archive_name"] == "d/a.csv"
    assert [path.name for path in (root / "d").iterdir()] == ["a.csv"]
