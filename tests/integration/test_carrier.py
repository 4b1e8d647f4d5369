"""The carrier: a real second process that ships into a real directory."""

from __future__ import annotations

import asyncio
import os
import pickle
import signal
import sys
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from backupd.carrier import Carrier, CarrierConfig, client
from backupd.core import moves
from backupd.core.errors import (
    BackupdError,
    DependencyDownError,
    LocalGoneError,
    RewindError,
    TransientError,
    WorkerDiedError,
)
from backupd.core.records import Identity, Result, Task
from backupd.core.stages import Awaits, Stage, Status
from backupd.stages import CleanupRules, ShipRules
from support.archives import FirstUse, archive_section
from support.files import NOW, POLICY, a_running_file, moved, registered, task_of
from support.intake import eventually

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

CONTENT = b"id;name\n1;a\n" * 1_000


def config_for(directory: Path) -> CarrierConfig:
    section = archive_section(directory / "archive")
    return CarrierConfig(
        archive=section, ship=ShipRules(compress=True), cleanup=CleanupRules(delete=True)
    )


@pytest.fixture
async def carrier(tmp_path: Path) -> AsyncIterator[Carrier]:
    config = config_for(tmp_path)
    async with Carrier(config, FirstUse()) as carrier:
        yield carrier
    assert carriers() == []


@pytest.fixture
def task(tmp_path: Path) -> Task:
    path = tmp_path / "eLUX_1.csv"
    path.write_bytes(CONTENT)
    file = registered(path)
    return task_of(file)


def carriers() -> list[int]:
    """Return the pids of the carriers of this process."""
    children = Path(f"/proc/self/task/{os.getpid()}/children").read_text().split()
    return [
        int(pid)
        for pid in children
        if b"backupd.carrier.process" in Path(f"/proc/{pid}/cmdline").read_bytes()
    ]


async def test_a_file_is_shipped_and_its_receipt_comes_back(carrier: Carrier, task: Task) -> None:
    result = await carrier.stage(Stage.SHIP)(task)
    assert result.receipt is not None
    assert result.receipt.sha256 == task.file.sha256
    assert result.changes["identity"] == Identity.of(Path(task.file.path).stat())


async def test_many_files_that_are_asked_for_at_once_each_get_their_own_answer(
    carrier: Carrier, tmp_path: Path
) -> None:
    paths = [tmp_path / f"eLUX_{number}.csv" for number in range(40)]
    for number, path in enumerate(paths):
        path.write_bytes(CONTENT + b"%d" % number)
    tasks = [task_of(registered(path)) for path in paths]
    for path in paths[::4]:
        path.unlink()
    ship = carrier.stage(Stage.SHIP)
    answers = await asyncio.gather(*map(ship, tasks), return_exceptions=True)
    for number, (task, answer) in enumerate(zip(tasks, answers, strict=True)):
        if number % 4 == 0:
            assert isinstance(answer, LocalGoneError)
        else:
            assert isinstance(answer, Result)
            assert answer.receipt
            assert (answer.receipt.file_id, answer.receipt.sha256) == (
                task.file.id,
                task.file.sha256,
            )


async def test_what_the_stage_raises_comes_back_as_it_was(carrier: Carrier, task: Task) -> None:
    other = replace(task, file=replace(task.file, sha256="0" * 64))
    with pytest.raises(LocalGoneError, match="changed after it was registered") as caught:
        await carrier.stage(Stage.SHIP)(other)
    assert caught.value.hint == "the changed file is taken as a new one"


async def test_a_file_that_is_not_there_has_vanished_unless_its_feed_has(
    carrier: Carrier, task: Task
) -> None:
    Path(task.file.path).unlink()
    with pytest.raises(LocalGoneError, match="vanished"):
        await carrier.stage(Stage.SHIP)(task)
    elsewhere = replace(task, root=replace(task.root, ino=task.root.ino + 1))
    with pytest.raises(DependencyDownError, match="another directory") as caught:
        await carrier.stage(Stage.SHIP)(elsewhere)
    assert caught.value.dependency == "feed:traffic/eLUX"


