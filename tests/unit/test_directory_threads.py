"""Calls into directories: one that hangs is left behind, and keeps nobody but its directory."""

from __future__ import annotations

import asyncio
import threading
import time
from contextlib import contextmanager
from functools import partial
from typing import TYPE_CHECKING

import pytest

from backupd.core.calls import AT_ONCE, Call, Calls, DoesNotAnswerError
from backupd.core.threads import DirectoryThreads, in_steps
from support.intake import eventually

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterator

FROZEN, OTHER = "/frozen", "/other"


class Frozen:
    """A call that hangs until the thaw."""

    def __init__(self) -> None:
        self.thaw = threading.Event()
        self.begun = 0
        self.error: Exception | None = None

    def __call__(self) -> str:
        self.begun += 1
        self.thaw.wait()
        if self.error:
            raise self.error
        return "thawed"


@pytest.fixture
def threads() -> DirectoryThreads:
    return DirectoryThreads("test", slow=0.01, patience=0.05)


@pytest.fixture
def frozen() -> Iterator[Frozen]:
    made = Frozen()
    yield made
    made.thaw.set()


async def test_it_returns_and_raises_what_the_call_does(threads: DirectoryThreads) -> None:
    assert await threads.run(OTHER, partial("a,b".split, ",")) == ["a", "b"]
    with pytest.raises(ZeroDivisionError):
        await threads.run(OTHER, lambda: 1 // 0)


async def test_what_gives_back_is_called_whatever_hangs(
    threads: DirectoryThreads, frozen: Frozen
) -> None:
    given_back: list[str] = []
    await threads.run_at_last(FROZEN, partial(given_back.append, "before"))
    assert given_back == ["before"]
    with pytest.raises(DoesNotAnswerError):
        await threads.run(FROZEN, frozen)
    await threads.run_at_last(FROZEN, partial(given_back.append, "meanwhile"))

    async def both() -> bool:
        return given_back == ["before", "meanwhile"]

    await eventually(both, lambda: str(given_back))


async def test_a_call_that_hangs_is_left_and_further_ones_fail_at_once(
    threads: DirectoryThreads, frozen: Frozen
) -> None:
    calls = (threads.run(FROZEN, frozen) for _ in range(3))
    got = await asyncio.gather(*calls, return_exceptions=True)
    assert [type(error) for error in got] == [DoesNotAnswerError] * 3
    for _ in range(5):
        with pytest.raises(OSError, match="does not answer"):
            await threads.run(FROZEN, frozen)
    assert frozen.begun == 3, "no more threads hang"
    assert await threads.run(OTHER, lambda: "well") == "well"


@pytest.mark.parametrize("error", [None, OSError("gone")], ids=repr)
async def test_it_is_called_again_once_all_that_hung_has_come_back(
    threads: DirectoryThreads, frozen: Frozen, error: Exception | None
) -> None:
    frozen.error = error
    with pytest.raises(DoesNotAnswerError):
        await threads.run(FROZEN, frozen)
    frozen.thaw.set()
    await eventually(partial(_answers, threads), lambda: "it was never called again")


@pytest.mark.parametrize(
    "run", [DirectoryThreads.run, DirectoryThreads.run_small], ids=["any", "small"]
)
async def test_who_is_slow_is_known_while_it_lasts(
    frozen: Frozen, monkeypatch: pytest.MonkeyPatch, run: Callable[..., Awaitable[str]]
) -> None:
    monkeypatch.setattr("backupd.core.small_calls._WITHIN", 0.01)
    threads = DirectoryThreads("test", slow=0.01, patience=30)
    happened: list[str] = []

    @contextmanager
    def slow() -> Iterator[None]:
        happened.append("slow")
        frozen.thaw.set()
        yield
        happened.append("came on")

    assert await run(threads, FROZEN, frozen, slow()) == "thawed"
    assert happened == ["slow", "came on"]


async def test_who_is_cancelled_waits_no_longer(frozen: Frozen) -> None:
    threads = DirectoryThreads("test", patience=30)
    waiting = asyncio.create_task(threads.run(FROZEN, frozen))

    async def began() -> int:
        return frozen.begun

    await eventually(began, lambda: "never called")
    waiting.cancel()
    async with asyncio.timeout(30):
        await asyncio.wait([waiting])
    assert waiting.cancelled()


async def _answers(threads: DirectoryThreads) -> bool:
    try:
        return await threads.run(FROZEN, lambda: True)
    except DoesNotAnswerError:
        return False


class Meeting:
    """Calls that know how many are made at once."""

    def __init__(self) -> None:
        self.inside = self.most = self.made = 0
        self._lock = threading.Lock()

    def __call__(self) -> None:
        with self._lock:
            self.inside += 1
            self.most = max(self.most, self.inside)
        time.sleep(0.002)
        with self._lock:
            self.inside -= 1
            self.made += 1


async def test_few_calls_into_a_directory_are_made_at_once() -> None:
    threads, meeting = DirectoryThreads("test", patience=30), Meeting()
    await asyncio.gather(*(threads.run(OTHER, meeting) for _ in range(200)))
    assert meeting.made == 200
    assert 1 < meeting.most <= AT_ONCE


async def test_slow_calls_keep_no_other_call_waiting(frozen: Frozen) -> None:
    threads = DirectoryThreads("test", slow=0.01, patience=30)
    slow = [asyncio.create_task(threads.run(FROZEN, frozen)) for _ in range(20)]
    assert await threads.run(FROZEN, lambda: "well") == "well"
    frozen.thaw.set()
    assert await asyncio.gather(*slow) == ["thawed"] * 20
    assert await threads.run(FROZEN, lambda: "well") == "well"


async def test_what_waits_behind_calls_that_hang_is_never_made(
    threads: DirectoryThreads, frozen: Frozen
) -> None:
    """Each would keep a thread; and who asked for it has been told that it was not made."""
    made: list[str] = []
    hanging = [threads.run(FROZEN, frozen)]
    hanging += [threads.run(FROZEN, partial(_wait_then, frozen, made)) for _ in range(100)]
    got = await asyncio.gather(*hanging, return_exceptions=True)
    assert {type(error) for error in got} == {DoesNotAnswerError}
    frozen.thaw.set()
    await eventually(partial(_answers, threads), lambda: "it was never called again")
    assert len(made) < 100


def _wait_then(frozen: Frozen, made: list[str]) -> str:
    frozen.thaw.wait()
    made.append("made")
    return "made"


async def test_a_call_whose_caller_is_gone_is_never_made(frozen: Frozen) -> None:
    threads, made = DirectoryThreads("test", patience=30), []
    busy = [asyncio.create_task(threads.run(FROZEN, frozen)) for _ in range(AT_ONCE)]
    waiting = asyncio.create_task(threads.run(FROZEN, lambda: made.append("made")))
    await asyncio.sleep(0)
    waiting.cancel()
    await asyncio.wait([waiting])
    frozen.thaw.set()
    await asyncio.gather(*busy)
    await threads.run(FROZEN, lambda: None)
    assert made == []


async def test_time_in_which_the_process_stood_still_makes_no_call_hang(
    threads: DirectoryThreads, frozen: Frozen
) -> None:
    """As when it was stopped, or its virtual machine was."""
    running = asyncio.create_task(threads.run(FROZEN, frozen))
    waiting = [asyncio.create_task(threads.run(FROZEN, lambda: "made")) for _ in range(20)]
    await asyncio.sleep(0)
    time.sleep(1.0)  # noqa: ASYNC251 - far more than its patience
    frozen.thaw.set()
    assert await running == "thawed"
    assert await asyncio.gather(*waiting) == ["made"] * 20


async def test_what_gives_back_is_called_beside_calls_that_are_about_to_hang(
    threads: DirectoryThreads, frozen: Frozen
) -> None:
    calls = [asyncio.create_task(threads.run(FROZEN, frozen)) for _ in range(2 * AT_ONCE)]
    await asyncio.sleep(0)
    given_back: list[str] = []
    await threads.run_at_last(FROZEN, partial(given_back.append, "given back"))
    assert given_back == ["given back"]
    await asyncio.wait(calls)


async def test_a_thread_that_could_not_be_started_keeps_no_later_call_waiting(
    threads: DirectoryThreads, frozen: Frozen, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What was handed to the pool then is still counted by it as a thread that is free."""
    with monkeypatch.context() as patch:
        patch.setattr(threading.Thread, "start", _refuse)
        with pytest.raises(RuntimeError, match="can't start new thread"):
            await threads.run(OTHER, lambda: "made")
    hanging = asyncio.create_task(threads.run(FROZEN, frozen))
    await asyncio.sleep(0)
    async with asyncio.timeout(30):
        assert await threads.run(OTHER, lambda: "made") == "made"
    await asyncio.wait([hanging])


def _refuse(_: threading.Thread) -> None:
    raise RuntimeError("can't start new thread")


@pytest.mark.parametrize("at_work", [0, 1])
async def test_without_another_thread_those_at_work_make_all_or_the_caller_hears_of_it(
    frozen: Frozen, monkeypatch: pytest.MonkeyPatch, at_work: int
) -> None:
    threads = DirectoryThreads("test", patience=30)
    busy = [asyncio.create_task(threads.run(FROZEN, frozen)) for _ in range(at_work)]

    async def began() -> bool:
        return frozen.begun == at_work

    await eventually(began, lambda: "never called")

    monkeypatch.setattr(threading.Thread, "start", _refuse)
    more = [asyncio.create_task(threads.run(FROZEN, lambda: "made")) for _ in range(20)]
    await asyncio.sleep(0.01)
    frozen.thaw.set()
    got = await asyncio.gather(*more, return_exceptions=True)
    if at_work:
        assert got == ["made"] * 20
    else:
        assert {str(error) for error in got} == {"can't start new thread"}
    await asyncio.gather(*busy)
    monkeypatch.undo()
    assert await threads.run(FROZEN, lambda: "again") == "again"


async def test_calls_into_many_directories_share_a_thread(threads: DirectoryThreads) -> None:
    calls = {str(number): (str(number), threading.get_ident) for number in range(100)}
    answers = await threads.run_each(calls)
    assert answers.keys() == calls.keys()
    assert len(set(answers.values())) == 1
    assert await threads.run_each({}) == {}


@pytest.mark.parametrize("at", [{0}, {9}, {3, 4, 8}, set(range(10))], ids=repr)
async def test_of_many_directories_only_those_that_hang_give_no_answer(
    threads: DirectoryThreads, frozen: Frozen, at: set[int]
) -> None:
    calls = {
        str(number): (str(number), frozen if number in at else partial(str, number))
        for number in range(10)
    }
    for _ in range(3):
        answers = await threads.run_each(calls)
        for number in range(10):
            answer = answers[str(number)]
            assert isinstance(answer, DoesNotAnswerError) == (number in at)
            assert number in at or answer == str(number)
    assert frozen.begun <= 2 * len(at), "no more threads hang"


async def test_all_that_hang_are_known_before_the_first_is_given_up(
    frozen: Frozen, monkeypatch: pytest.MonkeyPatch
) -> None:
    threads = DirectoryThreads("test", slow=0.05, patience=1.0)
    begun: list[int] = []

    def given_up(calls: Calls) -> tuple[list[Call], list[Call], bool]:
        late = look(calls)
        begun.extend([frozen.begun] * len(late[1]))
        return late

    look = Calls._late
    monkeypatch.setattr(Calls, "_late", given_up)
    await threads.run_each({str(number): (str(number), frozen) for number in range(64)})
    assert begun[0] >= 64


async def test_what_one_of_many_calls_raises_is_raised(threads: DirectoryThreads) -> None:
    calls = {"a": ("a", lambda: 1), "b": ("b", lambda: 1 // 0), "c": ("c", lambda: 1)}
    with pytest.raises(ZeroDivisionError):
        await threads.run_each(calls)


@pytest.mark.parametrize("step", [0.0, 3600.0])
@pytest.mark.parametrize("number", [0, 1, 10])
async def test_long_work_is_made_in_steps(
    threads: DirectoryThreads, monkeypatch: pytest.MonkeyPatch, step: float, number: int
) -> None:
    monkeypatch.setattr("backupd.core.threads.STEP", step)
    made = await in_steps(partial(threads.run, OTHER), iter(range(number)))
    assert made == list(range(number))


async def test_one_step_of_slow_work_is_one_item(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("backupd.core.threads.STEP", 0.0)
    steps = []

    async def run(call: Callable[[], list[int]]) -> list[int]:
        steps.append(call())
        return steps[-1]

    assert await in_steps(run, iter(range(3))) == [0, 1, 2]
    assert steps == [[0], [1], [2], []]


async def test_small_calls_that_come_together_are_made_together(threads: DirectoryThreads) -> None:
    names = await asyncio.gather(
        *(threads.run_small(OTHER, lambda: threading.current_thread().name) for _ in range(50))
    )
    assert len(set(names)) == 1


async def test_each_small_call_has_its_own_answer(threads: DirectoryThreads) -> None:
    calls = [partial(divmod, 7, number) for number in range(3)]
    got = await asyncio.gather(
        *(threads.run_small(OTHER, call) for call in calls), return_exceptions=True
    )
    assert isinstance(got[0], ZeroDivisionError)
    assert got[1:] == [(7, 0), (3, 1)]
    assert await threads.run_small(OTHER, lambda: "again") == "again"


async def test_small_calls_into_many_directories_share_a_thread(
    threads: DirectoryThreads,
) -> None:
    names = await asyncio.gather(
        *(
            threads.run_small(str(number), lambda: threading.current_thread().name)
            for number in range(50)
        )
    )
    assert len(set(names)) == 1


async def test_a_small_call_that_hangs_keeps_nobody_but_itself(
    threads: DirectoryThreads, frozen: Frozen
) -> None:
    calls: list[Callable[[], str]] = [lambda: "before", frozen, lambda: "behind"]
    beside = asyncio.gather(
        *(threads.run_small(FROZEN, call) for call in calls),
        *(threads.run_small(f"{OTHER}/{number}", lambda: "well") for number in range(20)),
        return_exceptions=True,
    )
    before, hanging, behind, *others = await beside
    assert (before, type(hanging), behind) == ("before", DoesNotAnswerError, "behind")
    assert others == ["well"] * 20


async def test_while_one_hangs_no_further_small_call_into_its_directory_is_made(
    threads: DirectoryThreads, frozen: Frozen
) -> None:
    with pytest.raises(DoesNotAnswerError):
        await threads.run_small(FROZEN, frozen)
    for _ in range(5):
        with pytest.raises(DoesNotAnswerError):
            await threads.run_small(FROZEN, frozen)
    assert frozen.begun == 1, "no more threads hang"
    assert await threads.run_small(OTHER, lambda: "well") == "well"
    frozen.thaw.set()
    await eventually(partial(_answers, threads), lambda: "it was never called again")
    assert await threads.run_small(FROZEN, lambda: "again") == "again"


@pytest.mark.parametrize("error", [None, OSError("gone")], ids=repr)
async def test_a_small_call_that_merely_is_slow_is_made_once(
    frozen: Frozen, monkeypatch: pytest.MonkeyPatch, error: Exception | None
) -> None:
    monkeypatch.setattr("backupd.core.small_calls._WITHIN", 0.01)
    threads = DirectoryThreads("test", slow=0.01, patience=30)
    frozen.error = error
    slow = asyncio.create_task(threads.run_small(FROZEN, frozen))

    async def is_slow() -> bool:
        return threads._small.is_slow(FROZEN)

    await eventually(is_slow, lambda: "it never was slow")
    assert await threads.run_small(FROZEN, lambda: "beside") == "beside"
    frozen.thaw.set()
    await asyncio.wait([slow])
    assert slow.exception() is error
    assert error or slow.result() == "thawed"
    assert frozen.begun == 1
    assert not await is_slow()


async def test_a_small_call_whose_caller_is_gone_is_never_made(threads: DirectoryThreads) -> None:
    made: list[str] = []
    waiting = asyncio.create_task(threads.run_small(OTHER, lambda: made.append("made")))
    beside = asyncio.create_task(threads.run_small(OTHER, lambda: "made"))
    await asyncio.sleep(0)
    waiting.cancel()
    assert await beside == "made"
    assert made == []


async def test_small_calls_without_a_thread_fail_and_later_ones_are_made(
    threads: DirectoryThreads, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(threading.Thread, "start", _refuse)
        for _ in range(2):
            with pytest.raises(RuntimeError, match="can't start new thread"):
                await threads.run_small(OTHER, lambda: "made")
    assert await threads.run_small(OTHER, lambda: "made") == "made"
