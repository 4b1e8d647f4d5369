"""Every archive: the fake, a local directory, SFTP with and without commands, by other makers."""

from __future__ import annotations

from contextlib import AsyncExitStack, ExitStack
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING

import pytest

from backupd.archive import open_archive
from support.archives import ARCHIVES_ON_DISKS, archive_section
from support.fake_archive import FakeArchive
from support.odd_sftp import ROOMY, OddServer, serving
from support.sftp_servers import SftpServer, running_dropbear, running_proftpd
from support.sshd import SshServer, running_sshd

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterator
    from contextlib import AbstractContextManager
    from pathlib import Path

    from backupd.config.sections import SftpArchiveSection
    from backupd.core.ports import Archive

    Running = Callable[[Path], AbstractContextManager[SshServer | SftpServer]]
    StartedOnce = Callable[[str], SshServer | SftpServer]

SERVERS: dict[str, Running] = {
    "sftp": running_sshd,
    "sftp-only": partial(running_sshd, sftp_only=True),
    "dropbear": running_dropbear,
    "proftpd": running_proftpd,
}


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[StartedOnce]:
    """Start each server when it is first asked for."""
    started: dict[str, SshServer | SftpServer] = {}
    with ExitStack() as stack:

        def start(kind: str) -> SshServer | SftpServer:
            if kind not in started:
                running = SERVERS[kind](tmp_path_factory.mktemp(kind))
                started[kind] = stack.enter_context(running)
            return started[kind]

        yield start


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Where the real ones have their files."""
    return tmp_path / "archive root"


@pytest.fixture(params=("fake", *ARCHIVES_ON_DISKS))
async def archive(
    request: pytest.FixtureRequest, tmp_path: Path, root: Path, server: StartedOnce
) -> AsyncIterator[Archive]:
    """Each of them in its turn."""
    async with AsyncExitStack() as stack:
        opened: Archive
        if request.param == "fake":
            opened = FakeArchive()
        elif request.param == "local":
            opened = open_archive(archive_section(root))
        elif request.param == "replacing":
            opened = open_archive(await _replacing(tmp_path, root, stack))
        else:
            opened = open_archive(archive_section(root, server(request.param)))
        yield opened
        await opened.aclose()


async def _replacing(directory: Path, root: Path, stack: AsyncExitStack) -> SftpArchiveSection:
    """A server whose rename replaces, and that knows no links."""
    values = {"disk": dict(ROOMY), "rename_replaces": True, "links": "none"}
    odd = type("Odd", (OddServer,), values)
    keys = directory.with_name(f"{directory.name}-keys")
    keys.mkdir()
    section = await stack.enter_async_context(serving(keys, odd))
    return replace(section, root=str(root))