async def test_a_carrier_that_dies_is_told_of_and_started_anew(
    carrier: Carrier, task: Task
) -> None:
    shipping = carrier.stage(Stage.SHIP)
    (pid,) = carriers()
    await carrier.sign_of_life()
    os.kill(pid, signal.SIGSTOP)  # so that the file is surely in its hands
    in_hand = asyncio.ensure_future(shipping(task))
    await asyncio.sleep(0)
    os.kill(pid, signal.SIGKILL)
    with pytest.raises(WorkerDiedError, match="code -9"):
        await in_hand
    assert (await shipping(task)).receipt is not None
    assert carriers() != [pid]


async def test_one_that_dies_again_and_again_is_started_ever_later(
    tmp_path: Path, task: Task, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(client, "_PAUSE", 0.01)
    config = config_for(tmp_path)
    pauses = []
    async with Carrier(config, FirstUse()) as carrier:
        for _ in range(4):
            child = await carrier._living()
            os.kill(child._process.pid, signal.SIGKILL)
            await eventually(lambda child=child: _is_dead(child), lambda: "it lives")  # type: ignore[misc]
            pauses.append(carrier._pause)
        assert (await carrier.stage(Stage.SHIP)(task)).receipt is not None
    assert pauses == [0.01, 0.02, 0.04, 0.08]


async def _is_dead(child: client._Child) -> bool:
    return child.dead


async def test_signals_to_the_whole_group_do_not_end_it(carrier: Carrier, task: Task) -> None:
    shipping = carrier.stage(Stage.SHIP)
    await shipping(task)
    (pid,) = carriers()
    os.kill(pid, signal.SIGTERM)
    os.kill(pid, signal.SIGINT)
    assert (await shipping(replace(task, file=replace(task.file, claims=2)))).receipt is not None
    assert carriers() == [pid]


async def test_it_ends_when_its_first_process_is_gone(tmp_path: Path) -> None:
    program = (
        "import asyncio, os, signal, sys\n"
        "from pathlib import Path\n"
        f"sys.path[:0] = {[str(Path(__file__).parents[1])]!r}\n"
        "from backupd.carrier import Carrier, CarrierConfig\n"
        "from backupd.stages import CleanupRules, ShipRules\n"
        "from support.archives import FirstUse, archive_section\n"
        "async def main():\n"
        f"    section = archive_section(Path({str(tmp_path)!r}))\n"
        "    ship, cleanup = ShipRules(compress=True), CleanupRules(delete=True)\n"
        "    config = CarrierConfig(archive=section, ship=ship, cleanup=cleanup)\n"
        "    async with Carrier(config, FirstUse()):\n"
        "        print(Path(f'/proc/self/task/{os.getpid()}/children').read_text(), flush=True)\n"
        "        os.kill(os.getpid(), signal.SIGKILL)\n"
        "asyncio.run(main())\n"
    )
    first = await asyncio.create_subprocess_exec(
        sys.executable, "-c", program, stdout=asyncio.subprocess.PIPE
    )
    told, _ = await first.communicate()
    orphan = int(told.split()[0])

    async def is_gone() -> bool:
        try:
            return "\nState:\tZ" in Path(f"/proc/{orphan}/status").read_text()
        except OSError:
            return True

    await eventually(is_gone, lambda: f"process {orphan} is gone")


def test_a_file_whose_worker_died_is_interrupted_and_burns_no_attempt() -> None:
    file = a_running_file(Stage.SHIP, POLICY.attempts)
    after = moved(moves.failed(file, WorkerDiedError("code -11"), NOW, POLICY))
    assert (after.status, after.attempts) == (Status.WAITING, POLICY.attempts - 1)
    assert after.interruptions == 1


@pytest.mark.parametrize(
    "error",
    [
        TransientError("slow", hint="wait"),
        DependencyDownError("archive", "refused", hint="look"),
        RewindError(Stage.CLEANUP, "waits", awaits=Awaits.ORIGINAL),
    ],
)
def test_errors_go_from_process_to_process_whole(error: BackupdError) -> None:
    there = pickle.loads(pickle.dumps(error))  # noqa: S301 - made a moment ago
    assert type(there) is type(error)
    assert (str(there), vars(there)) == (str(error), vars(error))
