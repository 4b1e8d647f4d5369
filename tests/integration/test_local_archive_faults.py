"""A local archive whose disk or system calls fail."""

from __future__ import annotations

import errno
import os
from typing import TYPE_CHECKING

import pytest

from backupd.archive import open_archive
from backupd.core.errors import (
    BackupdError,
    PermanentError,
    RefusedError,
    TransientError,
)
from support.archives import archive_section

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from backupd.core.ports import Archive


@pytest.fixture
def archive(tmp_path: Path) -> Archive:
    return open_archive(archive_section(tmp_path / "root"))


async def put(archive: Archive, name: str = "d/a.csv", content: bytes = b"content") -> None:
    async with archive.upload(name, "1", len(content)) as upload:
        await upload.write(content)
        await upload.publish()


def files_below(root: Path) -> list[Path]:
    return [path for path in root.rglob("*") if path.is_file()]


def failing(number: int) -> Callable[..., None]:
    def fail(*_: object, **__: object) -> None:
        raise OSError(number, os.strerror(number))

    return fail


@pytest.mark.parametrize(
    ("fault", "expected"),
    [
        (("write", errno.ENOSPC), RefusedError),
        (("write", errno.EDQUOT), RefusedError),
        (("fsync", errno.EIO), RefusedError),
        (("mkdir", errno.EROFS), RefusedError),
        (("mkdir", errno.EACCES), RefusedError),
        (("open", errno.EACCES), RefusedError),
        (("open", errno.ENAMETOOLONG), PermanentError),
        (("open", errno.EMFILE), TransientError),
        (("link", errno.EPERM), RefusedError),
        (("link", errno.ENOSPC), RefusedError),
    ],
)
async def test_each_failing_call_is_the_right_kind_of_error(
    archive: Archive,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    fault: tuple[str, int],
    expected: type[BackupdError],
) -> None:
    call, number = fault
    if call != "mkdir":
        await put(archive, "d/earlier.csv")
    earlier = files_below(tmp_path)
    monkeypatch.setattr(os, call, failing(number))
    with pytest.raises(expected) as caught:
        await put(archive)
    assert str(tmp_path / "root") in str(caught.value)
    monkeypatch.undo()
    assert files_below(tmp_path) == earlier
    await put(archive)


def noting(calls: list[str], call: str) -> Callable[..., object]:
    """Return the system call `call`, which also notes that it was made."""
    real = getattr(os, call)

    def note(*args: object, **kwargs: object) -> object:
        calls.append(call)
        result: object = real(*args, **kwargs)
        return result

    return note


async def test_the_rename_is_on_disk_before_it_is_told(
    archive: Archive, monkeypatch: pytest.MonkeyPatch
) -> None:
    await put(archive, "d/first.csv")
    calls: list[str] = []
    for call in ("fsync", "link", "unlink"):
        monkeypatch.setattr(os, call, noting(calls, call))
    await put(archive, "d/a.csv")
    assert await archive.flush("d/a.csv")
    begun = calls.index("fsync")
    assert calls[begun:] == ["fsync", "link", "unlink", "fsync"]


async def test_a_big_file_is_written_and_hashed_in_stretches(archive: Archive) -> None:
    blocks = [bytes([number]) * 1_000_003 for number in range(70)]
    async with archive.upload("big.bin", "1", 0) as upload:
        for block in blocks:
            await upload.write(block)
        await upload.publish()
    assert await archive.size("big.bin") == 70 * 1_000_003
    checksum = await archive.checksum("big.bin")
    assert checksum is not None
    assert checksum.how == "readback"
