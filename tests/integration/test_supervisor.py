"""The house as a whole, in one process: recovery, drain, one pass for cron."""

from __future__ import annotations

import asyncio
import os
import signal
import threading
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
import sqlalchemy as sa
from pyarrow import parquet as pq

from backupd.carrier import Carrier
from backupd.config import ConfigMistakes, Mistake
from backupd.core.places import MARK_FILE, mark_text, new_mark
from backupd.core.records import new_id
from backupd.core.stages import UNSHIPPED, Stage, Status
from backupd.ledger import batches
from backupd.ledger.schema import events
from backupd.localfs.claims import claim
from backupd.stages.rows import row_of
from backupd.supervisor import Supervisor
from backupd.warehouse import open_warehouse
from support.configs import loaded
from support.files import NOW, a_batch, registered
from support.intake import PATIENCE, eventually
from support.ledgers import files_of, one, opened, plant, story
from support.notify import listening

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator
    from pathlib import Path

    from backupd.config.sections import Config
    from backupd.core.records import FileRecord
    from backupd.ledger import Ledger

CHANGES: dict[str, str | None] = {
    "intake.settle_for": '"50ms"',
    "intake.rescan_every": '"1h"',
    "retry.first": '"20ms"',
    "retry.cap": '"50ms"',
    "retry.attempts": "3",
    "batch.max_wait": '"1h"',
    "control.socket": '"TMP/control.sock"',
    "warehouse.embedded.root": '"TMP/warehouse"',
}


@pytest.fixture
async def ledger(tmp_path: Path) -> AsyncIterator[Ledger]:
    async with opened(tmp_path / "ledger.db") as ledger:
        yield ledger


@pytest.fixture
def hangup() -> Iterator[None]:
    """Put back what SIGHUP does: a supervisor leaves it ignored for its successor."""
    before = signal.getsignal(signal.SIGHUP)
    yield
    signal.signal(signal.SIGHUP, before)


def configured(tmp_path: Path, **changes: str) -> Config:
    return loaded(tmp_path, CHANGES | {key.replace("__", "."): v for key, v in changes.items()})


def deliver(tmp_path: Path, *names: str) -> list[Path]:
    paths = [tmp_path / "in" / "a" / name for name in names]
    for path in paths:
        path.write_text(f"id;name\n1;{path.name}\n")
    return paths


async def run_once(config: Config, ledger: Ledger) -> bool:
    async with asyncio.timeout(PATIENCE):
        return await Supervisor(config, ledger).run(once=True)


async def test_one_pass_takes_all_that_lies_there_through_every_stage(
    tmp_path: Path, ledger: Ledger
) -> None:
    config = configured(tmp_path)
    paths = deliver(tmp_path, *(f"a_{number}.csv" for number in range(20)))
    assert await run_once(config, ledger)
    files = await files_of(ledger)
    assert len(files) == 20
    assert {(file.stage, file.status) for file in files} == {(Stage.CLEANUP, Status.DONE)}
    assert not any(path.exists() for path in paths)
    shipped = sorted(path.name for path in (tmp_path / "archive").rglob("*.gz"))
    assert shipped == sorted(f"{path.name}.gz" for path in paths)
    assert not list(tmp_path.rglob("*.part"))


async def test_one_pass_with_nothing_to_do_is_well(tmp_path: Path, ledger: Ledger) -> None:
    assert await run_once(configured(tmp_path), ledger)
    assert await files_of(ledger) == []


async def test_one_pass_that_may_not_work_on_a_feed_is_not_well(
    tmp_path: Path, ledger: Ledger
) -> None:
    config = configured(tmp_path)
    (path,) = deliver(tmp_path, "a_1.csv")
    feed = path.parent.stat()
    another = claim(feed.st_dev, feed.st_ino, "feed")  # as another daemon has it
    assert not await run_once(config, ledger)
    assert path.exists()
    assert await files_of(ledger) == []
    another.release()
    assert await run_once(config, ledger)
    assert not path.exists()


