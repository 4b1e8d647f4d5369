"""The lists of customers that have files of their own: noticed when they change, and kept."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import structlog

from backupd.config import keep_customers, mark_of
from backupd.core.pace import repeat

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from backupd.config.sections import Config, CustomersFile
    from backupd.core.records import Identity

log = structlog.get_logger()

_EVERY = 2.0  # seconds between two looks


class CustomersWatch:
    """Looks whether a file changed, and reports it once it has stayed so from one look to the next.

    A file that is written in several goes is not read in between, as far as that can be seen.
    """

    def __init__(self, files: Sequence[CustomersFile], changed: Callable[[], bool]) -> None:
        """`changed` has the files read again; False: not now, it is called again then."""
        self._paths = [each.path for each in files]
        self._changed = changed
        self._read = self._last = [each.mark for each in files]

    async def run(self, stop: asyncio.Event) -> None:
        """Look until the stop."""
        await repeat(self._look, _EVERY, stop)

    async def _look(self) -> None:
        before, self._last = self._last, await asyncio.to_thread(self._marks)
        if self._last == before != self._read and self._changed():
            self._read = self._last

    def _marks(self) -> list[Identity | None]:
        return [mark_of(path) for path in self._paths]


async def keep(config: Config) -> None:
    """Keep the good lists, and say which are not."""
    try:
        await asyncio.to_thread(keep_customers, config.ledger.path, config.customers_files)
    except OSError as error:
        log.warning("the lists of customers cannot be kept", why=error.strerror)
    for file_type, reason in unusable(config).items():
        log.warning("the last good list of customers stays", file_type=file_type, why=reason)


def unusable(config: Config) -> dict[str, str]:
    """Return the file types whose customers_file cannot be used, each with why."""
    return {
        each.file_type: f"{each.path} {each.trouble}"
        for each in config.customers_files
        if each.trouble
    }


def differ(new: Config, old: Config) -> bool:
    """Return whether two readings of one config differ in customers, or in what is wrong."""
    return (new.feeds, new.customers_files) != (old.feeds, old.customers_files)
