"""Companions that come after their file was done."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Any

import pytest

from backupd.core.stages import Stage, Status
from support.intake import a_feed, a_rule, a_settling_file
from support.ledgers import plant
from support.sights import Sights, looking

if TYPE_CHECKING:
    from pathlib import Path

    from backupd.core.records import Feed

CONTENT = b"id\n1\n"
SHA = hashlib.sha256(CONTENT).hexdigest()
CKSUM = f"1234567890 {len(CONTENT)} eLUX_1.csv\n"
IT_CAME_LATE = "it is a companion that came after its file was done ("
IT_CONTRADICTS = (
    "it is a companion that came after its file was done, and speaks of another content ("
)


@pytest.fixture
def feed_dir(tmp_path: Path) -> Path:
    directory = tmp_path / "feed"
    directory.mkdir()
    return directory


def the_feed(directory: Path, *, required: bool = False, algorithm: str = "cksum") -> Feed:
    rule = a_rule(required=required, algorithm=algorithm)
    return a_feed(directory, pattern="eLUX_*", recursive=True, companion=rule)


async def went_through(sights: Sights, directory: Path, name: str, **changes: object) -> None:
    """Put a file into the ledger that is done, and whose local copy was deleted."""
    stem = name.rpartition(".")[0] or name
    values: dict[str, Any] = {
        "id": f"{name:0>20}",
        "path": f"{directory}/{name}",
        "relative_path": name,
        "companion_path": f"{directory}/{stem}.cksum",
        "stage": Stage.CLEANUP,
        "status": Status.DONE,
        "local": False,
        "size_bytes": len(CONTENT),
        "sha256": SHA,
    }
    await plant(sights.ledger, a_settling_file(**values | changes))


@pytest.mark.parametrize(
    ("algorithm", "text", "told"),
    [
        ("cksum", CKSUM, IT_CAME_LATE),
        ("cksum", "1234567890 99\n", IT_CONTRADICTS),
        ("cksum", "nonsense", IT_CONTRADICTS),
        ("md5", "0" * 32, IT_CAME_LATE),
        ("sha256", f"{SHA.upper()}  eLUX_1.csv\n", IT_CAME_LATE),
        ("sha256", "0" * 64, IT_CONTRADICTS),
    ],
)
async def test_one_is_told_of_until_it_is_gone(
    tmp_path: Path, feed_dir: Path, algorithm: str, text: str, told: str
) -> None:
    feed = the_feed(feed_dir, required=told == IT_CAME_LATE, algorithm=algorithm)
    late = feed_dir / "eLUX_1.cksum"
    async with looking(tmp_path, feed) as sights:
        await went_through(sights, feed_dir, "eLUX_1.csv")
        late.write_text(text)
        (only,) = await sights.incidents(f"{late}: {told}")
        assert only.feed == feed.name
        assert late.read_text() == text
        late.unlink()
        await sights.incidents()


@pytest.mark.parametrize("name", ["eLUX_1", "eLUX_1.a.b.csv", "eLUX_1 -.gz", "sub/eLUX_é.csv"])
async def test_one_is_found_whatever_its_file_was_called(
    tmp_path: Path, feed_dir: Path, name: str
) -> None:
    (feed_dir / "sub").mkdir()
    async with looking(tmp_path, the_feed(feed_dir)) as sights:
        await went_through(sights, feed_dir, name)
        late = f"{feed_dir}/{name.rpartition('.')[0] or name}.cksum"
        (tmp_path / late).write_text(CKSUM)
        await sights.incidents(f"{late}: {IT_CAME_LATE}")


async def test_those_that_may_be_needed_are_no_trouble(tmp_path: Path, feed_dir: Path) -> None:
    async with looking(tmp_path, the_feed(feed_dir)) as sights:
        stay: dict[str, dict[str, Any]] = {
            "eLUX_kept.csv": {"local": True},
            "eLUX_on_its_way.csv": {"stage": Stage.SHIP, "status": Status.RUNNING},
            "eLUX_vanished.csv": {"stage": Stage.SHIP, "status": Status.PARKED},
        }
        for name, changes in stay.items():
            await went_through(sights, feed_dir, name, **changes)
            (feed_dir / name).with_suffix(".cksum").write_text(CKSUM)
        await went_through(sights, feed_dir, "eLUX_two.csv")
        await went_through(sights, feed_dir, "eLUX_two.txt", local=True)
        await went_through(sights, feed_dir, "eLUX_other-1.csv")
        for name in ("eLUX_two", "eLUX_orphan", "eLUX_other"):
            (feed_dir / f"{name}.cksum").write_text(CKSUM)
        await went_through(sights, feed_dir, "eLUX_z.csv")
        (feed_dir / "eLUX_z.cksum").write_text(CKSUM)
        await sights.incidents(f"{feed_dir}/eLUX_z.cksum: {IT_CAME_LATE}")


async def test_the_first_of_a_new_pair_is_no_trouble(tmp_path: Path, feed_dir: Path) -> None:
    async with looking(tmp_path, the_feed(feed_dir), settle_for=3600.0) as sights:
        await went_through(sights, feed_dir, "eLUX_1.csv")
        (feed_dir / "eLUX_1.cksum").write_text(CKSUM)
        (feed_dir / "eLUX_2.csv").symlink_to("nowhere")
        await sights.incidents(f"{feed_dir}/eLUX_2.csv")


async def test_its_file_that_comes_again_ends_it(tmp_path: Path, feed_dir: Path) -> None:
    async with looking(tmp_path, the_feed(feed_dir)) as sights:
        await went_through(sights, feed_dir, "eLUX_1.csv")
        (feed_dir / "eLUX_1.cksum").write_text(CKSUM)
        await sights.incidents(f"{feed_dir}/eLUX_1.cksum: {IT_CAME_LATE}")
        (feed_dir / "eLUX_1.csv").write_bytes(CONTENT)
        await sights.incidents()
        assert (feed_dir / "eLUX_1.cksum").exists()
