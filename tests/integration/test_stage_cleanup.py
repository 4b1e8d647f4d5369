"""cleanup with real files: it deletes what is proven, and nothing else."""

from __future__ import annotations

import errno
import hashlib
import os
import socket
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from backupd.core import threads
from backupd.core.errors import (
    DependencyDownError,
    PermanentError,
    RewindError,
    TransientError,
)
from backupd.core.names import aside_name
from backupd.core.records import Receipt
from backupd.core.stages import Stage, Status
from backupd.localfs import syscalls
from backupd.localfs.directory import Directory
from backupd.localfs.leases import Writers
from backupd.stages import Cleanup, CleanupRules, FeedThreads, cleanup, proof_of
from support.fake_archive import FakeArchive
from support.files import NOW, registered, task_of
from support.intake import a_feed

if TYPE_CHECKING:
    from collections.abc import Callable

    from backupd.core.records import FileRecord, Result, Task

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
    return task_of(file, receipt=receipt_for(file), is_proven=True)


def duplicate(path: Path) -> Task:
    """The same file delivered again, whose original is done."""
    task = shipped(path)
    original = replace(task.file, id="f0", status=Status.DONE, local=False)
    file = replace(task.file, duplicate_of="f0", row_seen_at=None)
    receipt = receipt_for(original)
    return replace(task, file=file, original=original, receipt=receipt, is_proven=False)


def holding(content: bytes | None = STORED) -> FakeArchive:
    archive = FakeArchive()
    if content is not None:
        archive.files["eLUX/traffic/eLUX_1.csv.gz"] = content
    return archive


async def clean(task: Task, *, archive: FakeArchive | None = None, delete: bool = True) -> Result:
    return await Cleanup(archive or holding(), FeedThreads("feeds"), CleanupRules(delete=delete))(
        task
    )


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


def deliver_again(path: Path) -> None:
    path.unlink()
    path.write_bytes(CONTENT)


