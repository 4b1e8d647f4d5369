"""SFTP servers that do what OpenSSH cannot be brought to do: a full disk, lost answers, silence."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest

from backupd.archive import open_archive
from backupd.archive.sftp import connection
from backupd.core.errors import (
    DependencyDownError,
    RefusedError,
    TransientError,
    UnknownOutcomeError,
)
from support.archives import CONNECTIONS
from support.odd_sftp import ROOMY, OddServer, serving

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from backupd.core.ports import Archive, Published


@pytest.fixture
def odd() -> type[OddServer]:
    """A class of its own for each test."""
    return type("OddServer", (OddServer,), {"disk": dict(ROOMY)})


@pytest.fixture
async def archive(tmp_path: Path, odd: type[OddServer]) -> AsyncIterator[Archive]:
    async with serving(tmp_path, odd) as section:
        opened = open_archive(section)
        yield opened
        await opened.aclose()


async def put(archive: Archive, name: str = "d/a.csv", part_id: str = "1") -> Published:
    async with archive.upload(name, part_id, 100_000) as upload:
        await upload.write(os.urandom(100_000))
        return await upload.publish()


async def met(archive: Archive) -> None:
    """Have each connection made, and its server tried, before it becomes odd."""
    for number in range(2 * CONNECTIONS):
        await put(archive, f"met/{number}.csv")


@pytest.mark.parametrize(("ahead", "ok"), [(0, True), (-40, True), (7200, False), (-7200, False)])
async def test_the_probe_compares_the_servers_clock_with_ours(
    archive: Archive, odd: type[OddServer], tmp_path: Path, ahead: int, ok: bool
) -> None:
    odd.clock_ahead = ahead
    (clock,) = [line for line in await archive.probe([""]) if line.subject == "archive clock"]
    assert clock.ok is ok
    assert not list(tmp_path.rglob("*probe*"))


@pytest.mark.parametrize(
    ("most", "told"),
    [(None, ["32 can be open at once"]), (5, ["5 can be open at once, no more: Failure"]), (0, [])],
)
async def test_the_probe_tells_how_many_files_can_be_open_at_once(
    archive: Archive, odd: type[OddServer], tmp_path: Path, most: int | None, told: list[str]
) -> None:
    await met(archive)
    odd.most_open = most
    lines = [line for line in await archive.probe([""]) if line.subject == "archive open files"]
    assert [line.detail.partition(";")[0] for line in lines if line.ok] == told
    assert not list(tmp_path.rglob("*probe*"))


async def test_room_that_was_made_is_seen_at_once(archive: Archive, odd: type[OddServer]) -> None:
    await met(archive)
    odd.disk |= {"bavail": 0}
    archive._free.clear()  # type: ignore[attr-defined]  # as after a while
    with pytest.raises(RefusedError, match="no room"):
        await put(archive)
    odd.disk |= ROOMY
    await put(archive)


@pytest.mark.parametrize(
    ("disk", "words"),
    [({"bavail": 30}, "full"), ({"favail": 0}, "inode"), ({"flags": 1}, "read-only")],
)
@pytest.mark.parametrize("request_", ["write", "fsync", "link"])
async def test_a_failure_on_a_disk_in_trouble_tells_of_the_disk(
    archive: Archive, odd: type[OddServer], request_: str, disk: dict[str, int], words: str
) -> None:
    await met(archive)
    odd.refuses = request_
    odd.disk |= disk
    with pytest.raises(RefusedError, match=words) as caught:
        await put(archive)
    assert "df" in caught.value.hint
    assert not caught.value.load


async def test_a_failure_on_a_disk_that_is_well_is_tried_again(
    archive: Archive, odd: type[OddServer]
) -> None:
    odd.refuses = "fsync"
    with pytest.raises(TransientError, match="flush"):
        await put(archive)


async def test_what_is_refused_as_late_as_at_the_close_gets_no_name(
    archive: Archive, odd: type[OddServer], tmp_path: Path
) -> None:
    await met(archive)
    odd.flushes = False
    odd.refuses = "close"
    with pytest.raises(TransientError, match="write"):
        await put(archive)
    assert list((tmp_path / "root" / "d").iterdir()) == []


async def test_a_lost_answer_to_the_rename_is_an_unknown_outcome(
    archive: Archive, odd: type[OddServer]
) -> None:
    await met(archive)
    odd.rename_breaks_connection = True
    with pytest.raises(UnknownOutcomeError):
        await put(archive)
    assert await archive.size("d/a.csv") == 100_000


@pytest.mark.parametrize(
    ("request_", "expected"), [("open", DependencyDownError), ("link", UnknownOutcomeError)]
)
async def test_an_answer_that_never_comes_is_not_waited_for_without_end(
    archive: Archive,
    odd: type[OddServer],
    monkeypatch: pytest.MonkeyPatch,
    request_: str,
    expected: type[Exception],
) -> None:
    await met(archive)
    monkeypatch.setattr(connection, "ANSWER_WITHIN", 0.3)
    odd.hangs = request_
    with pytest.raises(expected, match="did not answer in time"):
        await put(archive)
