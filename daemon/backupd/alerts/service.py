"""Alerts as a whole: tracks incidents, notifies people, of each day too. It stops no file."""

from __future__ import annotations

import asyncio
import time
from functools import partial
from typing import TYPE_CHECKING

import structlog

from backupd.alerts.daily import DailyMail
from backupd.alerts.notifier import Notifier
from backupd.core.dependencies import Dependency
from backupd.core.errors import LedgerError
from backupd.core.pace import repeat

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Collection

    from backupd.alerts.daily import Reporting
    from backupd.alerts.ports import AlertLedger
    from backupd.alerts.tracker import IncidentTracker
    from backupd.config.sections import AlertsSection

log = structlog.get_logger()

_EVERY = 1.0  # seconds between looks
_LOOKING_SHARE = 20  # looking takes a twentieth of the time at most, however many files are parked
_LONGEST = 10.0  # seconds: after a mail that took its time too
_AFTER_A_FAULT = 60.0  # seconds
_LAST_WORDS = 5.0  # seconds that a mail on its way, or a hook, gets when the daemon stops


class Alerts:
    """The part of the daemon that knows incidents."""

    def __init__(
        self,
        section: AlertsSection | None,
        ledger: AlertLedger,
        tracker: IncidentTracker,
        reporting: Reporting | None = None,
        *,
        dev: bool,
    ) -> None:
        self._ledger = ledger
        self._tracker = tracker
        self._notifier = Notifier(section, ledger, dev=dev) if section else None
        self._daily: DailyMail | None = None
        if section and self._notifier and reporting:
            failures = self._notifier.mail_failures
            self._daily = DailyMail(section, ledger, failures, reporting, dev=dev)

    async def run(self, stop: asyncio.Event) -> None:
        """Look every second or so until `stop` is set, and once more then."""
        await self._tracker.open()
        if self._notifier:
            await self._notifier.open()
        else:  # nobody is notified any more, so notifying cannot fail
            await self._ledger.close_incidents([Dependency.MAIL, Dependency.HOOK], time.time())
        steps = self._tellings()
        keep_doing = partial(
            repeat, every=_EVERY, stop=stop, share=_LOOKING_SHARE, longest=_LONGEST
        )
        async with asyncio.TaskGroup() as group:
            group.create_task(keep_doing(self._tracker.keep))
            tellings = [group.create_task(keep_doing(step)) for step in steps]
            await stop.wait()
            hangs = await _cut_short(tellings)
        await self._tracker.keep()
        if not hangs:  # notify of what the last files came to before the end
            await asyncio.gather(*(step() for step in steps))

    def _tellings(self) -> list[Callable[[], Awaitable[None]]]:
        if self._notifier is None:
            return []
        # Beside each other: a hook that takes its time holds up no mail.
        steps = [self._notifier.mail_once, self._notifier.run_hooks_once]
        if self._daily is not None:
            steps.append(self._daily.send_once)
        return [_unfailing(step) for step in steps]


async def _cut_short(tellings: Collection[asyncio.Task[None]]) -> bool:
    """Let notices under way finish within a time limit; return whether any did not.

    A mail server that hangs must not hold up a stop, nor a reload, during which files wait.
    """
    if not tellings:
        return False
    _, late = await asyncio.wait(tellings, timeout=_LAST_WORDS)
    for task in late:
        task.cancel()
    return bool(late)


def _unfailing(step: Callable[[], Awaitable[None]]) -> Callable[[], Awaitable[None]]:
    """Return a step that logs its faults, then pauses for a minute. Only LedgerError is raised."""
    not_before = 0.0

    async def guarded() -> None:
        nonlocal not_before
        if time.monotonic() < not_before:
            return
        try:
            await step()
        except LedgerError:
            raise
        except Exception:
            log.exception("notifying people failed")
            not_before = time.monotonic() + _AFTER_A_FAULT

    return guarded
