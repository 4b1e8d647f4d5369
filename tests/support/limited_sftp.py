"""An SFTP server in this process that bears little: few connections, no rest, no commands."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import os
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import asyncssh

from support.odd_sftp import ROOMY, OddServer, serving

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from backupd.config.sections import SftpArchiveSection

    Process = asyncssh.SSHServerProcess[bytes]


class Limits:
    """What it bears of its one user: set from outside, at any moment."""

    def __init__(self) -> None:
        self.most = 100  # connections at once
        self.beyond = "refused"  # or "closed after login", or "another is closed"
        self.drops = 0  # so many more are dropped
        self.dropped = "at the door"  # or "after login"
        self.commands = "work"  # see `run`
        self.connections: list[asyncssh.SSHServerConnection] = []
        self.greatest = 0  # of them at once
        self.knocked = 0  # times that somebody connected
        self.asked_for_sums = 0
        self.may_sum = asyncio.Event()
        self.breaks_when_asked = False  # once, in place of an answer
        self.mute: set[asyncssh.SSHServerConnection] = set()  # they never answer a realpath
        self.section: SftpArchiveSection
        self._files: list[asyncssh.SFTPServer] = []
        self._processes: list[Process] = []

    def end_sessions(self) -> None:
        """Close each SFTP session, not its connection."""
        for files in self._files:
            files.channel.close()
        self._files.clear()

    def end_commands(self) -> None:
        """End each command that runs."""
        for process in self._processes:
            process.exit(0)
        self._processes.clear()

    def end_connections(self) -> None:
        """Take leave on each connection."""
        for connection in self.connections:
            connection.disconnect(asyncssh.DISC_BY_APPLICATION, "idle for too long")

    # -- for the server ---------------------------------------------------------------------------

    def knocks(self, connection: asyncssh.SSHServerConnection) -> None:
        self.knocked += 1
        full = self.beyond == "refused" and len(self.connections) >= self.most
        if full or self._drops("at the door"):
            connection.abort()

    def comes_in(self, connection: asyncssh.SSHServerConnection) -> None:
        if self._drops("after login"):
            connection.abort()
        elif len(self.connections) < self.most:
            self.connections.append(connection)
        elif self.beyond == "closed after login":
            connection.abort()
        else:
            self.connections.append(connection)
            self.connections[0].abort()
        self.greatest = max(self.greatest, len(self.connections))

    def goes(self, connection: asyncssh.SSHServerConnection) -> None:
        if connection in self.connections:
            self.connections.remove(connection)

    def serve_files(self, files: asyncssh.SFTPServer) -> None:
        self._files.append(files)

    async def run(self, process: Process) -> None:
        """Run a command."""
        self.asked_for_sums += 1
        self._processes.append(process)
        if self.commands == "swallowed":
            await process.stdin.read()
        elif self.commands == "hang":
            await process.channel.wait_closed()
        elif self.commands == "end":
            process.exit(0)
        elif self.commands == "break the connection":
            process.channel.get_connection().abort()
        else:
            if self.commands == "held":
                await self.may_sum.wait()
            elif self.commands != "work":
                process.stdout.write(self.commands.encode())
            await _take_sums(process)

    def _drops(self, where: str) -> bool:
        drops = self.drops > 0 and self.dropped == where
        self.drops -= drops
        return drops


async def _take_sums(process: Process) -> None:
    """Do what `xargs -0 sha256sum` does."""
    rest = b""
    with contextlib.suppress(OSError, asyncssh.Error):
        while block := await process.stdin.read(65536):
            *names, rest = (rest + block).split(b"\0")
            for name in names:
                digest = hashlib.sha256(Path(os.fsdecode(name)).read_bytes()).hexdigest()
                process.stdout.write(digest.encode() + b"  " + name + b"\n")


@contextlib.asynccontextmanager
async def limited(directory: Path, **set_to: object) -> AsyncIterator[Limits]:
    """Serve an archive below `directory`, its limits set to these."""
    limits = Limits()
    for name, value in set_to.items():
        setattr(limits, name, value)
    options = {"server_factory": _account(limits), "process_factory": limits.run, "encoding": None}
    async with serving(directory, _files(limits), **options) as section:
        limits.section = replace(section, verify="auto")
        yield limits


def _account(limits: Limits) -> type[asyncssh.SSHServer]:
    """An object of it is made for each connection."""
    connections: dict[object, asyncssh.SSHServerConnection] = {}

    def knock(account: object, connection: asyncssh.SSHServerConnection) -> None:
        connections[account] = connection
        limits.knocks(connection)

    def come_in(account: object) -> None:
        limits.comes_in(connections[account])

    def go(account: object, _: Exception | None) -> None:
        limits.goes(connections.pop(account))

    names = {"connection_made": knock, "auth_completed": come_in, "connection_lost": go}
    return type("Account", (asyncssh.SSHServer,), names)


def _files(limits: Limits) -> type[OddServer]:
    class Files(OddServer):
        disk: ClassVar[dict[str, int]] = dict(ROOMY)

        def __init__(self, chan: asyncssh.SSHServerChannel[Any]) -> None:
            super().__init__(chan)
            limits.serve_files(self)

        async def realpath(self, path: bytes) -> bytes:
            connection = self.channel.get_connection()
            if limits.breaks_when_asked:
                limits.breaks_when_asked = False
                connection.abort()
            if connection in limits.mute:
                await self.channel.wait_closed()
            return os.path.realpath(path)

    return Files
