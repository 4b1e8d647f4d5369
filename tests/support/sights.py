"""Intake at work, and the incidents with what it cannot take."""

from __future__ import annotations

from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

from backupd.alerts import IncidentTracker
from backupd.ledger import incidents
from support.intake import Watched, eventually, watching

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from backupd.core.incidents import Incident
    from backupd.core.records import Feed


class Sights(Watched):
    """Intake at work, and the tracker of incidents beside it."""

    def __init__(self, watched: Watched) -> None:
        super().__init__(watched.intake, watched.ledger)
        self._tracker = IncidentTracker(self.ledger, dict, self.intake.untaken)

    async def open(self) -> list[Incident]:
        await self._tracker.keep()
        return await self.ledger.ask(incidents.all_open)

    async def incidents(self, *beginnings: str) -> list[Incident]:
        """Wait until these are open, told by how their reason begins, and no others."""
        found: list[Incident] = []

        async def look() -> bool:
            found[:] = sorted(await self.open(), key=lambda each: each.reason)
            pairs = zip(found, sorted(beginnings), strict=False)
            same = all(each.reason.startswith(text) for each, text in pairs)
            return len(found) == len(beginnings) and same

        await eventually(look, lambda: str([each.reason for each in found]))
        return found


@asynccontextmanager
async def looking(tmp_path: Path, *feeds: Feed, **section: object) -> AsyncIterator[Sights]:
    async with watching(tmp_path, feeds, **{"rescan_every": 0.1, **section}) as watched:
        yield Sights(watched)
