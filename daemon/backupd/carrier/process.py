"""The second process. Started as `python -m backupd.carrier.process FD PID`.

FD is its end of the socket pair, PID the first process, which it never outlives.
"""

from __future__ import annotations

import asyncio
import faulthandler
import os
import signal
import socket
import sys
from functools import partial
from typing import TYPE_CHECKING, Any, NoReturn

import structlog

from backupd.archive import open_archive
from backupd.carrier.outbound import OutboundStages
from backupd.carrier.wire import Outbox, received
from backupd.core.errors import BackupdError, TransientError
from backupd.core.host import host_fault
from backupd.core.moves import explained
from backupd.localfs.syscalls import die_with_parent
from backupd.ops import logs, output, process, streams

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable

    from backupd.carrier.wire import CarrierConfig, Outcome

log = structlog.get_logger()


def main() -> None:
    """Serve until the first process is gone."""
    for number in (signal.SIGTERM, signal.SIGINT):
        # They reach the whole group or unit; the first process says when it is time.
        signal.signal(number, signal.SIG_IGN)
    die_with_parent()
    first = int(sys.argv[2])
    _end_without(first)  # it may have died before the kernel was asked
    faulthandler.enable()  # an abort leaves every thread's stack on stderr
    streams.make_sound()
    output.take_stderr()
    process.die_with_threads()
    logs.set_up()
    process.tune_garbage_collector()
    asyncio.run(_serve(socket.socket(fileno=int(sys.argv[1])), first))


def _end_without(first: int) -> None:
    """End at once where the first process is gone: its next one may be at work already."""
    if os.getppid() != first:
        os._exit(0)


async def _serve(pair: socket.socket, first: int) -> NoReturn:
    reader, writer = await asyncio.open_unix_connection(sock=pair)
    outbox = Outbox(writer)
    messages = received(reader)
    if (config := await anext(messages, None)) is not None:
        await _answer_all(messages, outbox, _outbound(config, first))
    # The first process has ended or been killed. What runs here may not outlive it: its next one
    # will take it up. While it waits for our end, there is time for the last lines.
    _end_without(first)
    output.end()
    os._exit(0)


def _outbound(config: CarrierConfig, first: int) -> OutboundStages:
    return OutboundStages(config, open_archive(config.archive), partial(_end_without, first))


async def _answer_all(
    messages: AsyncIterator[Any], outbox: Outbox, outbound: OutboundStages
) -> None:
    """Do what is asked for, until the first process is gone."""
    running: set[asyncio.Task[None]] = set()
    async for number, stage, asked in messages:
        if asked is None:  # no more than a sign of life is wanted
            outbox.put((number, None))
            continue
        answer = asyncio.create_task(_answer(outbox, number, outbound.do(stage, asked)))
        running.add(answer)
        answer.add_done_callback(running.discard)


async def _answer(outbox: Outbox, number: int, work: Awaitable[Outcome | None]) -> None:
    """Send what came of it. What led to an error does not go along: it is looked at here."""
    outcome: Outcome | BackupdError | None
    try:
        outcome = await work
    except BackupdError as error:
        outcome = host_fault(error) or error
    except Exception as error:  # one file's fault, or ours, must not stop others
        outcome = host_fault(error) or TransientError(explained(error))
        if isinstance(outcome, TransientError):
            log.exception("unexpected error")
    outbox.put((number, outcome))


if __name__ == "__main__":
    main()
