"""Connections to an SFTP server: few of them, shared by many files, built up again when lost."""

from __future__ import annotations

import asyncio
import math
import time
from typing import TYPE_CHECKING, TypeVar

import asyncssh
from asyncssh.constants import MSG_IGNORE

from backupd.core.errors import DependencyDownError

if TYPE_CHECKING:
    from collections.abc import Awaitable

    from asyncssh.packet import SSHPacketLogger

    from backupd.config.sections import ArchiveSection

T = TypeVar("T")

# Two keep two server processes busy: one hashes or flushes while the other writes. More gained
# nothing, since on this side one thread encrypts for all of them.
CONNECTIONS = 2
CONNECT_WITHIN = 15.0  # seconds for TCP
LOGIN_WITHIN = 30.0  # seconds more for key exchange and login, which name service may slow down
# A server that froze, or a network that swallows packets, is noticed after about 40 s.
KEEPALIVE_EVERY = 10.0
KEEPALIVE_MISSED = 3
# For one answer. Not shorter: sftp-server does one thing after another, and the flush of some GiB
# to a slow disk holds up all else on the connection for minutes.
ANSWER_WITHIN = 300.0
CLOSE_WITHIN = 5.0
LOOK_EVERY = 1.0  # seconds between looks whether an answer is overdue
# Written but not answered yet, on one connection: 4 MiB with OpenSSH. Enough for 160 MB/s over
# 50 ms on both, and little enough that the last of them is answered in time on a slow line.
BLOCKS_IN_FLIGHT = 16
# In hardware on both sides, and the MAC comes with it: twice the speed of the default.
CIPHERS = "^aes128-gcm@openssh.com"

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
        if self._silent:  # what came when it was given up is no answer
            raise self._did_not_answer()
        return answer

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

    async def start(self, command: str) -> asyncssh.SSHClientProcess[bytes] | None:
        """Start a command, its errors thrown away; None where the server runs none for us."""
        starting = self._connection.create_process(command, encoding=None, stderr=asyncssh.DEVNULL)
        try:
            return await self.ask(starting)
        except asyncssh.ChannelOpenError as error:
            if self.lost:
                raise self._gone(error) from error
            return None

    def abort(self) -> None:
        """Give it up at once; whoever waits for an answer is told."""
        self._given_up = True  # asyncssh says so only when the event loop comes to it
        self._connection.abort()

    def _did_not_answer(self) -> DependencyDownError:
        return DependencyDownError(
            "archive",
            f"{self.address} did not answer in time",
            hint="look at the load and the disks of the archive host",
        )

    def _gone(self, error: Exception) -> DependencyDownError:
        if self._silent:
            return self._did_not_answer()
        self.abort()
        return DependencyDownError(
            "archive",
            f"the connection to {self.address} was lost: {error or type(error).__name__}",
            hint="look whether the archive host and its sshd are up",
        )

    async def aclose(self) -> None:
        """Take leave; where the server does not answer, without it."""
        self._connection.close()
        try:
            async with asyncio.timeout(CLOSE_WITHIN):
                await self._connection.wait_closed()
        except TimeoutError:
            self.abort()


class Links:
    """The connections of one archive. Made when first needed, and again after a loss."""

    def __init__(self, section: ArchiveSection) -> None:
        """Nothing is connected yet."""
        self._section = section
        self._opening: list[asyncio.Task[Link] | None] = [None] * CONNECTIONS
        self._next = 0

    async def take(self) -> Link:
        """Return a link that stands, each in its turn. DependencyDownError when there is none."""
        self._next = (self._next + 1) % CONNECTIONS
        opening = self._opening[self._next]
        if opening is None or _failed(opening):
            opening = asyncio.create_task(connect(self._section))
            self._opening[self._next] = opening
        # Shielded, since many wait for the same: all of them get the link, or its error.
        return await asyncio.shield(opening)

    async def aclose(self) -> None:
        """Close them all, those too that are still being made."""
        tasks = [task for task in self._opening if task is not None]
        self._opening = [None] * CONNECTIONS
        await asyncio.gather(*(_close(task) for task in tasks))


