"""Intake on a real ledger, real directories and real inotify."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest
from structlog.testing import capture_logs

from backupd.core.stages import Stage, Status
from backupd.ledger import reports
from support.intake import a_feed, a_rule, eventually, watching

if TYPE_CHECKING:
    from pathlib import Path

MANIFEST = (Stage.MANIFEST, Status.WAITING)
PARKED = (Stage.SETTLE, Status.PARKED)


@pytest.fixture
def feed_dir(tmp_path: Path) -> Path:
    directory = tmp_path / "feed"
    directory.mkdir()
    return directory


def cksum(path: Path) -> bytes:
    return subprocess.run(["cksum", path], capture_output=True, check=True).stdout


async def test_what_lies_there_at_the_start_is_found(tmp_path: Path, feed_dir: Path) -> None:
    (feed_dir / "eLUX_1.csv").write_text("a\n")
    (feed_dir / "other.csv").write_text("a\n")
    async with watching(tmp_path, [a_feed(feed_dir)]) as watched:
        assert [file.file_name for file in await watched.files()] == ["eLUX_1.csv"]
        assert watched.intake.found == {"start": 1}
        await watched.reaches("eLUX_1.csv", *MANIFEST)


@pytest.mark.parametrize("way", ["written", "renamed within", "renamed in", "hard-linked"])
async def test_a_file_is_seen_however_it_arrives(tmp_path: Path, feed_dir: Path, way: str) -> None:
    (tmp_path / "elsewhere").write_text("a\n")
    async with watching(tmp_path, [a_feed(feed_dir)]) as watched:
        target = feed_dir / "eLUX_1.csv"
        if way == "written":
            target.write_text("a\n")
        elif way == "renamed within":
            (feed_dir / "eLUX_1.csv.tmp").write_text("a\n")
            (feed_dir / "eLUX_1.csv.tmp").rename(target)
        elif way == "renamed in":
            (tmp_path / "elsewhere").rename(target)
        else:
            target.hardlink_to(tmp_path / "elsewhere")
        await watched.reaches("eLUX_1.csv", *MANIFEST)
        assert watched.intake.found == {"events": 1}


async def test_hidden_and_unfinished_names_and_companions_are_never_taken(
    tmp_path: Path, feed_dir: Path
) -> None:
    feed = a_feed(feed_dir, pattern="*", companion=a_rule(required=False))
    for name in (
        ".hidden.csv",
        "a.tmp",
        "b.part",
        "b.partial",
        "c.filepart",
        "d.cksum",
        "taken.csv",
    ):
        (feed_dir / name).write_text("1 1\n")
    async with watching(tmp_path, [feed]) as watched:
        assert [file.file_name for file in await watched.files()] == ["taken.csv"]


async def test_a_file_that_grows_waits_until_it_stays_as_it_is(
    tmp_path: Path, feed_dir: Path
) -> None:
    async with watching(tmp_path, [a_feed(feed_dir)], settle_for=0.5) as watched:
        path = feed_dir / "eLUX_1.csv"
        path.write_text("a\n")
        first = await watched.until_one("eLUX_1.csv", lambda file: "unchanged" in file.reason)
        path.write_text("a\nb\n")
        settled = await watched.reaches("eLUX_1.csv", *MANIFEST)
        assert settled.identity.size == 4
        assert settled.stage_since - path.stat().st_mtime >= 0.5
        assert first.reason == "waits until it has stayed unchanged for 0.5 s"


async def test_a_required_companion_is_waited_for_and_then_decides_at_once(
    tmp_path: Path, feed_dir: Path
) -> None:
    feed = a_feed(feed_dir, companion=a_rule())
    async with watching(tmp_path, [feed], settle_for=3600.0) as watched:
        path = feed_dir / "eLUX_1.csv"
        path.write_text("a\n")
        waiting = await watched.until_one("eLUX_1.csv", lambda file: file.awaits == "companion")
        assert waiting.reason == "waits for its companion eLUX_1.cksum"
        (feed_dir / "eLUX_1.cksum").write_bytes(cksum(path))
        ready = await watched.reaches("eLUX_1.csv", *MANIFEST)
        assert (ready.reason, ready.awaits) == ("", "")


async def test_a_garbage_companion_parks_its_file_once_both_stay_the_same(
    tmp_path: Path, feed_dir: Path
) -> None:
    async with watching(tmp_path, [a_feed(feed_dir, companion=a_rule())]) as watched:
        (feed_dir / "eLUX_1.cksum").write_bytes(b"\x00\xffnonsense\n")
        (feed_dir / "eLUX_1.csv").write_text("a\n")
        parked = await watched.reaches("eLUX_1.csv", *PARKED)
        assert r"'\x00\\xffnonsense\n'" in parked.reason
        assert "expected: the line of cksum" in parked.reason
        assert parked.local


async def test_a_companion_that_is_put_right_in_time_saves_its_file(
    tmp_path: Path, feed_dir: Path
) -> None:
    feed = a_feed(feed_dir, companion=a_rule())
    async with watching(tmp_path, [feed], settle_for=3600.0) as watched:
        path = feed_dir / "eLUX_1.csv"
        path.write_text("a\n")
        (feed_dir / "eLUX_1.cksum").write_text("1234 99\n")
        await watched.until_one("eLUX_1.csv", lambda file: "says 99 bytes" in file.reason)
        (feed_dir / "eLUX_1.cksum").write_bytes(cksum(path))
        await watched.reaches("eLUX_1.csv", *MANIFEST)


@pytest.mark.parametrize(
    ("name", "shown"),
    [(b"eLUX_\xff.csv", r"eLUX_\xff.csv"), (b"eLUX_a\nb.csv", r"eLUX_a\nb.csv")],
)
async def test_a_name_that_cannot_be_registered_is_parked_and_shown(
    tmp_path: Path, feed_dir: Path, name: bytes, shown: str
) -> None:
    os.mknod(os.fsencode(feed_dir) + b"/" + name)
    async with watching(tmp_path, [a_feed(feed_dir)]) as watched:
        parked = await watched.reaches(os.fsdecode(name), *PARKED)
        assert shown in parked.reason


async def test_a_file_that_vanishes_is_parked_and_its_return_is_a_new_file(
    tmp_path: Path, feed_dir: Path
) -> None:
    path = feed_dir / "eLUX_1.csv"
    async with watching(tmp_path, [a_feed(feed_dir, companion=a_rule())]) as watched:
        path.write_text("a\n")
        first = await watched.until_one("eLUX_1.csv", lambda file: file.awaits)
        path.unlink()
        await watched.intake._settling.companions_came(
            str(feed_dir), [str(feed_dir / "eLUX_1.cksum")]
        )
        gone = await watched.reaches("eLUX_1.csv", *PARKED)
        assert gone.reason.startswith("vanished before it was shipped")
        assert not gone.local
        path.write_text("b\n")
        await watched.until(lambda files: len(files) == 2)
        assert gone.id == first.id


async def test_files_in_many_new_directories_are_all_found_by_events(
    tmp_path: Path, feed_dir: Path
) -> None:
    async with watching(tmp_path, [a_feed(feed_dir, recursive=True)]) as watched:
        for number in range(200):
            (feed_dir / f"day{number}" / "deep").mkdir(parents=True)
            (feed_dir / f"day{number}" / "deep" / "eLUX_1.csv").write_text("a\n")
        await watched.until(lambda files: len(files) == 200)
        assert watched.intake.found == {"events": 200}
        (feed_dir / "day7" / "deep" / "eLUX_2.csv").write_text("later\n")
        await watched.until_one("day7/deep/eLUX_2.csv", lambda _: True)


async def test_where_each_look_is_slow_all_is_found(
    tmp_path: Path, feed_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("backupd.core.threads.STEP", "backupd.intake.scan.STEP"):
        monkeypatch.setattr(name, 0.0)  # each look takes a step
    feed = a_feed(feed_dir, recursive=True, companion=a_rule(required=True))
    paths = [feed_dir / f"{place}eLUX_{number}.csv" for place in ("", "a/") for number in range(3)]
    (feed_dir / "a" / "empty").mkdir(parents=True)
    for path in paths:
        path.write_text("a\n")
    async with watching(tmp_path, [feed]) as watched:
        assert len(await watched.files()) == len(paths)
        for path in paths:
            path.with_suffix(".cksum").write_bytes(cksum(path))
        await watched.until(lambda files: {file.stage for file in files} == {Stage.MANIFEST})


async def test_a_directory_that_was_renamed_is_watched_under_its_new_name(
    tmp_path: Path, feed_dir: Path
) -> None:
    (feed_dir / "old").mkdir()
    async with watching(tmp_path, [a_feed(feed_dir, recursive=True)]) as watched:
        (feed_dir / "old").rename(feed_dir / "new")
        (feed_dir / "new" / "eLUX_1.csv").write_text("a\n")
        await watched.until_one("new/eLUX_1.csv", lambda _: True)
        (feed_dir / "new" / "eLUX_2.csv").write_text("a\n")
        await watched.until_one("new/eLUX_2.csv", lambda _: True)


async def test_a_polled_feed_is_told_of_by_scans_alone(tmp_path: Path, feed_dir: Path) -> None:
    async with watching(
        tmp_path, [a_feed(feed_dir)], mode="poll", rescan_every=0.05, settle_for=0.2
    ) as watched:
        (feed_dir / "eLUX_1.csv").write_text("a\n")
        os.utime(feed_dir / "eLUX_1.csv", (0, 0))
        ready = await watched.reaches("eLUX_1.csv", *MANIFEST)
        assert set(watched.intake.found) == {"poll"}
        assert ready.stage_since - ready.first_seen_at >= 0.2  # observed, not believed


async def test_a_dead_observer_is_replaced_and_nothing_is_missed(
    tmp_path: Path, feed_dir: Path
) -> None:
    with capture_logs() as logs:
        async with watching(tmp_path, [a_feed(feed_dir)]) as watched:
            observer = watched.intake._watcher._observer
            assert observer is not None
            observer.stop()
            (feed_dir / "eLUX_1.csv").write_text("unseen\n")
            await watched.reaches("eLUX_1.csv", *MANIFEST)
            assert watched.intake.found == {"rescan": 1}
            (feed_dir / "eLUX_2.csv").write_text("seen\n")
            await watched.until(lambda files: len(files) == 2)
            assert watched.intake.found == {"rescan": 1, "events": 1}
    assert [entry["event"] for entry in logs if entry["log_level"] == "error"] == [
        "the observer died, watching and scanning anew"
    ]


async def test_an_observer_that_dies_again_and_again_is_told_of_once_a_minute(
    tmp_path: Path, feed_dir: Path
) -> None:
    dead: list[object] = []
    with capture_logs() as logs:
        async with watching(tmp_path, [a_feed(feed_dir)]) as watched:
            watcher = watched.intake._watcher
            while len(dead) < 3:
                await eventually(
                    lambda: _is_another(watcher._observer, dead), lambda: "not replaced"
                )
                observer = watcher._observer
                assert observer is not None
                dead.append(observer)
                observer.stop()
    assert [entry["event"] for entry in logs].count(
        "the observer died, watching and scanning anew"
    ) == 1


async def _is_another(observer: object, dead: list[object]) -> bool:
    return observer is not None and observer not in dead


async def test_a_burst_that_overflows_the_kernels_queue_loses_nothing(
    tmp_path: Path, feed_dir: Path
) -> None:
    count = 30_000
    burst = f"import os\nfor i in range({count}): os.mknod(f'eLUX_{{i}}.csv')"
    async with watching(tmp_path, [a_feed(feed_dir)], settle_for=3600.0) as watched:
        writer = await asyncio.create_subprocess_exec(sys.executable, "-c", burst, cwd=feed_dir)
        assert await writer.wait() == 0
        await watched.found(count, patience=60.0)
        counts = await watched.ledger.ask(reports.counts)
        assert sum(item.files for item in counts) == count


async def test_a_directory_that_is_back_is_watched_again_and_no_other_one(
    tmp_path: Path, feed_dir: Path
) -> None:
    with capture_logs():
        async with watching(tmp_path, [a_feed(feed_dir)]) as watched:
            feed_dir.rename(tmp_path / "aside")
            feed_dir.mkdir()
            await watched.away("traffic/eLUX")
            (feed_dir / "eLUX_1.csv").write_text("a\n")
            feed_dir.rename(tmp_path / "not meant")
            (tmp_path / "aside").rename(feed_dir)
            await watched.away()
            (feed_dir / "eLUX_2.csv").write_text("a\n")
            await watched.until_one("eLUX_2.csv", lambda _: True)
            assert len(await watched.files()) == 1


async def test_files_of_a_feed_that_is_away_wait_and_are_not_taken_for_gone(
    tmp_path: Path, feed_dir: Path
) -> None:
    feed = a_feed(feed_dir)
    with capture_logs():
        async with watching(tmp_path, [feed], settle_for=2.0, rescan_every=0.2) as watched:
            (feed_dir / "eLUX_1.csv").write_text("a\n")
            await watched.until_one("eLUX_1.csv", lambda _: True)
            feed_dir.rename(tmp_path / "unplugged")
            waiting = await watched.until_one(
                "eLUX_1.csv", lambda file: "unavailable" in file.reason
            )
            assert (waiting.status, waiting.local) == (Status.WAITING, True)
            await watched.away(feed.name)
            (tmp_path / "unplugged").rename(feed_dir)
            await watched.reaches("eLUX_1.csv", *MANIFEST)
            assert watched.intake.health.away == {}


async def test_scan_once_finds_without_watching(tmp_path: Path, feed_dir: Path) -> None:
    (feed_dir / "eLUX_1.csv").write_text("a\n")
    async with watching(tmp_path, [a_feed(feed_dir)], mode="poll") as watched:
        (feed_dir / "eLUX_2.csv").write_text("a\n")
        await watched.intake.scan_once()
        assert len(await watched.files()) == 2