async def test_what_was_kept_for_a_while_is_removed_only_with_fresh_proof(
    tmp_path: Path, ledger: Ledger
) -> None:
    config = configured(tmp_path, cleanup__keep_for='"2s"', batch__max_files="3")
    lost, rowless, well = deliver(tmp_path, "a_1.csv", "a_2.csv", "a_3.csv")
    running = asyncio.create_task(Supervisor(config, ledger).run(once=False))
    try:
        await eventually(lambda: waits(ledger, 3), lambda: "not kept")
        next((tmp_path / "archive").rglob("a_1.csv.gz")).unlink()
        for parquet in (tmp_path / "warehouse" / "production").rglob("*.parquet"):
            drop_row(parquet, "a_2.csv")
        await eventually(lambda: ends(ledger), lambda: "not done or parked")
    finally:
        os.kill(os.getpid(), signal.SIGTERM)
        await running
    assert (lost.exists(), rowless.exists(), well.exists()) == (True, True, False)
    reasons = {file.file_name: file.reason for file in await files_of(ledger)}
    assert "its archive copy" in reasons["a_1.csv"]
    assert "its row is not in the production table" in reasons["a_2.csv"]


async def waits(ledger: Ledger, count: int) -> bool:
    """Return whether so many files are kept for a while."""
    return [file.awaits for file in await files_of(ledger)] == ["keep"] * count


async def ends(ledger: Ledger) -> bool:
    """Return whether every file is done or parked."""
    return {file.status for file in await files_of(ledger)} <= {Status.DONE, Status.PARKED}


def drop_row(parquet: Path, name: str) -> None:
    """Write a Parquet file anew without the row of a file."""
    table = pq.read_table(parquet, partitioning=None)
    keep = [each != name for each in table["file_name"].to_pylist()]
    pq.write_table(table.filter(keep), parquet)


async def test_one_pass_in_which_a_file_is_parked_is_not_well(
    tmp_path: Path, ledger: Ledger
) -> None:
    config = configured(tmp_path, feeds__traffic__pattern='"{customer}_*.csv.gz"')
    deliver(tmp_path, "a_1.csv.gz")
    assert not await run_once(config, ledger)
    (file,) = await files_of(ledger)
    assert (file.stage, file.status) == (Stage.MANIFEST, Status.PARKED)
    assert "does not decompress whole" in file.reason


async def test_one_pass_ends_though_a_dependency_stays_down(tmp_path: Path, ledger: Ledger) -> None:
    config = configured(tmp_path)
    (path,) = deliver(tmp_path, "a_1.csv")
    (tmp_path / "archive").write_text("a file where the archive's directory should be")
    assert not await run_once(config, ledger)
    assert path.exists()
    (file,) = await files_of(ledger)
    assert file.stage is Stage.SHIP


async def test_a_duplicate_goes_once_its_original_was_seen_in_the_archive(
    tmp_path: Path, ledger: Ledger
) -> None:
    config = configured(tmp_path)
    deliver(tmp_path, "a_1.csv")
    assert await run_once(config, ledger)
    (path,) = deliver(tmp_path, "a_1.csv")
    assert await run_once(config, ledger)
    first, second = await files_of(ledger)
    assert (second.duplicate_of, second.status) == (first.id, Status.DONE)
    assert not path.exists()
    assert len(list((tmp_path / "archive").rglob("*.gz"))) == 1


async def test_in_dev_nothing_is_shipped_or_deleted(tmp_path: Path, ledger: Ledger) -> None:
    config = configured(tmp_path, environment='"dev"')
    (path,) = deliver(tmp_path, "a_1.csv")
    assert await run_once(config, ledger)
    (file,) = await files_of(ledger)
    assert file.status is Status.DONE
    assert path.exists()
    assert not list((tmp_path / "archive").rglob("*.gz"))
    assert ("cleanup", "done", "skipped (dev)") in await story(ledger, file.id)


async def know_warehouse(root: Path, ledger: Ledger) -> None:
    """Make the warehouse that a ledger with rows must find."""
    root.mkdir()
    mark = new_mark()
    (root / MARK_FILE).write_bytes(mark_text(mark))
    await ledger.remember_place("warehouse", mark, NOW)


async def put_into(config: Config, file: FileRecord) -> None:
    """Make a file's row in the warehouse."""
    warehouse, batch = open_warehouse(config.warehouse), a_batch(id=new_id(NOW))
    rows = [row_of(file, batch)]
    await warehouse.load(batch, rows)
    await warehouse.merge(batch, rows)
    await warehouse.aclose()


