"""Where files are shipped: a local directory or an SFTP server, behind one port."""

from __future__ import annotations

from typing import TYPE_CHECKING

from backupd.archive.local.archive import LocalArchive
from backupd.archive.stream import SendStream, Totals
from backupd.config.sections import LocalArchiveSection

if TYPE_CHECKING:
    from backupd.config.sections import ArchiveSection
    from backupd.core.ports import Archive

__all__ = ["SendStream", "Totals", "open_archive"]


def open_archive(section: ArchiveSection) -> Archive:
    """Return the archive that the config asks for. Nothing is touched until it is used."""
    if isinstance(section, LocalArchiveSection):
        return LocalArchive(section)
    # asyncssh costs 20 MiB and a tenth of a second: who ships to a directory goes without.
    from backupd.archive.sftp.archive import SftpArchive  # noqa: PLC0415

    return SftpArchive(section)
