"""One connection to an SFTP server: what is asked on it, and when it counts as lost."""

from __future__ import annotations

import asyncio
import contextlib
import math
import time
from typing import TYPE_CHECKING, TypeVar

import asyncssh
from asyncssh.constants import OPEN_CONNECT_FAILED

from backupd.core.dependencies import Dependency
from backupd.core.errors import DependencyDownError

if TYPE_CHECKING:
    from collections.abc import Awaitable

T = TypeVar("T")

# For one answer. Not shorter: sftp-server does one thing after another, and the flush of some GiB
# to a slow disk holds up all else on the connection for minutes.
ANSWER_WITHIN = 300.0
CLOSE_WITHIN = 5.0
LOOK_EVERY = 1.0  # seconds between looks whether an answer is overdue
# Servers, and what lies between, close what is idle, and do not always say so: after so many
# seconds without a request a connection is tried by a small one before it is used.
RESTED_AFTER = 1.0
GREETED_WITHIN = 10.0
# Written but not answered yet, on one connection: 4 MiB with OpenSSH. Enough for 160 MB/s over
# 50 ms on both, and little enough that the last of them is answered in time on a slow line.
BLOCKS_IN_FLIGHT = 16

GONE = (
    asyncssh.SFTPConnectionLost,
    asyncssh.SFTPNoConnection,
    asyncssh.DisconnectError,
    OSError,
)


class Link:
    """One connection with its SFTP session."""

    def __init__(
        self, connection: asyncssh.SSHClientConnection, sftp: asyncssh.SFTPClient, address: str
    ) -> None:
        """`address` names the server in messages: user, host and port."""
        self.sftp = sftp
        self.address = address
        self.window = asyncio.Semaphore(BLOCKS_IN_FLIGHT)
        self._connection = connection
        self._answer_by: dict[object, float] = {}  # deadlines of what is asked (time.monotonic)
        self._watching: asyncio.TimerHandle | None = None
        self._silent = False
        self._given_up = False
        self._last_answer_at = time.monotonic()
        self._greeting: asyncio.Task[None] | None = None
        self._ending = asyncio.create_task(self._notice_the_end())

    @property
    def lost(self) -> bool:
        """Whether nothing can be asked any more."""
        return self._given_up or self._connection.is_closed()

    @property
    def is_openssh(self) -> bool:
        """Whether the server says that it is OpenSSH's."""
        version: str = self._connection.get_extra_info("server_version", "")
        return "OpenSSH" in version

    async def ask(self, request: Awaitable[T], *, within: float | None = None) -> T:
        """Return the answer to a request, which takes at most `within` seconds.

        A connection that broke, or that did not answer in time, is given up and raises
        DependencyDownError. What the server answers itself is raised as asyncssh.SFTPError.
        """
        asked = object()
        self._answer_by[asked] = time.monotonic() + (ANSWER_WITHIN if within is None else within)
        self._watch()
        try:
            answer = await request
        except GONE as error:
            raise self._gone(error) from error
        finally:
            del self._answer_by[asked]
            self._rest()
        if self._silent:  # what came when it was given up is no answer
            raise self._did_not_answer()
        return answer

    async def answers(self) -> bool:
        """Return whether it can be used. After a rest it is tried, once for all who come then."""
        if self._greeting is None and self._has_rested():
            self._greeting = asyncio.create_task(self._greet())
        if self._greeting is not None:
            await asyncio.shield(self._greeting)
        return not self.lost

    def _rest(self) -> None:
        if self._answer_by:
            return
        self._last_answer_at = time.monotonic()
        if self._given_up:  # soon: who got an answer may go on asking
            asyncio.get_running_loop().call_soon(self._close_at_rest)

    def _close_at_rest(self) -> None:
        if not self._answer_by:
            self._connection.abort()

    def _has_rested(self) -> bool:
        return not self._answer_by and time.monotonic() - self._last_answer_at > RESTED_AFTER

    async def _greet(self) -> None:
        try:
            with contextlib.suppress(asyncssh.SFTPError, DependencyDownError):
                await self.ask(self.sftp.realpath(b"."), within=GREETED_WITHIN)
        finally:
            self._greeting = None

    async def _notice_the_end(self) -> None:
        """Use it no more when the server ends the SFTP session, perhaps alone.

        A command that still takes sums on the connection comes to its end.
        """
        await self.sftp.wait_closed()
        self._given_up = True
        self._rest()

    def _watch(self) -> None:
        """Look after the requests until all are answered: one timer for many of them."""
        if self._watching is None and self._answer_by:
            loop = asyncio.get_running_loop()
            self._watching = loop.call_later(LOOK_EVERY, self._look)

    def _look(self) -> None:
        self._watching = None
        if min(self._answer_by.values(), default=math.inf) < time.monotonic():
            self._silent = True
            self.abort()
        self._watch()

    async def start(self, command: str) -> asyncssh.SSHClientProcess[bytes]:
        """Start a command, its errors thrown away.

        Raises asyncssh.ChannelOpenError where the server runs none for us.
        """
        starting = self._connection.create_process(command, encoding=None, stderr=asyncssh.DEVNULL)
        return await self.ask(begun(self._connection, starting))

    def abort(self) -> None:
        """Give up the connection at once; whoever waits for an answer gets an error."""
        self._given_up = True  # asyncssh says so only when the event loop comes to it
        self._connection.abort()

    def _did_not_answer(self) -> DependencyDownError:
        return DependencyDownError(
            Dependency.ARCHIVE,
            f"{self.address} did not answer in time",
            hint="look at the load and the disks of the archive host",
        )

    def _gone(self, error: Exception) -> DependencyDownError:
        if self._silent:
            return self._did_not_answer()
        self.abort()
        return DependencyDownError(
            Dependency.ARCHIVE,
            f"the connection to {self.address} was lost: {error or type(error).__name__}",
            hint="look whether the archive host and its sshd are up",
        )

    async def aclose(self) -> None:
        """Take leave; where the server does not answer, without it."""
        self._connection.close()
        try:
            async with asyncio.timeout(CLOSE_WITHIN):
                await self._connection.wait_closed()
                await self._ending
        except TimeoutError:
            self.abort()


async def begun(connection: asyncssh.SSHClientConnection, session: Awaitable[T]) -> T:
    """Return the session. Raises asyncssh.ConnectionLost when the connection was closed meanwhile.

    asyncssh reports that a moment after it refuses the session, and stumbles over a session that is
    closed while it begins.
    """
    try:
        return await session
    except (asyncssh.ChannelOpenError, AttributeError) as error:
        await asyncio.sleep(0)
        if connection.is_closed():
            raise asyncssh.ConnectionLost("closed as a session began") from error
        if isinstance(error, asyncssh.ChannelOpenError):
            raise
        raise asyncssh.ChannelOpenError(OPEN_CONNECT_FAILED, "closed as it began") from error