async def test_what_was_running_when_the_process_ended_is_taken_up(
    tmp_path: Path, ledger: Ledger
) -> None:
    path = tmp_path / "in" / "a" / "a_9.csv"
    config = configured(tmp_path)
    path.write_text("id\n1\n")
    shipped = registered(path, feed="traffic/a", archive_name="a_9.csv.gz", id="s")
    lost = [
        replace(
            shipped,
            id=f"l{name}",
            path=f"{path.parent}/{name}",
            relative_path=name,
            stage=Stage.LOAD,
            row_seen_at=None,
        )
        for name in ("a_0.csv", "a_1.csv")
    ]
    waiting = [replace(file, status=Status.WAITING, batch_id=None) for file in lost]
    await plant(ledger, shipped, *waiting)
    await know_warehouse(tmp_path / "warehouse", ledger)
    await put_into(config, shipped)
    await ledger.form_batch(10, NOW)
    batch = await ledger.claim_batch(Stage.LOAD, NOW)
    assert batch is not None
    assert not await run_once(config, ledger)  # the two that are gone are parked
    assert not path.exists()
    assert (await one(ledger, "s")).status is Status.DONE
    assert any("interrupted" in line[2] for line in await story(ledger, "s"))
    again = await ledger.ask(batches.batch, batch.id)
    assert again is not None
    assert again.status is Status.DONE
    for file in lost:
        after = await one(ledger, file.id)
        assert (after.stage, after.status) == (UNSHIPPED[0], Status.PARKED)
        assert "vanished" in after.reason


