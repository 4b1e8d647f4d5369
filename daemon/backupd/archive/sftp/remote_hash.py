"""SHA-256 taken by the archive host itself: one process for many files."""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
import time
from typing import TYPE_CHECKING
from weakref import WeakKeyDictionary

import asyncssh
import structlog

from backupd.archive.naming import encode
from backupd.core.request_batcher import RequestBatcher

if TYPE_CHECKING:
    from collections.abc import Iterable

    from backupd.archive.sftp.connection import Link
    from backupd.archive.sftp.links import Links

    Process = asyncssh.SSHClientProcess[bytes]

# Names go in by standard input, NUL between: none is ever part of a command. xargs starts one
# sha256sum for so many names, and waits for them: what a batch lacks is made up with canaries.
# So a login shell is started once a connection, which may take 0.1 s, and a process once a batch.
BATCH = 24  # at most 96 KiB of names, below the 128 that xargs takes for one command
COMMAND = f"xargs -0 -n {BATCH} sha256sum --"
# In every batch, and the last of it: its sum shows that a real sha256sum ran, not whatever an
# SFTP-only account is made to run instead; and that the names before it have had their turn.
CANARY = b"/dev/null"
CANARY_LINE = b"e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855  /dev/null\n"
BATCH_WITHIN = 1800.0  # seconds; about 300 GiB are hashed in it
# A batch of canaries goes first: it finds out whether commands answer at all.
CANARIES_WITHIN = 20.0
REFUSAL_KEPT = 3600.0  # seconds until a host that took no sums for us is asked again

log = structlog.get_logger()

_LINE = re.compile(rb"(\\?)([0-9a-f]{64}) [ *](.+)\n")
_ESCAPED = re.compile(rb"\\([\\nr])")
_UNESCAPED = {b"\\": b"\\", b"n": b"\n", b"r": b"\r"}


class NoSumsError(Exception):
    """The host takes no sums for us. The message says why."""


class RemoteHashes:
    """Asks for sums by path, on all connections."""

    def __init__(self, links: Links, at_once: int, refusal_kept: float) -> None:
        """Nothing is tried yet. A refusal is believed for `refusal_kept` seconds."""
        self._links = links
        # As many calls as connections: one big file does not hold up all small ones.
        self._batcher: RequestBatcher[str, str | None] = RequestBatcher(
            self._hash_all, at_once=at_once
        )
        self._summers: WeakKeyDictionary[Link, Summer] = WeakKeyDictionary()
        self._refusal_kept = refusal_kept
        self._refused_until = float("-inf")  # time.monotonic
        self._why_not = ""

    async def of(self, path: str) -> str | None:
        """Return the hex digest; None where the host gives none, for whatever reason."""
        return await self._batcher.ask(path)

    async def why_not(self) -> str:
        """Return why the host computes no checksums for us; "" where it does."""
        await self.of(os.fsdecode(CANARY))
        return self._why_not

    async def aclose(self) -> None:
        """Give up what is under way."""
        await self._batcher.aclose()

    async def _hash_all(self, paths: list[str]) -> dict[str, str | None]:
        sums: dict[bytes, str] = {}
        if time.monotonic() >= self._refused_until:
            link = await self._links.take()
            summer = self._summers.setdefault(link, Summer())
            try:
                sums = await summer.sums(link, [encode(path) for path in paths])
                self._why_not = ""
            except NoSumsError as error:
                self._refuse(str(error))
        return {path: sums.get(encode(path)) for path in paths}

    def _refuse(self, why: str) -> None:
        if why != self._why_not:
            log.info("the archive host takes no sums for us", reason=why)
        self._why_not = why
        self._refused_until = time.monotonic() + self._refusal_kept


class Summer:
    """The command on one connection: kept running, fed a batch at a time."""

    def __init__(self) -> None:
        """Not started yet."""
        self._turn = asyncio.Lock()
        self._process: Process | None = None

    async def sums(self, link: Link, paths: list[bytes]) -> dict[bytes, str]:
        """Return the sums of those paths that can be read, as sha256sum gives them.

        Raises NoSumsError where the host takes none.
        """
        found: dict[bytes, str] = {}
        async with self._turn:
            for start in range(0, len(paths), BATCH - 1):
                found |= await self._sum_batch(link, paths[start : start + BATCH - 1])
        return found

    async def _sum_batch(self, link: Link, paths: list[bytes]) -> dict[bytes, str]:
        rested = self._process is not None
        lines = await self._answer(link, paths)
        if rested and self._process is None:  # it was ended while there was nothing to do
            lines = await self._answer(link, paths)
        return parse_sums(lines)

    async def _answer(self, link: Link, paths: list[bytes]) -> list[bytes]:
        if self._process is None:
            self._process = await _begin(link)
        canaries = BATCH - len(paths)
        asking = _exchange(self._process, [*paths, *[CANARY] * canaries], canaries)
        lines = await link.ask(asking, within=BATCH_WITHIN)
        if lines.count(CANARY_LINE) < canaries:
            self._process = None
        return lines


async def _begin(link: Link) -> Process:
    """Start the command, and see that it takes sums."""
    try:
        async with asyncio.timeout(CANARIES_WITHIN):
            process = await link.start(COMMAND)
            try:
                await link.ask(_demand_canaries(process), within=BATCH_WITHIN)
            except BaseException:
                process.close()
                raise
            return process
    except TimeoutError:
        raise NoSumsError(f"a command gave no answer within {CANARIES_WITHIN:g} s") from None
    except asyncssh.ChannelOpenError as error:
        raise NoSumsError(f"no command can be run beside SFTP: {error.reason}") from error


async def _demand_canaries(process: Process) -> None:
    _hand_over(process, [CANARY] * BATCH)
    for _ in range(BATCH):
        line = await process.stdout.readline()
        if not line:
            raise NoSumsError("the command ended without a sum: the account may be for SFTP alone")
        if line != CANARY_LINE:
            said = ascii(line[:60].decode(errors="replace"))
            raise NoSumsError(f"{said} came in place of a sum: its login shell may say too much")


def _hand_over(process: Process, batch: list[bytes]) -> None:
    with contextlib.suppress(BrokenPipeError):  # it has ended: so does what is read of it
        process.stdin.write(b"".join(path + b"\0" for path in batch))


async def _exchange(process: Process, batch: list[bytes], canaries: int) -> list[bytes]:
    """Write a batch of names; return the lines up to the last canary, or to the command's end."""
    _hand_over(process, batch)
    lines: list[bytes] = []
    while lines.count(CANARY_LINE) < canaries:
        line = await process.stdout.readline()
        if not line.endswith(b"\n"):
            break
        lines.append(line)
    return lines


def parse_sums(lines: Iterable[bytes]) -> dict[bytes, str]:
    r"""Read lines that sha256sum prints: path to hex digest.

    A line whose name holds a backslash, LF or CR begins with a backslash, and has them escaped.
    """
    sums = {}
    for line in lines:
        if match := _LINE.fullmatch(line):
            escaped, digest, path = match.groups()
            sums[_unescape(path) if escaped else path] = digest.decode()
    return sums


def _unescape(path: bytes) -> bytes:
    return _ESCAPED.sub(lambda match: _UNESCAPED[match[1]], path)
