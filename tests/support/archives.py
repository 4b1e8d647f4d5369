"""Config sections for archives."""

from __future__ import annotations

from typing import TYPE_CHECKING, overload

from backupd.config.sections import LocalArchiveSection, SftpArchiveSection

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from backupd.config.archive import Verification
    from backupd.core.places import Witness
    from support.sftp_servers import SftpServer
    from support.sshd import SshServer

CONNECTIONS = 2  # as the config has it by default

# The kinds that the contract suite tries whose files are seen below `root`, links and all.
ARCHIVES_ON_DISKS = ("local", "sftp", "sftp-only", "dropbear", "proftpd", "replacing")


@overload
def archive_section(root: Path, server: None = None) -> LocalArchiveSection: ...
@overload
def archive_section(
    root: Path,
    server: SshServer | SftpServer,
    *,
    port: int | None = None,
    verify: Verification = "auto",
) -> SftpArchiveSection: ...
def archive_section(
    root: Path,
    server: SshServer | SftpServer | None = None,
    *,
    port: int | None = None,
    verify: Verification = "auto",
) -> LocalArchiveSection | SftpArchiveSection:
    """Return a section for `root`: here, or on `server` (by another `port`: through a proxy)."""
    if server is None:
        return LocalArchiveSection(root=str(root), compression="gzip", compression_level=1)
    return SftpArchiveSection(
        root=str(root),
        host=server.host,
        port=port or server.port,
        username=server.username,
        password=None,
        identity_file=server.identity,
        known_hosts_file=server.known_hosts,
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
