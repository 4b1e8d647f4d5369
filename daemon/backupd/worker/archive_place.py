"""What the ledger knows of the archive's place, for the carrier."""

from __future__ import annotations

import asyncio
import hashlib
import time
from pathlib import Path
from typing import TYPE_CHECKING

import structlog

from backupd.config.sections import LocalArchiveSection
from backupd.core.dependencies import Dependency
from backupd.ledger import places
from backupd.localfs.claims import ClaimedError, claim, claim_named

if TYPE_CHECKING:
    from collections.abc import Sequence

    from backupd.config.sections import ArchiveSection
    from backupd.core.places import Witness
    from backupd.ledger import Ledger
    from backupd.localfs.claims import Claim

log = structlog.get_logger()

_WITNESSES = 50  # the last copies: somebody may have removed some of them


class ArchivePlace:
    """Implements `carrier.Place`, and logs when another daemon ships to the same archive.

    The other daemon is not kept out: no file is overwritten, whoever shipped it.
    """

    def __init__(self, section: ArchiveSection, ledger: Ledger) -> None:
        self._section = section
        self._ledger = ledger
        self._claim: Claim | None = None

    async def known(self) -> tuple[str | None, Sequence[Witness]]:
        """Return its mark, None where there is none yet, and copies that must be there then."""
        mark = await self._ledger.place(Dependency.ARCHIVE)
        witnesses = [] if mark else await self._ledger.ask(places.witnesses, _WITNESSES)
        return mark, witnesses

    async def identified(self, mark: str) -> None:
        """Write down the mark of a new place; log when somebody else ships there too."""
        if mark != await self._ledger.place(Dependency.ARCHIVE):
            await self._ledger.remember_place(Dependency.ARCHIVE, mark, time.time())
            log.info("archive marked", mark=mark)
        if self._claim is None:
            await asyncio.to_thread(self._claim_it)

    def close(self) -> None:
        """Let others claim it."""
        if self._claim is not None:
            self._claim.release()

    def _claim_it(self) -> None:
        try:
            self._claim = _claimed(self._section)
        except ClaimedError as error:
            log.warning("another backupd ships to the same archive", pid=error.pid)
        except OSError as error:
            log.warning("the archive cannot be claimed", why=error.strerror)


def _claimed(section: ArchiveSection) -> Claim:
    if isinstance(section, LocalArchiveSection):
        root = Path(section.root).stat()
        return claim(root.st_dev, root.st_ino, Dependency.ARCHIVE)
    name = hashlib.sha256(section.address.encode()).hexdigest()[:32]
    return claim_named(name, Dependency.ARCHIVE)
