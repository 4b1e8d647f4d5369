"""Config sections for archives."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from backupd.config.sections import ArchiveSection

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from backupd.core.places import Witness
    from support.sftp_servers import SftpServer
    from support.sshd import SshServer

CONNECTIONS = 2  # as the config has it by default

# The kinds that the contract suite tries, beside the fake.
REAL_ARCHIVES = ("local", "sftp", "sftp-only", "dropbear", "proftpd", "replacing")


def archive_section(
    root: Path,
    server: SshServer | SftpServer | None = None,
    *,
    port: int | None = None,
    verify: Literal["auto", "remote-sha256", "readback"] = "auto",
) -> ArchiveSection:
    """Return a section for `root`: here, or on `server` (by another `port`: through a proxy)."""
    return ArchiveSection(
        scheme="file" if server is None else "sftp",
        root=str(root),
        host="" if server is None else server.host,
        port=0 if server is None else port or server.port,
        username="" if server is None else server.username,
        password=None,
        identity_file=None if server is None else server.identity,
        known_hosts_file=None if server is None else server.known_hosts,
        compression="gzip",
        compression_level=1,
        connections=CONNECTIONS,
        proxy_jump=None,
        verify=verify,
    )


class FirstUse:
    """What a new ledger knows of the archive's place: nothing, until it has a mark."""

    def __init__(self) -> None:
        self.mark: str | None = None

    async def known(self) -> tuple[str | None, Sequence[Witness]]:
        return self.mark, ()

    async def identified(self, mark: str) -> None:
        self.mark = mark