@pytest.mark.parametrize(
    "act",
    [
        lambda path: path.touch(),
        lambda path: path.chmod(0o600),
        lambda path: os.utime(path, (1, 1)),
        deliver_again,
    ],
    ids=["touched", "chmod", "older", "delivered again"],
)
@pytest.mark.parametrize("step", [0.0, 3600.0], ids=["slow", "fast"])
async def test_the_same_content_is_deleted_whatever_its_times_say(
    path: Path, act: Callable[[Path], object], step: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(threads, "STEP", step)
    monkeypatch.setattr(threads, "_CHUNK", 5)
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
    path.parent.rename(path.parent.with_name("elsewhere"))
    with pytest.raises(DependencyDownError, match="unavailable"):
        await clean(task)


async def test_what_cannot_be_deleted_is_tried_again_with_a_hint(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    task = shipped(path)

    def refuse(*_: object, **__: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(syscalls, "rename_without_replacing", refuse)
    with pytest.raises(TransientError, match="cannot delete") as caught:
        await clean(task)
    assert "right to write" in caught.value.hint


async def test_on_a_full_disk_it_waits_until_there_is_room_to_move_it_aside(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    task = shipped(path)

    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(syscalls, "rename_without_replacing", full)
        with pytest.raises(RewindError, match="too full") as caught:
            await clean(task)
    assert caught.value.stage is Stage.CLEANUP
    assert (await clean(task)).detail == "local copy deleted"


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


@pytest.mark.parametrize(
    "act", ["changed", "symlink", "socket", "directory", "never read", "kept file", "other file"]
)
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
    if act == "socket":
        companion.unlink()
        with socket.socket(socket.AF_UNIX) as bound:
            bound.bind(str(companion))
    if act == "directory":
        companion.unlink()
        companion.mkdir()
    if act == "other file":
        path.write_bytes(b"other")
    await clean(task, delete=act != "kept file")
    assert companion.exists()


@pytest.mark.parametrize("act", [deliver_again, Path.touch], ids=["delivered again", "touched"])
async def test_a_file_that_came_again_before_its_companion_is_left_for_it(
    path: Path, act: Callable[[Path], object]
) -> None:
    companion, known = companion_of(path)
    task = shipped(path, **known)
    companion.unlink()
    act(path)
    result = await clean(task)
    assert result.detail == "not deleted: another file stands in its place by now"
    assert path.exists()


async def test_a_file_that_came_again_with_its_companion_goes(path: Path) -> None:
    companion, known = companion_of(path)
    task = shipped(path, **known)
    deliver_again(path)
    assert (await clean(task)).detail == "local copy deleted"
    assert not companion.exists()


async def test_a_companion_with_odd_bytes_is_known_again(path: Path) -> None:
    companion = path.with_suffix(".cksum")
    companion.write_bytes(b"1 12 caf\xe9\n")
    known = {"companion_path": str(companion), "companion_text": "1 12 caf\\xe9\n"}
    await clean(shipped(path, **known))
    assert not companion.exists()


# What a disk or a kernel answers for a while, to whichever step of the companion's removal.
PASSING = [errno.EIO, errno.ENOSPC, errno.EBUSY, errno.EINTR, errno.EMFILE, errno.EROFS]


@pytest.mark.parametrize("number", PASSING, ids=errno.errorcode.__getitem__)
@pytest.mark.parametrize(
    ("where", "step"),
    [
        (cleanup, "open_file"),
        (syscalls, "rename_without_replacing"),
        (Directory, "unlink"),
        (Directory, "stat"),
    ],
)
async def test_a_companion_that_cannot_be_removed_just_now_goes_with_the_next_try(
    path: Path, monkeypatch: pytest.MonkeyPatch, where: object, step: str, number: int
) -> None:
    companion, known = companion_of(path)
    task, real = shipped(path, **known), getattr(where, step)

    def fails_for_companions(*given: object, **named: object) -> object:
        if any(isinstance(each, str) and ".cksum" in each for each in given):
            raise OSError(number, os.strerror(number))
        return real(*given, **named)

    with monkeypatch.context() as broken:
        broken.setattr(where, step, fails_for_companions)
        with pytest.raises(TransientError, match="cannot delete its companion"):
            await clean(task)
    assert not path.exists()
    await clean(replace(task, file=replace(task.file, claims=2)))
    assert list(path.parent.iterdir()) == []
    assert not companion.exists()


async def test_a_companion_that_is_open_for_writing_is_waited_for(path: Path) -> None:
    companion, known = companion_of(path)
    task = shipped(path, **known)
    with companion.open("a"), pytest.raises(RewindError, match="its companion open for writing"):
        await clean(task)
    assert not path.exists()
    await clean(replace(task, file=replace(task.file, claims=2)))
    assert list(path.parent.iterdir()) == []


async def test_a_companions_writers_are_not_asked_for_where_the_config_says_so(path: Path) -> None:
    companion, known = companion_of(path)
    rules = CleanupRules(delete=True, ask_writers=False)
    with companion.open("a"):
        await Cleanup(holding(), FeedThreads("feeds"), rules)(shipped(path, **known))
    assert not companion.exists()


async def test_a_companion_of_somebody_else_stays_and_its_file_is_done(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    companion, known = companion_of(path)
    task, real = shipped(path, **known), syscalls.rename_without_replacing

    def sticky(directory: int, old: str, new_directory: int, new: str) -> None:
        if old == companion.name:
            raise PermissionError(errno.EPERM, "Operation not permitted")
        real(directory, old, new_directory, new)

    monkeypatch.setattr(syscalls, "rename_without_replacing", sticky)
    assert (await clean(task)).detail == "local copy deleted"
    assert companion.exists()


# -- proof that is not fresh any more ---------------------------------------------------------


async def test_a_fresh_proof_is_believed_without_another_look(path: Path) -> None:
    archive = holding(None)
    await clean(shipped(path), archive=archive)
    assert not path.exists()
    assert archive.calls == []


async def test_an_old_proof_is_looked_at_again(path: Path) -> None:
    archive = holding()
    result = await clean(replace(shipped(path), is_proven=False), archive=archive)
    assert not path.exists()
    assert archive.calls == [("checksum", "eLUX/traffic/eLUX_1.csv.gz")]
    assert result.leaned_on == ("archive",)


@pytest.mark.parametrize("content", [None, b"harmed"], ids=["gone", "changed"])
async def test_with_its_archive_copy_gone_or_changed_the_file_stays(
    path: Path, content: bytes | None
) -> None:
    with pytest.raises(PermanentError, match="not deleted: its archive copy") as caught:
        await clean(replace(shipped(path), is_proven=False), archive=holding(content))
    assert "requeue it from ship" in caught.value.hint
    assert path.exists()


async def test_while_the_archive_is_down_an_old_proof_waits(path: Path) -> None:
    archive = holding()
    archive.down = DependencyDownError("archive", "refused")
    with pytest.raises(DependencyDownError):
        await clean(replace(shipped(path), is_proven=False), archive=archive)
    assert path.exists()


# -- who still writes -------------------------------------------------------------------------


@pytest.mark.parametrize("is_proven", [True, False])
async def test_a_file_that_is_open_for_writing_waits(path: Path, is_proven: bool) -> None:
    task = replace(shipped(path), is_proven=is_proven)
    with path.open("a"), pytest.raises(RewindError, match="open for writing") as caught:
        await clean(task)
    assert caught.value.stage is Stage.CLEANUP
    assert path.read_bytes() == CONTENT
    assert caught.value.changes["awaits"] == "writer"
    assert (await clean(task)).detail == "local copy deleted"


@pytest.mark.parametrize("is_proven", [True, False])
@pytest.mark.parametrize("more", [b"2;b\n", b""], ids=["appended", "rewritten"])
async def test_what_a_writer_wrote_before_the_next_look_is_not_removed(
    path: Path, is_proven: bool, more: bytes
) -> None:
    task = replace(shipped(path), is_proven=is_proven)
    written = CONTENT + more if more else CONTENT.upper()
    with path.open("r+b") as file:
        file.write(written)
        file.flush()
        with suppress(RewindError):
            assert "not deleted" in (await clean(task)).detail
    assert "not deleted" in (await clean(task)).detail
    assert path.read_bytes() == written


async def test_writers_are_not_asked_for_where_the_config_says_so(path: Path) -> None:
    task, rules = shipped(path), CleanupRules(delete=True, ask_writers=False)
    with path.open("a"):
        await Cleanup(holding(), FeedThreads("feeds"), rules)(task)
    assert not path.exists()


@pytest.mark.parametrize("why", ["the kernel does not tell", "coarse times"])
async def test_where_times_tell_too_little_the_content_is_compared(
    path: Path, monkeypatch: pytest.MonkeyPatch, why: str
) -> None:
    """As if the writes through a mapping had moved no time, or one too coarse."""
    if why == "coarse times":
        monkeypatch.setattr(cleanup, "has_coarse_times", lambda _: True)
    else:
        monkeypatch.setattr(cleanup, "writers_of", lambda *_, **__: Writers.NO_RIGHT)
    path.write_bytes(CONTENT.upper())
    task = shipped(path, sha256=hashlib.sha256(CONTENT).hexdigest())
    assert "not deleted" in (await clean(task)).detail
    assert path.read_bytes() == CONTENT.upper()
    path.write_bytes(CONTENT)
    assert (await clean(shipped(path))).detail == "local copy deleted"


# -- what an interrupted removal left ---------------------------------------------------------


async def test_what_was_moved_aside_when_the_process_ended_is_removed_the_next_time(
    path: Path,
) -> None:
    companion, known = companion_of(path)
    task = shipped(path, claims=2, **known)
    for each in (path, companion):
        each.rename(each.with_name(aside_name(each.name, task.file.id)))
    assert (await clean(task)).detail == "local copy deleted"
    assert list(path.parent.iterdir()) == []


async def test_what_was_moved_aside_is_kept_where_a_new_file_has_its_name(path: Path) -> None:
    task = shipped(path, claims=2)
    path.rename(path.with_name(aside_name(path.name, task.file.id)))
    path.write_bytes(b"a new one")
    with pytest.raises(PermanentError, match="it is kept as eLUX_1"):
        await clean(task)
    assert path.read_bytes() == b"a new one"
    (kept,) = (each for each in path.parent.iterdir() if each != path)
    assert kept.read_bytes() == CONTENT


async def test_nothing_is_removed_once_the_first_process_is_gone(path: Path) -> None:
    def end() -> None:
        raise InterruptedError  # in its place: the process ends

    with pytest.raises(InterruptedError):
        await Cleanup(holding(), FeedThreads("feeds"), CleanupRules(delete=True), end)(
            shipped(path)
        )
    assert path.exists()


# -- links ------------------------------------------------------------------------------------


async def test_a_directory_that_became_a_link_hides_its_files(path: Path) -> None:
    below = path.parent / "below"
    below.mkdir()
    moved = path.rename(below / path.name)
    file = replace(registered(moved), relative_path=f"below/{path.name}", stage=Stage.CLEANUP)
    task = task_of(file, a_feed(path.parent, recursive=True), receipt=receipt_for(file))
    below.rename(path.parent.with_name("elsewhere"))
    below.symlink_to(path.parent.with_name("elsewhere"))
    assert (await clean(replace(task, is_proven=True))).detail == "the local copy was gone already"
    assert (below / path.name).exists()


async def test_a_feed_that_has_another_directory_by_now_leaves_its_old_files(path: Path) -> None:
    task = shipped(path)
    (path.parent / "new").mkdir()
    new = a_feed(path.parent / "new")
    moved = task_of(task.file, new, receipt=task.receipt, is_proven=True)
    assert "the feed has another directory" in (await clean(moved)).detail
    assert path.exists()


async def test_a_feeds_directory_may_get_another_name_in_the_config(path: Path) -> None:
    task = shipped(path)
    link = path.parent.with_name("link")
    link.symlink_to(path.parent)
    seen_by_link = replace(task.file, path=f"{link}/{path.name}")
    for file, feed in ((task.file, a_feed(link)), (seen_by_link, task.feed)):
        path.write_bytes(CONTENT)
        again = task_of(file, feed, receipt=task.receipt, is_proven=True)
        assert (await clean(again)).detail == "local copy deleted"


async def test_a_copy_that_is_the_file_itself_is_none(path: Path) -> None:
    archive = holding()
    archive.same_files = {"eLUX/traffic/eLUX_1.csv.gz"}
    with pytest.raises(PermanentError, match="this very file, by another name"):
        await clean(replace(shipped(path), is_proven=False), archive=archive)
    assert path.exists()


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


async def test_a_duplicate_of_a_file_that_was_closed_without_proof_is_read_anew(path: Path) -> None:
    task = duplicate(path)
    assert task.original
    closed = replace(task.original, done_at=NOW, reason="dismissed by hand: lost", row_seen_at=None)
    with pytest.raises(RewindError, match="closed without proof") as caught:
        await clean(replace(task, original=closed, receipt=None))
    assert caught.value.stage is Stage.MANIFEST
    assert caught.value.changes["duplicate_of"] is None
    assert path.exists()


async def test_while_the_archive_is_down_a_duplicate_waits(path: Path) -> None:
    archive = holding()
    archive.down = DependencyDownError("archive", "refused")
    with pytest.raises(DependencyDownError):
        await clean(duplicate(path), archive=archive)
    assert path.exists()
