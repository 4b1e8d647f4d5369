"""cleanup with real files: it deletes what is proven, and nothing else."""

from __future__ import annotations

import hashlib
import os
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from backupd.core.errors import (
    DependencyDownError,
    PermanentError,
    RewindError,
    TransientError,
)
from backupd.core.records import Receipt, Result, Task
from backupd.core.stages import Stage, Status
from backupd.stages import Cleanup, LocalFiles, proof_of
from support.fake_archive import FakeArchive
from support.files import NOW, registered
from support.intake import a_feed

if TYPE_CHECKING:
    from collections.abc import Callable

    from backupd.core.records import FileRecord

CONTENT = b"id;name\n1;a\n"
STORED = b"what the archive holds"


@pytest.fixture
def path(tmp_path: Path) -> Path:
    (tmp_path / "feed").mkdir()
    path = tmp_path / "feed" / "eLUX_1.csv"
    path.write_bytes(CONTENT)
    return path


def receipt_for(file: FileRecord, **changes: object) -> Receipt:
    values: dict[str, Any] = {
        "file_id": file.id,
        "archive_name": file.archive_name,
        "sha256": hashlib.sha256(CONTENT).hexdigest(),
        "sent_sha256": hashlib.sha256(STORED).hexdigest(),
        "remote_sha256": hashlib.sha256(STORED).hexdigest(),
        "sent_bytes": len(STORED),
        "verified_by": "readback",
        "flushed": True,
        "shipped_at": NOW,
        "verified_at": NOW,
        **changes,
    }
    return Receipt(**values)


def shipped(path: Path, **changes: object) -> Task:
    """A file that is proven to be safe elsewhere."""
    file = replace(registered(path, **changes), stage=Stage.CLEANUP)
    return Task(file=file, feed=a_feed(path.parent), receipt=receipt_for(file))


def duplicate(path: Path) -> Task:
    """The same file delivered again, whose original is done."""
    task = shipped(path)
    original = replace(task.file, id="f0", status=Status.DONE, local=False)
    file = replace(task.file, duplicate_of="f0", row_seen_at=None)
    return replace(task, file=file, original=original, receipt=receipt_for(original))


def holding(content: bytes | None = STORED) -> FakeArchive:
    archive = FakeArchive()
    if content is not None:
        archive.files["eLUX/traffic/eLUX_1.csv.gz"] = content
    return archive


async def clean(
    task: Task, *, archive: FakeArchive | None = None, delete: bool = True, why: str | None = None
) -> Result:
    stage = Cleanup(archive or holding(), LocalFiles(lambda _: why), delete=delete)
    return await stage(task)


async def test_a_proven_file_is_deleted_and_its_directory_stays(path: Path) -> None:
    result = await clean(shipped(path))
    assert not path.exists()
    assert path.parent.is_dir()
    assert result.changes == {"local": False}
    assert result.detail == "local copy deleted"


async def test_what_is_to_be_kept_is_kept(path: Path) -> None:
    result = await clean(shipped(path), delete=False)
    assert path.exists()
    assert result.changes == {}


# -- without proof ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    "spoil",
    [
        lambda task: replace(task, receipt=None),
        lambda task: replace(task, file=replace(task.file, row_seen_at=None)),
        lambda task: replace(task, receipt=replace(task.receipt, sha256="ab" * 32)),
        lambda task: replace(task, receipt=replace(task.receipt, remote_sha256="ab" * 32)),
        lambda task: replace(task, file=replace(task.file, sha256="ab" * 32)),
        lambda task: replace(task, file=replace(task.file, sha256=None)),
    ],
    ids=[
        "no receipt",
        "no row",
        "receipt of other content",
        "other bytes in the archive",
        "another file",
        "never hashed",
    ],
)
@pytest.mark.parametrize("delete", [True, False])
async def test_without_proof_nothing_is_deleted(
    path: Path, spoil: Callable[[Task], Task], delete: bool
) -> None:
    task = spoil(shipped(path))
    with pytest.raises(PermanentError, match="not deleted"):
        await clean(task, delete=delete)
    with pytest.raises(PermanentError):
        proof_of(task)
    assert path.exists()


# -- another file by now ----------------------------------------------------------------------


@pytest.mark.parametrize(
    "act",
    [
        lambda path: path.touch(),
        lambda path: path.chmod(0o600),
        lambda path: os.utime(path, (1, 1)),
        lambda path: (path.unlink(), path.write_bytes(CONTENT)),
    ],
    ids=["touched", "chmod", "older", "delivered again"],
)
async def test_the_same_content_is_deleted_whatever_its_times_say(
    path: Path, act: Callable[[Path], object]
) -> None:
    task = shipped(path)
    act(path)
    assert (await clean(task)).detail == "local copy deleted"
    assert not path.exists()


def to_symlink(path: Path) -> None:
    target = path.with_name("target")
    path.rename(target)
    path.symlink_to(target)


def to_fifo(path: Path) -> None:
    path.unlink()
    os.mkfifo(path)


def to_directory(path: Path) -> None:
    path.unlink()
    path.mkdir()


@pytest.mark.parametrize(
    "act",
    [
        lambda path: path.write_bytes(b"ID;NAME\n1;a\n"),
        lambda path: path.write_bytes(b""),
        lambda path: path.write_bytes(CONTENT + b"2;b\n"),
        to_symlink,
        to_fifo,
        to_directory,
    ],
    ids=["same size", "empty", "grown", "symlink", "fifo", "directory"],
)
async def test_another_file_in_its_place_is_left_alone_and_the_path_let_go(
    path: Path, act: Callable[[Path], object]
) -> None:
    task = shipped(path)
    act(path)
    before = path.lstat()
    result = await clean(task)
    assert path.lstat() == before
    assert result.changes == {"local": False}
    assert "not deleted" in result.detail