async def test_a_stop_while_the_first_scan_is_under_way_ends_it(
    tmp_path: Path, ledger: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    scanning = asyncio.Event()

    async def never_ends(*_: object, **__: object) -> None:
        scanning.set()
        await asyncio.Event().wait()

    for once in (False, True):
        scanning.clear()
        supervisor = Supervisor(configured(tmp_path), ledger)
        monkeypatch.setattr(supervisor._intake._finder, "scan", never_ends)
        running = asyncio.create_task(supervisor.run(once=once))
        async with asyncio.timeout(5):
            await scanning.wait()
            supervisor.stop()
            await running
        assert not supervisor.ready.is_set()


async def test_a_signal_drains_and_ends_it(tmp_path: Path, ledger: Ledger) -> None:
    supervisor = Supervisor(configured(tmp_path), ledger)
    running = asyncio.create_task(supervisor.run(once=False))
    async with asyncio.timeout(PATIENCE):
        await supervisor.ready.wait()
        assert (tmp_path / "control.sock").is_socket()
        signal.raise_signal(signal.SIGTERM)
        assert await running
    assert not (tmp_path / "control.sock").exists()


@pytest.mark.parametrize(
    "signals", [(signal.SIGTERM, signal.SIGHUP), (signal.SIGHUP, signal.SIGTERM)]
)
@pytest.mark.usefixtures("hangup")
async def test_a_stop_beside_a_reload_drains_and_ends_it(
    tmp_path: Path, ledger: Ledger, signals: tuple[signal.Signals, ...]
) -> None:
    config = configured(tmp_path)
    supervisor = Supervisor(config, ledger, lambda: config)
    running = asyncio.create_task(supervisor.run(once=False))
    async with asyncio.timeout(PATIENCE):
        await supervisor.ready.wait()
        for number in signals:
            signal.raise_signal(number)
        assert await running
    assert supervisor.successor is None


@pytest.mark.usefixtures("hangup")
async def test_a_stop_is_heard_while_it_makes_way_for_its_successor(
    tmp_path: Path, ledger: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    class StoppedAtItsEnd(Carrier):
        async def __aexit__(self, *_: object) -> None:
            await super().__aexit__()
            assert signal.getsignal(signal.SIGTERM) is not signal.SIG_DFL
            signal.raise_signal(signal.SIGTERM)

    monkeypatch.setattr("backupd.supervisor.assembly.Carrier", StoppedAtItsEnd)
    config = configured(tmp_path)
    supervisor = Supervisor(config, ledger, lambda: config)
    running = asyncio.create_task(supervisor.run(once=False))
    async with asyncio.timeout(PATIENCE):
        await supervisor.ready.wait()
        signal.raise_signal(signal.SIGHUP)
        assert await running
    assert supervisor.successor is None


@pytest.mark.usefixtures("hangup")
async def test_the_config_is_read_once_more_where_it_may_have_changed_meanwhile(
    tmp_path: Path, ledger: Ledger
) -> None:
    config = configured(tmp_path)
    configs = [replace(config), replace(config)]
    read = iter(configs)
    begun, may_end = threading.Semaphore(0), threading.Semaphore(0)

    def reread() -> Config:
        begun.release()
        may_end.acquire()
        return next(read)

    supervisor = Supervisor(config, ledger, reread)
    running = asyncio.create_task(supervisor.run(once=False))
    async with asyncio.timeout(PATIENCE):
        await supervisor.ready.wait()
        for _ in configs:
            signal.raise_signal(signal.SIGHUP)
            await asyncio.to_thread(begun.acquire)
            may_end.release()
        assert await running
    assert supervisor.successor is configs[-1]


@pytest.mark.usefixtures("hangup")
async def test_a_config_refused_during_the_start_makes_it_no_ready_daemon(
    tmp_path: Path, ledger: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    scanning = asyncio.Event()

    async def never_ends(*_: object, **__: object) -> None:
        scanning.set()
        await asyncio.Event().wait()

    def refused() -> Config:
        raise ConfigMistakes([Mistake("feeds", "is not there", "a table")])

    with listening(tmp_path / "notify", monkeypatch) as systemd:
        supervisor = Supervisor(configured(tmp_path), ledger, refused)
        monkeypatch.setattr(supervisor._intake._finder, "scan", never_ends)
        running = asyncio.create_task(supervisor.run(once=False))
        async with asyncio.timeout(PATIENCE):
            await scanning.wait()
            signal.raise_signal(signal.SIGHUP)
            signal.raise_signal(signal.SIGTERM)
            await running
        assert "RELOADING=1" in systemd.told()
        assert "READY=1" not in systemd.told()


async def test_a_part_that_dies_ends_the_house_loudly(
    tmp_path: Path, ledger: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    supervisor = Supervisor(configured(tmp_path), ledger)

    async def dies() -> None:
        raise ZeroDivisionError

    monkeypatch.setattr(supervisor._intake, "_checks", dies)
    with pytest.raises(ExceptionGroup) as caught:
        async with asyncio.timeout(PATIENCE):
            await supervisor.run(once=False)
    assert caught.group_contains(ZeroDivisionError)


async def test_one_pass_ends_though_not_all_that_is_over_is_seen_to(
    tmp_path: Path, ledger: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("backupd.worker.folding._AT_ONCE", 1)
    monkeypatch.setattr("backupd.supervisor.once._PAST_WITHIN", 0.0)
    config = configured(tmp_path, ledger__keep='"1h"')
    deliver(tmp_path, *(f"a_{number}.csv" for number in range(20)))
    assert await run_once(config, ledger)
    assert await run_once(replace(config, ledger=replace(config.ledger, keep=0.0)), ledger)
    files = await files_of(ledger)
    assert files, "there was no time for them"
    folded = [file for file in files if not await ledger.ask(events_of, file.id)]
    assert 0 < len(folded) < len(files), "what was begun is finished"


async def test_one_pass_sees_to_what_is_over_without_a_pause(
    tmp_path: Path, ledger: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("backupd.worker.folding._EVERY", 3600.0)
    monkeypatch.setattr("backupd.worker.folding._AT_ONCE", 1)
    config = configured(tmp_path, ledger__keep='"1h"')
    deliver(tmp_path, *(f"a_{number}.csv" for number in range(3)))
    assert await run_once(config, ledger)
    assert await run_once(replace(config, ledger=replace(config.ledger, keep=0.0)), ledger)
    assert await files_of(ledger) == []


def events_of(connection: sa.Connection, file_id: str) -> int:
    query = sa.select(sa.func.count()).where(events.c.file_id == file_id)
    return int(connection.execute(query).scalar_one())
