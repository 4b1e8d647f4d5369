"""An SFTP server in this process that does what OpenSSH cannot be brought to do."""

from __future__ import annotations

import asyncio
import contextlib
import os
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

import asyncssh

from backupd.config.sections import SftpArchiveSection
from support.archives import CONNECTIONS
from support.sftp_servers import write_secret

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable

ROOMY = {"bavail": 1 << 30, "frsize": 4096, "files": 1000, "favail": 1000, "flags": 0}


class OddServer(asyncssh.SFTPServer):
    """Real files; what is odd about it is set from outside."""

    disk: ClassVar[dict[str, int]] = {}
    refuses = ""  # a request answered with "Failure"
    hangs = ""  # a request never answered
    rename_breaks_connection = False
    flushes = True
    rename_replaces = False
    links = "real"  # none: not known to it; false: told to be made, but are not; replacing
    creates_exclusively = True
    clock_ahead = 0  # seconds
    closed: Path | None = None  # a directory in which nothing may be made
    most_open: int | None = None  # handles at once, of all connections; more are refused
    opened = 0

    def _meet(self, request: str) -> None:
        if self.refuses == request:
            raise asyncssh.SFTPFailure("Failure")

    def write(self, file_obj: object, offset: int, data: bytes) -> int | Awaitable[int]:
        self._meet("write")
        return super().write(file_obj, offset, data)

    async def fsync(self, _file: object) -> None:
        self._meet("fsync")
        if not self.flushes:
            raise asyncssh.SFTPOpUnsupported("Unsupported")

    async def close(self, file_obj: object) -> None:
        type(self).opened -= 1
        super().close(file_obj)
        self._meet("close")

    async def open(self, path: bytes, pflags: int, attrs: asyncssh.SFTPAttrs) -> object:
        if self.hangs == "open":
            await asyncio.Event().wait()
        if pflags & asyncssh.FXF_CREAT and Path(os.fsdecode(path)).parent == self.closed:
            raise asyncssh.SFTPPermissionDenied("Permission denied")
        if self.most_open is not None and self.opened >= self.most_open:
            raise asyncssh.SFTPFailure("Failure")
        if not self.creates_exclusively:
            pflags &= ~asyncssh.FXF_EXCL
        opened = super().open(path, pflags, attrs)
        type(self).opened += 1
        return opened

    def fstat(self, file_obj: object) -> asyncssh.SFTPAttrs:
        found = asyncssh.SFTPAttrs.from_local(os.fstat(file_obj.fileno()))  # type: ignore[attr-defined]
        found.mtime = (found.mtime or 0) + self.clock_ahead
        return found

    async def link(self, oldpath: bytes, newpath: bytes) -> None:
        if self.hangs == "link":
            await asyncio.Event().wait()
        self._meet("link")
        if self.links == "none":
            raise asyncssh.SFTPOpUnsupported("Unsupported")
        if self.links == "replacing":
            Path(os.fsdecode(self.map_path(newpath))).unlink(missing_ok=True)
        if self.links != "false":
            super().link(oldpath, newpath)
        if self.rename_breaks_connection:
            self.channel.get_connection().abort()

    async def rename(self, oldpath: bytes, newpath: bytes) -> None:
        if self.hangs == "rename":
            await asyncio.Event().wait()
        self._meet("rename")
        if self.rename_replaces:
            super().posix_rename(oldpath, newpath)
        else:
            super().rename(oldpath, newpath)
        if self.rename_breaks_connection:
            self.channel.get_connection().abort()

    def statvfs(self, _path: bytes) -> asyncssh.SFTPVFSAttrs:
        return asyncssh.SFTPVFSAttrs(bsize=4096, blocks=1 << 31, namemax=255, **self.disk)


@contextlib.asynccontextmanager
async def serving(
    directory: Path, odd: type[OddServer], **options: object
) -> AsyncIterator[SftpArchiveSection]:
    """Serve the whole host by `odd`; yield the section of an archive below `directory`.

    `options` are more of asyncssh's.
    """
    host_key, user_key = (asyncssh.generate_private_key("ssh-ed25519") for _ in range(2))
    write_secret(directory / "identity", user_key.export_private_key())
    user_key.write_public_key(directory / "authorized")
    server = await asyncssh.listen(
        "127.0.0.1",
        0,
        server_host_keys=[host_key],
        authorized_client_keys=str(directory / "authorized"),
        sftp_factory=odd,
        allow_scp=False,
        **options,
    )
    known = f"[127.0.0.1]:{server.get_port()} {host_key.export_public_key().decode()}"
    (directory / "known_hosts").write_text(known)
    try:
        yield _section(directory, server.get_port())
    finally:
        server.close()
        await server.wait_closed()


def _section(directory: Path, port: int) -> SftpArchiveSection:
    return SftpArchiveSection(
        root=str(directory / "root"),
        host="127.0.0.1",
        port=port,
        username="somebody",
        password=None,
        identity_file=directory / "identity",
        known_hosts_file=directory / "known_hosts",
        compression="none",
        compression_level=1,
        connections=CONNECTIONS,
        proxy_jump=None,
        verify="readback",
    )
