"""What an SFTP server lets us do, reported one by one."""

from __future__ import annotations

import secrets
import time
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from typing import TYPE_CHECKING

import asyncssh

from backupd.archive.naming import encode
from backupd.archive.sftp.trial import CREATE
from backupd.core.clocks import compared
from backupd.core.errors import BackupdError
from backupd.core.ports import Probe

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from backupd.archive.sftp.connection import Link
    from backupd.archive.sftp.links import Links
    from backupd.archive.sftp.remote_hash import RemoteHashes

CONNECTION = "archive connection"
OPEN_FILES = "archive open files"
_MANY = 32  # as many as are sent at once where the config does not say otherwise


async def probe_server(links: Links, hashes: RemoteHashes, root: str, verify: str) -> list[Probe]:
    """Log in and ask. Where that fails, one line says why; lacking extensions are no failure."""
    try:
        link = await links.take()
        return [
            Probe(CONNECTION, ok=True, detail=f"logged in as {link.address}, host key as known"),
            Probe("archive connections", ok=True, detail=await links.borne()),
            Probe("archive free space", ok=True, detail=await _free_space(link, root)),
            Probe("archive checksums", ok=True, detail=await _checksums(hashes, verify)),
        ]
    except BackupdError as error:
        return [Probe(CONNECTION, ok=False, detail=str(error), hint=error.hint)]


async def probe_open_files(links: Links, root: str) -> list[Probe]:
    """Open files at the same time until one is refused; return how many could be open.

    Where none can be opened, the probes of the directories say why.
    """
    async with AsyncExitStack() as stack:
        for number in range(_MANY):
            try:
                await stack.enter_async_context(_new_file(await links.take(), root))
            except asyncssh.SFTPError as error:
                detail = f"{number} can be open at once, no more: {error.reason}; the rest wait"
                return [Probe(OPEN_FILES, ok=True, detail=detail)] if number else []
    return [Probe(OPEN_FILES, ok=True, detail=f"{_MANY} can be open at once")]


async def probe_clock(links: Links, root: str) -> list[Probe]:
    """Compare the server's clock with ours, by the time that it gives a new file.

    Where none can be made, the lines of the directories say why.
    """
    with suppress(asyncssh.SFTPError):
        link = await links.take()
        async with _new_file(link, root) as handle:
            found = await link.ask(handle.stat())
        if found.mtime is not None:
            return [compared("archive", found.mtime, time.time())]
    return []


@asynccontextmanager
async def _new_file(link: Link, root: str) -> AsyncIterator[asyncssh.SFTPClientFile]:
    """An open file of our own, closed and removed in the end. Raises asyncssh.SFTPError."""
    path = encode(f"{root.rstrip('/')}/.backupd-probe.{secrets.token_hex(8)}.part")
    handle = await link.ask(link.sftp.open(path, CREATE, encoding=None))
    try:
        yield handle
        await link.ask(handle.close())
    finally:
        await link.ask(link.sftp.remove(path))


async def _free_space(link: Link, root: str) -> str:
    try:
        disk = await link.ask(link.sftp.statvfs(encode(root)))
    except asyncssh.SFTPOpUnsupported:
        return "the server cannot tell (no statvfs@openssh.com): files are sent without asking"
    except asyncssh.SFTPNoSuchFile:
        return f"{root} is not there yet; it will be made"
    except asyncssh.SFTPError as error:
        return f"the server does not tell: {error.reason}"
    return f"{disk.bavail * disk.frsize / 1e9:.1f} GB under {root}"


async def _checksums(hashes: RemoteHashes, verify: str) -> str:
    if verify == "readback":
        return "files are read back, as configured"
    why_not = await hashes.why_not()
    if not why_not:
        return "the host takes them itself (sha256sum, beside SFTP on the same connection)"
    return f"the host takes none for us, files are read back: {why_not}"
