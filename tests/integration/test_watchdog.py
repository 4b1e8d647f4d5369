"""The watchdog is fed while every part makes progress, and only then."""

from __future__ import annotations

import asyncio
import os
import signal
import threading
from typing import TYPE_CHECKING

import pytest
from structlog.testing import capture_logs

from backupd.carrier import Carrier, CarrierConfig
from backupd.intake.observer import PendingHints
from backupd.intake.watcher import Watcher
from backupd.ops.systemd import Manager, Watchdog
from backupd.stages import CleanupRules, ShipRules
from support.archives import FirstUse, archive_section
from support.intake import PATIENCE, a_feed, eventually, watching
from support.ledgers import opened
from support.notify import Listener, listening

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
    from pathlib import Path

LONG_ENOUGH = 0.3  # seconds, for a sign of life that is not going to come
MOST_THREADS = 32  # of asyncio.to_thread: concurrent.futures.ThreadPoolExecutor
EVERY = 40_000  # microseconds that systemd is said to allow


@pytest.fixture
def systemd(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Listener]:
    with listening(tmp_path / "notify", monkeypatch) as listener:
        monkeypatch.setenv("WATCHDOG_USEC", str(EVERY))
        yield listener


@pytest.fixture
async def carrier(tmp_path: Path) -> AsyncIterator[Carrier]:
    rules = ShipRules(compress=True)
    config = CarrierConfig(
        archive=archive_section(tmp_path / "archive"), ship=rules, cleanup=CleanupRules(delete=True)
    )
    async with Carrier(config, FirstUse()) as carrier:
        yield carrier


async def lives(sign: Callable[[], Awaitable[None]]) -> None:
    async with asyncio.timeout(PATIENCE):
        await sign()


async def hangs(sign: Callable[[], Awaitable[None]]) -> asyncio.Task[None]:
    """Assert that no sign comes; return what still waits for it."""
    waiting = asyncio.ensure_future(sign())
    _, late = await asyncio.wait([waiting], timeout=LONG_ENOUGH)
    assert late
    return waiting


# ------------------------------------------------------------------ the parts


async def test_the_ledgers_writer_gives_a_sign_unless_it_hangs(tmp_path: Path) -> None:
    go_on = threading.Event()
    async with opened(tmp_path / "ledger.db") as ledger:
        await lives(ledger.sign_of_life)
        stuck = ledger._writer.apply(lambda _, items: [go_on.wait(PATIENCE) for _ in items], [0])
        held_up = asyncio.ensure_future(stuck)
        await asyncio.sleep(0)
        waiting = await hangs(ledger.sign_of_life)
        go_on.set()
        await waiting
        await held_up


async def test_the_observer_gives_a_sign_unless_it_hangs(tmp_path: Path) -> None:
    directory, go_on = tmp_path / "in", threading.Event()
    directory.mkdir()
    async with watching(tmp_path, [a_feed(directory)]) as watched:
        await lives(watched.intake.sign_of_life)
        observer = watched.intake._watcher._observer
        assert observer is not None
        observer._hints.add = lambda *_: go_on.wait(PATIENCE)  # type: ignore[method-assign, assignment]
        (directory / "eLUX_1.csv").touch()
        waiting = await hangs(watched.intake.sign_of_life)
        go_on.set()
        await waiting


async def test_an_observer_that_died_is_replaced_before_it_is_held_against_the_daemon(
    tmp_path: Path,
) -> None:
    async with watching(tmp_path, [a_feed(tmp_path)]) as watched:
        observer = watched.intake._watcher._observer
        assert observer is not None
        observer.stop()
        await lives(watched.intake.sign_of_life)


async def test_slow_disks_are_not_taken_for_a_hang(tmp_path: Path) -> None:
    go_on = threading.Event()
    threads = range(2 * MOST_THREADS)
    async with watching(tmp_path, [a_feed(tmp_path)]) as watched:
        reading = [asyncio.ensure_future(asyncio.to_thread(go_on.wait, PATIENCE)) for _ in threads]
        await asyncio.sleep(0)
        try:
            await lives(watched.intake.sign_of_life)
        finally:
            go_on.set()
            await asyncio.gather(*reading)


async def test_no_sign_is_wanted_where_nothing_is_observed(tmp_path: Path) -> None:
    watcher = Watcher(PendingHints(lambda: None))
    watcher.sign_of_life()
    async with watching(tmp_path, [a_feed(tmp_path)], mode="poll") as watched:
        await lives(watched.intake.sign_of_life)


async def test_the_carrier_gives_a_sign_unless_it_hangs(carrier: Carrier) -> None:
    await lives(carrier.sign_of_life)
    assert carrier._child is not None
    pid = carrier._child._process.pid
    os.kill(pid, signal.SIGSTOP)
    waiting = await hangs(carrier.sign_of_life)
    os.kill(pid, signal.SIGCONT)
    await waiting


async def test_a_carrier_that_died_is_not_held_against_the_daemon(carrier: Carrier) -> None:
    assert carrier._child is not None
    os.kill(carrier._child._process.pid, signal.SIGKILL)
    await lives(carrier.sign_of_life)


async def test_a_carrier_that_was_ended_is_not_waited_for(carrier: Carrier) -> None:
    await lives(carrier.sign_of_life)
    assert carrier._child
    os.kill(carrier._child._process.pid, signal.SIGSTOP)
    waiting = await hangs(carrier.sign_of_life)
    await carrier.__aexit__()
    await lives(lambda: waiting)
    await lives(carrier.sign_of_life)


# ------------------------------------------------------------------ what systemd is told


async def test_systemd_hears_of_life_while_all_parts_live(systemd: Listener) -> None:
    hung = asyncio.Event()
    watchdog = Watchdog(Manager(os.environ), {"a": alive, "b": hung.wait})  # type: ignore[dict-item]
    with capture_logs() as logs:
        running = asyncio.create_task(watchdog.run())
        await eventually(lambda: _true(watchdog.missing), lambda: "never missed")
        assert systemd.told() == []
        hung.set()
        await eventually(lambda: _true("WATCHDOG=1" in systemd.told()), lambda: "never fed")
        assert watchdog.missing == []
        running.cancel()
    assert [(each["event"], each["of"]) for each in logs] == [("no sign of life", "b")]


async def test_a_start_that_makes_progress_gets_more_time(systemd: Listener) -> None:
    manager = Manager(os.environ)
    manager.alive()
    manager.ready()
    manager.alive()
    assert systemd.told() == [
        "WATCHDOG=1",
        "EXTEND_TIMEOUT_USEC=60000000",
        "READY=1",
        "WATCHDOG=1",
    ]


async def test_a_watchdog_for_another_process_is_not_fed(
    systemd: Listener, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WATCHDOG_PID", "1")
    await Watchdog(Manager(os.environ), {"a": alive}).run()
    assert systemd.told() == []


async def test_a_systemd_that_does_not_hear_holds_nothing_up(systemd: Listener) -> None:
    watchdog = Watchdog(Manager(os.environ), {"a": alive})
    systemd.close()
    running = asyncio.create_task(watchdog.run())
    ended, _ = await asyncio.wait([running], timeout=LONG_ENOUGH)
    running.cancel()
    assert not ended


async def test_without_systemd_nothing_is_told() -> None:
    manager = Manager({"WATCHDOG_USEC": "1"})
    assert not manager.listens
    await Watchdog(manager, {"a": alive}).run()


async def alive() -> None:
    """Give a sign at once."""


async def _true(value: object) -> bool:
    return bool(value)
