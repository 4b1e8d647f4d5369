"""What an SFTP server lets us do, told one by one."""

from __future__ import annotations

import secrets
import time
from contextlib import suppress
from typing import TYPE_CHECKING

import asyncssh

from backupd.archive.naming import encode
from backupd.archive.sftp_trial import CREATE
from backupd.core.clocks import compared
from backupd.core.errors import BackupdError
from backupd.core.ports import Probe

if TYPE_CHECKING:
    from backupd.archive.connection import Link
    from backupd.archive.links import Links
    from backupd.archive.remote_hash import RemoteHashes

CONNECTION = "archive connection"


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


async def probe_clock(links: Links, root: str) -> list[Probe]:
    """Compare the server's clock with ours, by the time that it gives a new file.

    Where none can be made, the lines of the directories say why.
    """
    link = await links.take()
    path = encode(f"{root.rstrip('/')}/.backupd-clock.{secrets.token_hex(8)}.part")
    with suppress(asyncssh.SFTPError):
        handle = await link.ask(link.sftp.open(path, CREATE, encoding=None))
        try:
            found = await link.ask(handle.stat())
            await link.ask(handle.close())
        finally:
            await link.ask(link.sftp.remove(path))
        if found.mtime is not None:
            return [compared("archive", found.mtime, time.time())]
    return []


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