async def test_another_file_of_another_size_is_not_read(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def read(*_: object) -> bytes:
        pytest.fail("it was read, and may be huge")

    task = shipped(path)
    path.write_bytes(CONTENT * 2)
    monkeypatch.setattr(os, "read", read)
    result = await clean(task)
    assert path.exists()
    assert "another file stands in its place" in result.detail


async def test_a_file_that_changes_while_it_is_compared_is_left_alone(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    task = shipped(path)
    path.touch()
    real = os.read

    def read_and_write(fd: int, size: int) -> bytes:
        block = real(fd, size)
        if not block:
            path.write_bytes(b"other")
        return block

    monkeypatch.setattr(os, "read", read_and_write)
    assert "not deleted" in (await clean(task)).detail
    assert path.read_bytes() == b"other"


async def test_a_file_that_is_gone_already_counts_as_removed(path: Path) -> None:
    task = shipped(path)
    path.unlink()
    assert (await clean(task)).detail == "the local copy was gone already"


async def test_while_its_feed_is_away_nothing_is_said_to_be_gone(path: Path) -> None:
    task = shipped(path)
    path.unlink()
    with pytest.raises(DependencyDownError):
        await clean(task, why="unmounted")


async def test_what_cannot_be_deleted_is_tried_again_with_a_hint(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    task = shipped(path)

    def refuse(*_: object, **__: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "unlink", refuse)
    with pytest.raises(TransientError, match="cannot delete") as caught:
        await clean(task)
    assert "right to write" in caught.value.hint


# -- companions -------------------------------------------------------------------------------


def companion_of(path: Path, text: str = "1 12 eLUX_1.csv\n") -> tuple[Path, dict[str, object]]:
    companion = path.with_suffix(".cksum")
    companion.write_text(text)
    return companion, {"companion_path": str(companion), "companion_text": text}


async def test_the_companion_goes_with_its_file(path: Path) -> None:
    companion, known = companion_of(path)
    await clean(shipped(path, **known))
    assert not companion.exists()


async def test_the_companion_goes_though_the_file_was_gone_already(path: Path) -> None:
    companion, known = companion_of(path)
    task = shipped(path, **known)
    path.unlink()
    await clean(task)
    assert not companion.exists()


@pytest.mark.parametrize("act", ["changed", "symlink", "never read", "kept file", "other file"])
async def test_a_companion_that_is_not_the_one_that_was_read_stays(path: Path, act: str) -> None:
    companion, known = companion_of(path)
    if act == "never read":
        known["companion_text"] = None
    task = shipped(path, **known)
    if act == "changed":
        companion.write_text("2 13 eLUX_1.csv\n")
    if act == "symlink":
        companion.rename(path.with_name("target"))
        companion.symlink_to(path.with_name("target"))
    if act == "other file":
        path.write_bytes(b"other")
    await clean(task, delete=act != "kept file")
    assert companion.exists()


async def test_a_companion_with_odd_bytes_is_known_again(path: Path) -> None:
    companion = path.with_suffix(".cksum")
    companion.write_bytes(b"1 12 caf\xe9\n")
    known = {"companion_path": str(companion), "companion_text": "1 12 caf\\xe9\n"}
    await clean(shipped(path, **known))
    assert not companion.exists()


# -- duplicates -------------------------------------------------------------------------------


async def test_a_duplicate_is_deleted_once_the_archive_copy_was_looked_at_again(
    path: Path,
) -> None:
    archive = holding()
    await clean(duplicate(path), archive=archive)
    assert not path.exists()
    assert archive.calls == [("checksum", "eLUX/traffic/eLUX_1.csv.gz")]


@pytest.mark.parametrize("content", [None, b"harmed"])
@pytest.mark.parametrize("delete", [True, False])
async def test_a_duplicate_whose_archive_copy_is_gone_or_harmed_stays(
    path: Path, content: bytes | None, delete: bool
) -> None:
    with pytest.raises(PermanentError, match="a duplicate of f0, whose archive copy") as caught:
        await clean(duplicate(path), archive=holding(content), delete=delete)
    assert "requeue f0 from ship" in caught.value.hint
    assert path.exists()


async def test_a_duplicate_whose_original_was_never_registered_stays(path: Path) -> None:
    task = duplicate(path)
    assert task.original
    with pytest.raises(PermanentError, match="no proof"):
        await clean(replace(task, original=replace(task.original, row_seen_at=None)))
    assert path.exists()


async def test_a_duplicate_waits_for_its_original_however_it_came_here(path: Path) -> None:
    task = duplicate(path)
    assert task.original
    waiting = replace(task, original=replace(task.original, status=Status.PARKED))
    with pytest.raises(RewindError, match="waits until that one is done") as caught:
        await clean(waiting)
    assert caught.value.stage is Stage.CLEANUP
    assert caught.value.changes["awaits"] == "original"
    assert path.exists()


async def test_while_the_archive_is_down_a_duplicate_waits(path: Path) -> None:
    archive = holding()
    archive.down = DependencyDownError("archive", "refused")
    with pytest.raises(DependencyDownError):
        await clean(duplicate(path), archive=archive)
    assert path.exists()
