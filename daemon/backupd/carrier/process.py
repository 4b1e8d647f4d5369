"""The second process. Started as `python -m backupd.carrier.process FD`, FD its end of the pair."""

from __future__ import annotations

import asyncio
import faulthandler
import os
import signal
import socket
import sys
from typing import TYPE_CHECKING, NoReturn

import structlog

from backupd.archive import open_archive
from backupd.carrier.wire import Outbox, receive
from backupd.carrier.works import works
from backupd.core.errors import BackupdError, TransientError
from backupd.core.moves import explained
from backupd.ops import collector, logs
from backupd.stages import LocalFiles

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from backupd.carrier.wire import Orders
    from backupd.core.records import Feed, Result, Task

    Work = Callable[[Task], Awaitable[Result]]

log = structlog.get_logger()


def main() -> None:
    """Serve until the first process is gone."""
    for number in (signal.SIGTERM, signal.SIGINT):
        # They reach the whole group or unit; the first process says when it is time.
        signal.signal(number, signal.SIG_IGN)
    faulthandler.enable()  # an abort leaves every thread's stack on stderr
    logs.set_up()
    collector.spare()
    asyncio.run(_serve(socket.socket(fileno=int(sys.argv[1]))))


async def _serve(pair: socket.socket) -> NoReturn:
    reader, writer = await asyncio.open_unix_connection(sock=pair)
    outbox = Outbox(writer)
    running: set[asyncio.Task[None]] = set()
    try:
        orders: Orders = await receive(reader)
        todo = works(orders, open_archive(orders.archive), LocalFiles(_not_for_me_to_say))
        while True:
            number, stage, task = await receive(reader)
            if task is None:  # no more than a sign of life is wanted
                outbox.put((number, None))
                continue
            answer = asyncio.create_task(_answer(outbox, number, todo[stage], task))
            running.add(answer)
            answer.add_done_callback(running.discard)
    except EOFError:
        # The first process has ended or been killed. What runs here may not outlive it: its next
        # one will take it up.
        os._exit(0)


def _not_for_me_to_say(feed: Feed) -> str:
    """A file is not there. Whether its feed is away, the first process knows: it looks itself."""
    return f"something of feed {feed.name} is not there"


async def _answer(outbox: Outbox, number: int, work: Work, task: Task) -> None:
    outcome: Result | BackupdError
    try:
        outcome = await work(task)
    except BackupdError as error:
        outcome = error
    except Exception as error:  # one file's fault, or ours, must not stop others
        log.exception("unexpected error", file_id=task.file.id)
        outcome = TransientError(explained(error))
    outbox.put((number, outcome))


if __name__ == "__main__":
    main()
