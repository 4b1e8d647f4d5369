"""The archive on another host, by SFTP."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import shlex
import time
from typing import TYPE_CHECKING

import asyncssh

from backupd.archive.marks import Mark
from backupd.archive.naming import Place, encode, place, snapshot_place
from backupd.archive.probing import probe_place
from backupd.archive.sftp.directories import Directories
from backupd.archive.sftp.errors import explaining
from backupd.archive.sftp.links import Links
from backupd.archive.sftp.names import Names
from backupd.archive.sftp.probe import probe_clock, probe_open_files, probe_server
from backupd.archive.sftp.read import list_names, look, read_blocks, read_short, size_of_file
from backupd.archive.sftp.remote_hash import REFUSAL_KEPT, RemoteHashes
from backupd.archive.sftp.upload import SftpUpload
from backupd.core.dependencies import Dependency
from backupd.core.errors import (
    DependencyDownError,
    PermanentError,
    RefusedError,
    TransientError,
)
from backupd.core.places import MARK_FILE, MOST
from backupd.core.ports import NOT_A_FILE, Checksum
from backupd.core.records import VerifiedBy

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterator, Callable, Collection, Sequence

    from backupd.archive.sftp.connection import Link
    from backupd.config.sections import SftpArchiveSection
    from backupd.core.places import Witness
    from backupd.core.ports import Probe
    from backupd.core.records import Identity

# Seconds for which an answer about free space is good: many small files need not ask each.
FREE_SPACE_KEPT = 1.0
INSISTING = 10.0  # seconds between tries of a host that has to take the sums


class SftpArchive:
    """Implements `core.ports.Archive` over an SFTP server, OpenSSH's extensions used if there."""

    def __init__(self, section: SftpArchiveSection) -> None:
        """Connects when it is first asked for something."""
        self._root = section.root
        self._verify = section.verify
        self._links = Links(section)
        host = f"{section.username}@{section.host}:{section.port}"
        mounted = f"on its host: findmnt -T {shlex.quote(section.root)}"
        self._mark = Mark(self, section.root, f"look whether its disk is mounted ({mounted})", host)
        self._directories = Directories(self._links, section.root, self._mark.look)
        self._names = Names(section.root)
        # Where nothing else will do, files wait for it: what was mended is noticed soon.
        kept = INSISTING if section.verify == "remote-sha256" else REFUSAL_KEPT
        self._hashes = RemoteHashes(self._links, section.connections, kept)
        self._just_named: set[str] = set()  # paths that were not verified yet
        self._free: dict[str, int | None] = {}  # bytes by directory, as asked a moment ago
        self._free_asked_at = float("-inf")

    async def identify(self, expected: str | None, witnesses: Sequence[Witness]) -> str:
        """See the port."""
        mark = await self._mark.identify(expected, witnesses)
        # What is left to be done may need no name, and so no trial that would see to it.
        await self._names.remove_leftovers(await self._links.take())
        return mark

    async def mark(self) -> str:
        """See the port."""
        return await self._mark.ensure()

    async def read_mark(self) -> bytes | None:
        """See `Markable`."""
        there = place(self._root, MARK_FILE)
        link = await self._links.take()
        async with explaining(link, "read", there.path):
            if await self._size(link, there) == -1:
                return b""
            return await read_short(link, there.path, MOST)

    async def size(self, name: str) -> int | None:
        """See the port."""
        there = place(self._root, name)
        link = await self._links.take()
        async with explaining(link, "look at", there.path):
            size = await self._size(link, there)
        if size is None:
            await self._mark.look()
        return size

    async def checksum(self, name: str) -> Checksum | None:
        """See the port. `verify` says whether the host takes the sum or we read the file back."""
        there = place(self._root, name)
        if there.path in self._just_named:
            self._just_named.discard(there.path)  # a file of ours: small ones need no look at each
        else:
            size = await self.size(name)
            if size is None or size == -1:
                return None if size is None else NOT_A_FILE
        if self._verify == "readback":
            return await self._read_back(there)
        digest = await self._hashes.of(there.path)
        if digest is not None:
            return Checksum(digest, VerifiedBy.REMOTE_SHA256)
        if self._verify == "auto":
            return await self._read_back(there)
        if await self.size(name) is None:
            return None
        raise await self._no_remote_sum(there)

    async def flush(self, name: str) -> bool:
        """See the port."""
        return await self._directories.flush(place(self._root, name).directory)

    async def contents(self, name: str) -> AsyncGenerator[bytes, None]:
        """See the port."""
        there = place(self._root, name)
        link = await self._links.take()
        async with explaining(link, "read", there.path):
            size = await self._size(link, there)
            if size is not None and size != -1:
                async with contextlib.aclosing(read_blocks(link, there.path)) as blocks:
                    async for block in blocks:
                        yield block
                return
        await self._mark.look()
        what = "is not there" if size is None else "is not a regular file"
        raise PermanentError(f"{there.path} {what}")

    async def is_same_file(self, name: str, identity: Identity) -> bool:  # noqa: ARG002 -- the port's
        """See the port: the protocol does not say which file a name stands for."""
        return False

    @contextlib.asynccontextmanager
    async def upload(
        self, name: str, part_id: str, expected_bytes: int
    ) -> AsyncIterator[SftpUpload]:
        """See the port."""
        there = place(self._root, name)
        link = await self._links.take()
        await self._mark.look_unless_just_seen()
        await self._demand_room(there.directory, expected_bytes)
        upload = SftpUpload(link, self._directories, self._names, there, part_id)
        try:
            await upload.open()
            yield upload
        finally:
            await upload.leave()
            if upload.published:
                self._just_named.add(there.path)

    async def discard_parts(self, name: str, part_ids: Collection[str]) -> None:
        """See the port."""
        there = place(self._root, name)
        link = await self._links.take()
        for part_id in part_ids:
            part = there.part(part_id)
            async with explaining(link, "remove", part):
                with contextlib.suppress(asyncssh.SFTPNoSuchFile):
                    await link.ask(link.sftp.remove(encode(part)))
        # Only now: a rename that is still on its way finds nothing to rename any more.
        async with explaining(link, "remove", there.claim):
            for owner in {part_id.partition(".")[0] for part_id in part_ids}:
                await self._names.give_up(link, there, owner)

    async def names(self, directory: str) -> list[str]:
        """See the port."""
        there = place(self._root, directory)
        link = await self._links.take()
        found: list[str] = []
        async with explaining(link, "list", there.path):
            if is_there := await self._directories.refuse_links(link, there.path):
                found = await list_names(link, there.path)
        if not is_there:
            await self._mark.look()
        return found

    async def remove_snapshot(self, name: str) -> None:
        """See the port."""
        there = snapshot_place(self._root, name)
        link = await self._links.take()
        await self._mark.look()
        async with explaining(link, "remove", there.path):
            if await self._size(link, there) is not None:
                await link.ask(link.sftp.remove(encode(there.path)))

    async def probe(
        self,
        directories: Collection[str],
        expected: str | None = None,
        shows_up: Callable[[str], str | None] | None = None,
    ) -> list[Probe]:
        """See the port."""
        server = await probe_server(self._links, self._hashes, self._root, self._verify)
        if not all(line.ok for line in server):
            return server
        marked = await self._mark.probe(expected)
        if not marked.ok:
            return [*server, marked]
        open_files = await probe_open_files(self._links, self._root)
        tried = await probe_place(self, marked, directories, shows_up)
        clock = await probe_clock(self._links, self._root)
        return [*server, *open_files, marked, *tried, *clock]

    async def aclose(self) -> None:
        """See the port."""
        await self._mark.aclose()
        await self._names.aclose()
        await self._directories.aclose()
        await self._hashes.aclose()
        await self._links.aclose()

    async def _size(self, link: Link, there: Place) -> int | None:
        """Return the size, -1 of what is no file, None of nothing; asyncssh.SFTPError passes."""
        await self._directories.refuse_links(link, there.directory)
        found = await look(link, there.path)
        return None if found is None else size_of_file(found)

    async def _free_space(self, directory: str, wanted: int) -> int | None:
        """Return the bytes free in a directory; None where the server cannot say.

        Where less is free than is wanted, the server is asked again: room may have been made since.
        """
        now = time.monotonic()
        if now - self._free_asked_at > FREE_SPACE_KEPT:
            self._free_asked_at = now
            self._free.clear()
        free = self._free.get(directory)
        if free is None or free < wanted:
            free = self._free[directory] = await self._ask_free_space(directory)
        return free

    async def _ask_free_space(self, directory: str) -> int | None:
        link = await self._links.take()
        try:
            disk = await link.ask(link.sftp.statvfs(encode(directory)))
        except asyncssh.SFTPError:  # no such request, or it is yet to be made
            return None
        return disk.bavail * disk.frsize

    async def _demand_room(self, directory: str, expected_bytes: int) -> None:
        free = await self._free_space(directory, expected_bytes)
        if free is not None and free < expected_bytes:
            raise RefusedError(
                f"no room for {expected_bytes} bytes in {directory}: {free} are free",
                hint="make room on the archive's disk",
                room=True,
            )

    async def _read_back(self, there: Place) -> Checksum | None:
        link = await self._links.take()
        async with explaining(link, "read", there.path):
            try:
                async with contextlib.aclosing(read_blocks(link, there.path)) as blocks:
                    return Checksum(await sha256_of(blocks), VerifiedBy.READBACK)
            except asyncssh.SFTPNoSuchFile:
                pass
        await self._mark.look()
        return None

    async def _no_remote_sum(self, there: Place) -> DependencyDownError | TransientError:
        why_not = await self._hashes.why_not()
        if not why_not:
            return TransientError(f"sha256sum on the archive host cannot read {there.path}")
        return DependencyDownError(
            Dependency.ARCHIVE,
            f"the archive host does not run sha256sum for us: {why_not}",
            hint='let the account run commands, or set verify = "readback" in [archive]',
        )


WORTH_A_THREAD = 64 * 1024  # bytes; below it the change of thread takes longer than the hash


async def sha256_of(blocks: AsyncIterator[bytes]) -> str:
    """Return the hex digest of all blocks."""
    digest = hashlib.sha256()
    async for block in blocks:
        if len(block) < WORTH_A_THREAD:
            digest.update(block)
        else:
            await asyncio.to_thread(digest.update, block)
    return digest.hexdigest()
