"""The connections of one archive: as many as are wanted, or as the server bears."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING

import structlog

from backupd.archive.sftp.login import log_in
from backupd.core.dependencies import Dependency
from backupd.core.errors import DependencyDownError
from backupd.core.threads import unheard

if TYPE_CHECKING:
    from backupd.archive.sftp.connection import Link
    from backupd.config.sections import SftpArchiveSection

# Seconds until a server that bore fewer connections is asked for more: doubled each time.
MORE_AFTER = 300.0
MORE_AFTER_AT_MOST = 3600.0
MORE_TRIES = 2  # where one stands, little is lost without another
# A connection that is lost so many seconds after another one was opened was closed for it.
CLOSED_FOR_ANOTHER = 30.0

log = structlog.get_logger()


class Links:
    """Made when first needed, and again after a loss. The first one stands for whether it is up."""

    def __init__(self, section: SftpArchiveSection) -> None:
        """Nothing is connected yet."""
        self._section = section
        self._standing: list[Link] = []
        self._opening: asyncio.Task[None] | None = None
        self._opened_at = float("-inf")  # the last of them (time.monotonic)
        self._more_at = float("-inf")  # when more may be opened beside those that stand
        self._more_after = MORE_AFTER
        self._why_fewer = ""
        self._turn = 0

    async def take(self) -> Link:
        """Return a link that stands, each in its turn. DependencyDownError when there is none."""
        while link := self._next():
            if await link.answers():
                return link
        # Shielded, since many wait for the same: all of them get the links, or the error.
        await asyncio.shield(self._open())
        if link := self._next():
            return link
        raise DependencyDownError(
            Dependency.ARCHIVE,
            f"{self._section.host} closes each connection as soon as it is there",
            hint="look at the log of its sshd",
        )

    async def borne(self) -> str:
        """Return how many connections the server bears; try it first if that was not done yet."""
        await self.take()
        standing, wanted = len(self._still_standing()), self._section.connections
        if standing >= wanted:
            return f"{standing} at once, as configured"
        return f"{standing} at once, of {wanted} that are configured: {self._why_fewer}"

    async def aclose(self) -> None:
        """Close them all; what is being opened is given up."""
        if self._opening is not None:
            self._opening.cancel()
            await asyncio.wait([self._opening])
        standing, self._standing = self._standing, []
        await asyncio.gather(*(link.aclose() for link in standing))

    def _next(self) -> Link | None:
        standing = self._still_standing()
        if not standing:
            return None
        if len(standing) < self._section.connections and time.monotonic() >= self._more_at:
            self._open()
        self._turn = (self._turn + 1) % len(standing)
        return standing[self._turn]

    def _still_standing(self) -> list[Link]:
        kept = [link for link in self._standing if not link.lost]
        lost_one = len(kept) < len(self._standing)
        self._standing = kept
        if lost_one and kept and time.monotonic() - self._opened_at < CLOSED_FOR_ANOTHER:
            self._bears_fewer("the server closed one soon after it had let another in")
        return kept

    def _open(self) -> asyncio.Task[None]:
        if self._opening is None or self._opening.done():
            self._opening = asyncio.create_task(self._open_missing())
            self._opening.add_done_callback(unheard)  # the next one tries again
        return self._opening

    async def _open_missing(self) -> None:
        """Open one after another. Where one stands, that the server bears no more is no error."""
        for _ in range(self._section.connections - len(self._still_standing())):
            first = not self._still_standing()
            if not first and time.monotonic() < self._more_at:
                return
            try:
                link = await log_in(self._section, None if first else MORE_TRIES)
            except DependencyDownError as error:
                if not self._still_standing():
                    raise
                self._bears_fewer(str(error))
                return
            self._standing.append(link)
            self._opened_at = time.monotonic()

    def _bears_fewer(self, why: str) -> None:
        if why != self._why_fewer:
            log.info(
                "fewer connections to the archive than configured",
                standing=len(self._standing),
                configured=self._section.connections,
                reason=why,
            )
        self._why_fewer = why
        self._more_at = time.monotonic() + self._more_after
        self._more_after = min(2 * self._more_after, MORE_AFTER_AT_MOST)
