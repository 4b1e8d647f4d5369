"""A local archive on a file system that freezes: calls that hang are left, and leave nothing."""

from __future__ import annotations

import os
from contextlib import aclosing, suppress
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from backupd.archive import open_archive
from backupd.core.errors import DependencyDownError
from support.archives import archive_section
from support.freezing import freezing
from support.intake import eventually

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Iterator

    from backupd.core.ports import Archive
    from support.freezing import FreezingDirectory

LARGE = bytes(3 << 20)  # written in several steps


@pytest.fixture
def frozen(tmp_path: Path) -> Iterator[FreezingDirectory]:
    (tmp_path / "root").mkdir()
    with freezing(tmp_path, tmp_path / "root") as directory:
        yield directory


@pytest.fixture
async def archive(
    frozen: FreezingDirectory, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[Archive]:
    """An archive that is given up soon, with a file in it."""
    monkeypatch.setattr("backupd.archive.local.archive.PATIENCE", 0.0)
    archive = open_archive(archive_section(frozen.path))
    await put(archive, "d/there.csv", b"content")
    yield archive
    await archive.aclose()


async def put(archive: Archive, name: str, content: bytes) -> None:
    async with archive.upload(name, "id.1", len(content)) as upload:
        await upload.write(content)
        await upload.publish()


def files(frozen: FreezingDirectory) -> dict[str, bytes]:
    return {
        str(path.relative_to(frozen.backing)): path.read_bytes()
        for path in frozen.backing.rglob("*")
        if path.is_file()
    }


def opened(frozen: FreezingDirectory) -> list[str]:
    """Return what this process has open in the archive."""
    found = []
    for link in Path("/proc/self/fd").iterdir():
        with suppress(OSError):
            found.append(str(link.readlink()))
    return [path for path in found if path.startswith(f"{frozen.path}/")]


async def heals(archive: Archive, frozen: FreezingDirectory, *names: str) -> None:
    """After the thaw it works by itself, and holds these files and no part of any other one."""
    frozen.thaw()

    async def works() -> bool:
        with suppress(DependencyDownError):
            return await archive.size("d/there.csv") == 7
        return False

    await eventually(works, lambda: "it does not go on by itself")
    wanted = {"d/there.csv", *names}

    async def is_clean() -> bool:
        return files(frozen).keys() == wanted and not opened(frozen)

    await eventually(is_clean, lambda: f"{files(frozen).keys()}, open: {opened(frozen)}")


CALLS: dict[str, Callable[[Archive], Awaitable[object]]] = {
    "size": lambda archive: archive.size("d/there.csv"),
    "checksum": lambda archive: archive.checksum("d/there.csv"),
    "mark": lambda archive: archive.mark(),
    "flush": lambda archive: archive.flush("d/there.csv"),
    "discard": lambda archive: archive.discard_parts("d/there.csv", ["id.1"]),
    "upload": lambda archive: put(archive, "d/new.csv", b"new"),
}


@pytest.mark.parametrize("call", CALLS)
async def test_a_call_that_hangs_is_given_up(
    archive: Archive, frozen: FreezingDirectory, call: str
) -> None:
    frozen.freeze()
    for _ in range(2):
        with pytest.raises(DependencyDownError, match=f"{frozen.path} does not answer") as caught:
            await CALLS[call](archive)
        assert caught.value.dependency == "archive"
        assert str(frozen.path) in caught.value.hint
    await heals(archive, frozen)


async def test_a_write_that_hangs_keeps_its_descriptor_to_its_end(
    archive: Archive, frozen: FreezingDirectory, monkeypatch: pytest.MonkeyPatch
) -> None:
    written: list[tuple[Path, int]] = []
    write = os.write

    def noted(descriptor: int, data: bytes) -> int:
        count = write(descriptor, data)
        written.append((Path(f"/proc/self/fd/{descriptor}").readlink(), count))
        return count

    async def send() -> None:
        async with archive.upload("d/new.csv", "id.1", len(LARGE)) as upload:
            frozen.freeze()
            monkeypatch.setattr(os, "write", noted)
            await upload.write(LARGE)

    with pytest.raises(DependencyDownError):
        await send()
    assert written == []
    await heals(archive, frozen)
    assert written == [(frozen.path / "d/.new.csv.id.1.part", len(LARGE))]


async def test_a_file_whose_publishing_hangs_comes_later_and_whole(
    archive: Archive, frozen: FreezingDirectory
) -> None:
    async def send() -> None:
        async with archive.upload("d/new.csv", "id.1", 3) as upload:
            frozen.freeze()
            await upload.write(b"new")
            await upload.publish()

    with pytest.raises(DependencyDownError):
        await send()
    await heals(archive, frozen, "d/new.csv")
    assert files(frozen)["d/new.csv"] == b"new"


async def test_reading_that_hangs_closes_its_file_in_the_end(
    archive: Archive, frozen: FreezingDirectory
) -> None:
    await put(archive, "d/large.csv", LARGE)

    async def read() -> None:
        async with aclosing(archive.contents("d/large.csv")) as blocks:
            assert await anext(blocks)
            frozen.freeze()
            await anext(blocks)

    with pytest.raises(DependencyDownError):
        await read()
    await heals(archive, frozen, "d/large.csv")


async def test_reading_that_ends_early_closes_its_file(
    archive: Archive, frozen: FreezingDirectory
) -> None:
    await put(archive, "d/large.csv", LARGE)
    async with aclosing(archive.contents("d/large.csv")) as blocks:
        assert await anext(blocks)
        assert opened(frozen)
    assert not opened(frozen)
