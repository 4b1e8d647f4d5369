"""SFTP servers that do what OpenSSH cannot be brought to do: a full disk, lost answers, silence."""

from __future__ import annotations

import asyncio
import os
from typing import TYPE_CHECKING, ClassVar

import asyncssh
import pytest

from backupd.archive import connection, open_archive
from backupd.config.sections import ArchiveSection
from backupd.core.errors import DependencyDownError, TransientError, UnknownOutcomeError

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable
    from pathlib import Path

    from backupd.core.ports import Archive

ROOMY = {"bavail": 1 << 30, "frsize": 4096, "files": 1000, "favail": 1000, "flags": 0}


class OddServer(asyncssh.SFTPServer):
    """Real files; what is odd about it is set from outside."""

    disk: ClassVar[dict[str, int]] = {}
    refuses = ""  # a request answered with "Failure"
    hangs = ""  # a request never answered
    rename_breaks_connection = False
    flushes = True

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
        super().close(file_obj)
        self._meet("close")

    async def open(self, path: bytes, pflags: int, attrs: asyncssh.SFTPAttrs) -> object:
        if self.hangs == "open":
            await asyncio.Event().wait()
        return super().open(path, pflags, attrs)

    async def rename(self, oldpath: bytes, newpath: bytes) -> None:
        if self.hangs == "rename":
            await asyncio.Event().wait()
        self._meet("rename")
        super().rename(oldpath, newpath)
        if self.rename_breaks_connection:
            self.channel.get_connection().abort()

    def statvfs(self, _path: bytes) -> asyncssh.SFTPVFSAttrs:
        return asyncssh.SFTPVFSAttrs(bsize=4096, blocks=1 << 31, namemax=255, **self.disk)


@pytest.fixture
def odd() -> type[OddServer]:
    """A class of its own for each test."""
    return type("OddServer", (OddServer,), {"disk": dict(ROOMY)})


@pytest.fixture
async def archive(tmp_path: Path, odd: type[OddServer]) -> AsyncIterator[Archive]:
    host_key = asyncssh.generate_private_key("ssh-ed25519")
    user_key = asyncssh.generate_private_key("ssh-ed25519")
    user_key.write_private_key(tmp_path / "identity")
    user_key.write_public_key(tmp_path / "authorized")
    server = await asyncssh.listen(
        "127.0.0.1",
        0,
        server_host_keys=[host_key],
        authorized_client_keys=str(tmp_path / "authorized"),
        sftp_factory=odd,
        allow_scp=False,
    )
    known = f"[127.0.0.1]:{server.get_port()} {host_key.export_public_key().decode()}"
    (tmp_path / "known_hosts").write_text(known)
    opened = open_archive(_section(tmp_path, server.get_port()))
    yield opened
    await opened.aclose()
    server.close()
    await server.wait_closed()


def _section(directory: Path, port: int) -> ArchiveSection:
    return ArchiveSection(
        scheme="sftp",
        root=str(directory / "root"),
        host="127.0.0.1",
        port=port,
        username="somebody",
        password=None,
        identity_file=directory / "identity",
        known_hosts_file=directory / "known_hosts",
        compression="none",
        compression_level=1,
        verify="readback",
    )


async def put(archive: Archive, name: str = "d/a.csv", part_id: str = "1") -> bool:
    async with archive.upload(name, part_id, 100_000) as upload:
        await upload.write(os.urandom(100_000))
        return await upload.publish()


@pytest.mark.parametrize(
    ("disk", "words"),
    [({"bavail": 30}, "full"), ({"favail": 0}, "inode"), ({"flags": 1}, "read-only")],
)
@pytest.mark.parametrize("request_", ["write", "fsync", "rename"])
async def test_a_failure_on_a_disk_in_trouble_is_the_archives_fault(
    archive: Archive, odd: type[OddServer], request_: str, disk: dict[str, int], words: str
) -> None:
    odd.refuses = request_
    odd.disk |= disk
    with pytest.raises(DependencyDownError, match=words) as caught:
        await put(archive)
    assert "df" in caught.value.hint


async def test_a_failure_on_a_disk_that_is_well_is_tried_again(
    archive: Archive, odd: type[OddServer]
) -> None:
    odd.refuses = "fsync"
    with pytest.raises(TransientError, match="flush"):
        await put(archive)


async def test_what_is_refused_as_late_as_at_the_close_gets_no_name(
    archive: Archive, odd: type[OddServer], tmp_path: Path
) -> None:
    odd.flushes = False
    odd.refuses = "close"
    with pytest.raises(TransientError, match="write"):
        await put(archive)
    assert list((tmp_path / "root" / "d").iterdir()) == []


async def test_a_lost_answer_to_the_rename_is_an_unknown_outcome(
    archive: Archive, odd: type[OddServer]
) -> None:
    odd.rename_breaks_connection = True
    with pytest.raises(UnknownOutcomeError):
        await put(archive)
    assert await archive.size("d/a.csv") == 100_000


@pytest.mark.parametrize(
    ("request_", "expected"), [("open", DependencyDownError), ("rename", UnknownOutcomeError)]
)
async def test_an_answer_that_never_comes_is_not_waited_for_without_end(
    archive: Archive,
    odd: type[OddServer],
    monkeypatch: pytest.MonkeyPatch,
    request_: str,
    expected: type[Exception],
) -> None:
    await archive.size("a.csv")
    monkeypatch.setattr(connection, "ANSWER_WITHIN", 0.3)
    odd.hangs = request_
    with pytest.raises(expected, match="did not answer in time"):
        await put(archive)
