"""A directory below a recursive feed that belongs to another daemon's feed."""

from __future__ import annotations

from contextlib import contextmanager
from functools import partial
from typing import TYPE_CHECKING

import pytest

from backupd.core.incidents import Kind
from backupd.core.stages import Stage, Status
from backupd.localfs.claims import claim
from support.intake import a_feed, eventually
from support.sights import looking

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from support.sights import Sights

ANOTHERS = "it is the directory of another backupd's feed ("


@pytest.fixture
def feed_dir(tmp_path: Path) -> Path:
    (tmp_path / "feed" / "sub" / "deep").mkdir(parents=True)
    (tmp_path / "feed" / "ours").mkdir()
    return tmp_path / "feed"


@contextmanager
def claimed(directory: Path) -> Iterator[None]:
    """Have another daemon's feed there: a claim that is not the intake's own."""
    held = claim(*key_of(directory), "feed")
    try:
        yield
    finally:
        held.release()


def key_of(directory: Path) -> tuple[int, int]:
    found = directory.stat()
    return found.st_dev, found.st_ino


def put(*paths: Path) -> None:
    for path in paths:
        path.write_text("a\n")


async def taken(sights: Sights, *names: str) -> None:
    """Wait until these are complete; then they are all that there is."""
    for name in names:
        await sights.reaches(name, Stage.MANIFEST, Status.WAITING)
    assert sorted(file.relative_path for file in await sights.files()) == sorted(names)


async def test_it_is_left_to_that_one_and_reported(tmp_path: Path, feed_dir: Path) -> None:
    put(feed_dir / "eLUX_1.csv", feed_dir / "sub" / "eLUX_2.csv")
    put(feed_dir / "sub" / "deep" / "eLUX_3.csv", feed_dir / "ours" / "eLUX_4.csv")
    with claimed(feed_dir / "sub"):
        async with looking(tmp_path, a_feed(feed_dir, recursive=True)) as sights:
            (incident,) = await sights.incidents(f"{feed_dir}/sub: {ANOTHERS}")
            assert incident.kind == Kind.UNTAKEN
            await taken(sights, "ours/eLUX_4.csv", "eLUX_1.csv")


@pytest.mark.parametrize("below", ["sub", "sub/deep"])
async def test_it_is_left_to_one_that_comes_later_and_taken_when_that_has_gone(
    tmp_path: Path, feed_dir: Path, below: str
) -> None:
    async with looking(
        tmp_path, a_feed(feed_dir, recursive=True), rescan_every=3600.0, settle_for=0.05
    ) as sights:
        with claimed(feed_dir / "sub"):
            claim_is_seen = partial(sees_claim, sights, feed_dir / "sub")
            await eventually(claim_is_seen, lambda: "the claim was not seen")
            put(feed_dir / below / "eLUX_1.csv")
            (feed_dir / below / "new").mkdir()
            put(feed_dir / below / "new" / "eLUX_2.csv")
            put(feed_dir / "ours" / "eLUX_3.csv")  # its event comes behind theirs
            await taken(sights, "ours/eLUX_3.csv")
    async with looking(tmp_path, a_feed(feed_dir, recursive=True)) as sights:
        await sights.reaches(f"{below}/eLUX_1.csv", Stage.MANIFEST, Status.WAITING)
        await sights.reaches(f"{below}/new/eLUX_2.csv", Stage.MANIFEST, Status.WAITING)
        await sights.incidents()


async def sees_claim(sights: Sights, directory: Path) -> bool:
    return key_of(directory) in sights.intake.health.claimed  # among those of whatever else runs


async def test_a_directory_of_its_own_other_feed_is_looked_through_as_ever(
    tmp_path: Path, feed_dir: Path
) -> None:
    inner = a_feed(feed_dir / "sub", pattern="*.txt", file_type="voice")
    async with looking(tmp_path, a_feed(feed_dir, recursive=True), inner) as sights:
        put(feed_dir / "sub" / "eLUX_1.csv")
        await taken(sights, "sub/eLUX_1.csv")
        await sights.incidents()


async def test_where_the_kernel_does_not_show_its_sockets_all_is_taken(
    tmp_path: Path, feed_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("backupd.localfs.claims._SOCKETS", tmp_path / "none")
    with claimed(feed_dir / "sub"):
        async with looking(tmp_path, a_feed(feed_dir, recursive=True)) as sights:
            put(feed_dir / "sub" / "eLUX_1.csv")
            await taken(sights, "sub/eLUX_1.csv")
