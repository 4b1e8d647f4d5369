"""The process status file of the old job, which health checks read: KEY=value lines."""

from __future__ import annotations

import asyncio
import os
import time
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import structlog

from backupd.core.pace import repeat
from backupd.core.stages import FACTS, ORDER
from backupd.localfs.whole import made_directory_at, remove_leftovers, write_whole

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from pathlib import Path

    from backupd.core.incidents import Standing

log = structlog.get_logger()

_EVERY = 0.25  # seconds between looks whether anything was written to the ledger
_MODE = 0o644  # health checks run as other users


def lines(standing: Standing, pid: int) -> dict[str, str]:
    """Return the keys and their values, but for the time."""
    due = [stage for stage in ORDER if stage in standing.due]
    status = "Failure" if standing.incidents else "Running" if due else "Success"
    return {
        "MNAAS_CDR_Backup_ProcessStatusFlag": str(FACTS[due[0]].flag if due else 0),
        "MNAAS_job_status": status,
        "MNAAS_email_sdp_created": "Yes" if standing.ticketed else "No",
        "MNAAS_Script_Process_Id": str(pid),
    }


class StatusFile:
    """Keeps the file true. What keeps it from being written is logged, and holds nothing up."""

    def __init__(
        self, path: Path, look: Callable[[], Awaitable[Standing]], commits: Callable[[], int]
    ) -> None:
        """`commits` goes up with each change of what `look` returns.

        Links in the directory's path are followed now, as the config means them, and never again:
        whoever can put one there later does not choose what we write to.
        """
        self._path = path
        self._directory = os.path.realpath(path.parent)
        self._look = look
        self._commits = commits
        self._seen = -1
        self._written: dict[str, str] = {}
        self._is_failing = False

    async def run(self, stop: asyncio.Event) -> None:
        """Write at once, then after each change, until `stop` is set."""
        await repeat(self._keep, _EVERY, stop)

    async def _keep(self) -> None:
        if (commits := self._commits()) != self._seen or self._is_failing:
            self._seen = commits
            await self.write()

    async def write(self) -> None:
        """Write it if anything changed."""
        wanted = lines(await self._look(), os.getpid())
        if wanted == self._written:
            return
        at = datetime.fromtimestamp(time.time(), UTC).strftime("%Y-%m-%d %H:%M:%S")
        keys = wanted | {"MNAAS_job_ran_time": at}
        text = "".join(f"{key}={value}\n" for key, value in keys.items())
        try:
            await asyncio.to_thread(self._replace, text.encode("ascii"))
        except OSError as error:
            if not self._is_failing:
                log.warning("status file not written", path=str(self._path), why=error.strerror)
            self._is_failing = True
        else:
            self._written, self._is_failing = wanted, False

    def _replace(self, text: bytes) -> None:
        with made_directory_at(self._directory) as directory:
            if not self._written:
                remove_leftovers(directory, self._path.name)
            write_whole(directory, self._path.name, text, _MODE)
