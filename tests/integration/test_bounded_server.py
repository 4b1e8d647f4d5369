"""A server that no crowd can fill, however it asks, and however it takes its answers."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import threading
from typing import TYPE_CHECKING

import pytest

from backupd.control import ControlServer, ask_daemon
from backupd.control.client import LONGEST_REQUEST
from backupd.core.errors import BackupdError
from backupd.ops.bounded_server import BoundedServer, Bounds
from support.crowds import crowd
from support.intake import eventually
from support.ledgers import opened

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

CONNECTIONS = 8
FOR_EVER = 3600.0  # seconds
PATIENCE = 30.0
LARGE = b"x" * 8_000_000  # more than the kernel takes off anyone's hands


class Answers:
    """Gives back what it is asked, once it may."""

    def __init__(self) -> None:
        self.asked: list[bytes] = []
        self.may = asyncio.Event()
        self.may.set()

    async def heard(self, count: int) -> None:
        """Wait until so many requests were heard."""

        async def enough() -> bool:
            return len(self.asked) == count

        await eventually(enough, lambda: str(self.asked))

    async def answer(self, request: bytes, peer: socket.socket) -> bytes:
        assert peer.fileno() >= 0
        self.asked.append(request)
        await self.may.wait()
        if request == b"fail\n":
            raise ZeroDivisionError
        return LARGE if request == b"large\n" else request

    def refusal(self, why: str) -> bytes:
        return f"refused: {why}".encode()


@contextlib.asynccontextmanager
async def serving(answers: Answers, patience: float = FOR_EVER) -> AsyncIterator[tuple[str, int]]:
    bounds = Bounds(end=b"\n", longest=1024, connections=CONNECTIONS, patience=patience)
    server = BoundedServer(bounds, answers)
    bound = socket.create_server(("127.0.0.1", 0))
    await server.listen(bound)
    try:
        yield bound.getsockname()
    finally:
        answers.may.set()
        await server.close()


async def ask(address: tuple[str, int], request: bytes) -> bytes:
    """Ask; b"" where the connection is closed without an answer."""
    reader, writer = await asyncio.open_connection(*address)
    try:
        writer.write(request)
        async with asyncio.timeout(PATIENCE):
            return await reader.read()
    except ConnectionError:
        return b""
    finally:
        writer.close()


KINDS = pytest.mark.parametrize(
    "says", [b"", b"half a line", b"large\n"], ids=["says nothing", "says half", "takes nothing"]
)


@KINDS
async def test_who_asks_is_served_whatever_crowd_stands_around(says: bytes) -> None:
    async with serving(Answers()) as address:

        def crowded() -> list[bytes]:
            with crowd(4 * CONNECTIONS, lambda: socket.create_connection(address), says):
                return [asyncio.run(ask(address, b"%d\n" % n)) for n in range(10)]

        assert await asyncio.to_thread(crowded) == [b"%d\n" % n for n in range(10)]


@KINDS
async def test_who_is_too_slow_is_dropped(says: bytes) -> None:
    async with serving(Answers(), patience=0.1) as address:
        with socket.create_connection(address) as slow:
            slow.sendall(says)
            slow.settimeout(PATIENCE)
            await asyncio.to_thread(_see_it_go, slow, says)


def _see_it_go(slow: socket.socket, says: bytes) -> None:
    """Wait until the other side is gone, without taking what it says."""
    if says != b"large\n":
        assert slow.recv(1) == b""
        return
    with pytest.raises(ConnectionError):
        _say_for_ever(slow)


def _say_for_ever(slow: socket.socket) -> None:
    while True:
        slow.sendall(b"x")


async def test_a_line_that_does_not_end_is_refused_when_it_is_too_long() -> None:
    async with serving(Answers()) as address:
        answer = await ask(address, b"x" * 2000)
        assert answer in {b"refused: longer than 1024 bytes", b""}  # the rest may be reset unread


async def test_who_is_being_answered_is_not_dropped_for_others() -> None:
    answers = Answers()
    answers.may.clear()
    async with serving(answers) as address:
        asking = [asyncio.create_task(ask(address, b"%d\n" % n)) for n in range(CONNECTIONS)]
        await answers.heard(CONNECTIONS)
        assert await ask(address, b"one more\n") == b""
        answers.may.set()
        assert sorted(await asyncio.gather(*asking)) == [b"%d\n" % n for n in range(CONNECTIONS)]
        assert await ask(address, b"again\n") == b"again\n"


async def test_what_was_heard_is_answered_at_the_end() -> None:
    answers = Answers()
    answers.may.clear()
    server = serving(answers)
    address = await server.__aenter__()
    asking = asyncio.create_task(ask(address, b"the last\n"))
    await answers.heard(1)
    await server.__aexit__(None, None, None)
    assert await asking == b"the last\n"


async def test_an_answer_that_fails_ends_nothing() -> None:
    async with serving(Answers()) as address:
        assert await ask(address, b"fail\n") == b""
        assert await ask(address, b"well\n") == b"well\n"


async def test_the_daemon_answers_whatever_crowd_stands_at_its_socket(tmp_path: Path) -> None:
    path = tmp_path / "socket"

    def connect() -> socket.socket:
        standing = socket.socket(socket.AF_UNIX)
        standing.connect(str(path))
        return standing

    def crowded() -> None:
        with crowd(200, connect, b'{"verb": '):
            for _ in range(10):
                assert ask_daemon(path, {"verb": "status"})["pid"]

    async with opened(tmp_path / "ledger.db") as ledger, ControlServer(path, ledger):
        await asyncio.to_thread(crowded)


async def test_lines_without_end_cost_no_memory(tmp_path: Path) -> None:
    path = tmp_path / "socket"
    taken: list[int] = []

    def never_end() -> None:
        with socket.socket(socket.AF_UNIX) as endless, contextlib.suppress(OSError):
            endless.connect(str(path))
            endless.settimeout(PATIENCE)
            taken.append(0)
            mine = len(taken) - 1
            while taken[mine] < 100 * LONGEST_REQUEST:
                taken[mine] += endless.send(b"x" * 65536)

    async with opened(tmp_path / "ledger.db") as ledger, ControlServer(path, ledger):
        talkers = [threading.Thread(target=never_end) for _ in range(8)]
        for talker in talkers:
            talker.start()
        for talker in talkers:
            await asyncio.to_thread(talker.join)
        assert len(taken) == 8
        assert max(taken) < 8 * LONGEST_REQUEST
        assert (await asyncio.to_thread(ask_daemon, path, {"verb": "status"}))["pid"]


def test_a_request_that_is_too_long_is_told_before_it_is_sent(tmp_path: Path) -> None:
    with pytest.raises(BackupdError, match=r"the daemon hears 262,144 at most"):
        ask_daemon(tmp_path / "nobody", {"verb": "dismiss", "ids": [], "why": "x" * 300_000})