def _failed(opening: asyncio.Task[Link]) -> bool:
    if not opening.done():
        return False
    return opening.cancelled() or opening.exception() is not None or opening.result().lost


async def _close(opening: asyncio.Task[Link]) -> None:
    opening.cancel()
    await asyncio.wait([opening])
    if not _failed(opening):
        await opening.result().aclose()


async def connect(section: ArchiveSection) -> Link:
    """Log in and begin SFTP. The host key is always checked.

    Raises DependencyDownError, with what to do, for whatever stands in the way.
    """
    address = f"{section.username}@{section.host}:{section.port}"
    try:
        connection = await asyncssh.connect(
            section.host,
            section.port,
            username=section.username,
            password=section.password,
            client_keys=[str(section.identity_file)] if section.identity_file else None,
            known_hosts=str(section.known_hosts_file),
            config=[],  # nobody's ~/.ssh/config may change where or how we connect
            agent_path=None,
            encryption_algs=CIPHERS,
            compression_algs=["none"],  # what we send is compressed already
            connect_timeout=CONNECT_WITHIN,
            login_timeout=LOGIN_WITHIN,
            keepalive_interval=KEEPALIVE_EVERY,
            keepalive_count_max=KEEPALIVE_MISSED,
        )
    except (OSError, ValueError, asyncssh.Error) as error:
        raise _cannot_connect(section, address, error) from error
    _spare_empty_packets(connection)
    return await _begin_sftp(connection, address)


def _spare_empty_packets(connection: asyncssh.SSHClientConnection) -> None:
    """Have no empty packet sent before each packet.

    asyncssh sends them against an attack on CBC (RFC 4251, 9.3.1), which it does not offer by
    itself; with many small files they are a seventh of the work, and a fifth of the server's.
    """
    send = connection.send_packet

    def send_packet(pkttype: int, *args: bytes, handler: SSHPacketLogger | None = None) -> None:
        if pkttype != MSG_IGNORE:
            send(pkttype, *args, handler=handler)

    connection.send_packet = send_packet  # type: ignore[method-assign]  # it has no switch for it


async def _begin_sftp(connection: asyncssh.SSHClientConnection, address: str) -> Link:
    try:
        async with asyncio.timeout(LOGIN_WITHIN):
            return Link(connection, await connection.start_sftp_client(), address)
    except (OSError, asyncssh.Error) as error:
        connection.abort()
        raise DependencyDownError(
            "archive",
            f"{address} lets us in but offers no SFTP: {error or type(error).__name__}",
            hint="look for `Subsystem sftp` in the sshd_config of the archive host",
        ) from error
    except BaseException:
        connection.abort()
        raise


def _cannot_connect(section: ArchiveSection, address: str, error: Exception) -> DependencyDownError:
    """Say what stands in the way of a connection, and what to do about it."""
    message = f"cannot connect to {address}: {error or type(error).__name__}"
    hint = "look whether the archive host and its sshd are up"
    if isinstance(error, asyncssh.HostKeyNotVerifiable):
        message = f"the host key of {section.host}:{section.port} is not the one we know: {error}"
        hint = (
            f"compare it with the host's own; if it was changed on purpose, put the new one into "
            f"{section.known_hosts_file} (ssh-keyscan -p {section.port} {section.host})"
        )
    elif isinstance(error, asyncssh.PermissionDenied):
        message = f"{address} refuses our login: {error}"
        hint = f"add the public half of {section.identity_file} to its authorized_keys"
    elif isinstance(error, FileNotFoundError | PermissionError | ValueError):
        message = f"the key or known_hosts file for {address} cannot be used: {error}"
        hint = f"look at {section.identity_file} and {section.known_hosts_file}"
    return DependencyDownError("archive", message, hint=hint)
