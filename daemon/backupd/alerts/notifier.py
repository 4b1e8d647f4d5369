"""Notifies people of incidents. Only the ledger knows what is due and what was sent.

A notice is written before anybody is notified, and its outcome afterwards. A crash in between
leaves a notice with an unknown outcome, which is never repeated where that would open a second
ticket.
"""

from __future__ import annotations

import json
import socket
import time
from typing import TYPE_CHECKING

import structlog

from backupd.alerts.failures import Failures
from backupd.alerts.hook import run_hook
from backupd.alerts.messages import compose, hook_json
from backupd.alerts.ports import UntilChanged
from backupd.alerts.schedule import all_due, next_letter
from backupd.alerts.sending import hand_over
from backupd.core.dependencies import Dependency
from backupd.core.errors import TransientError
from backupd.core.incidents import Notice, Outcome, Way
from backupd.core.moves import explained

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from backupd.alerts.ports import AlertLedger
    from backupd.alerts.schedule import Due
    from backupd.config.sections import AlertsSection

log = structlog.get_logger()

_MAILS = (Way.MAIL, Way.TICKET)
_HOOKS = (Way.HOOK,)


class Notifier:
    """Sends what is due by mail, to the ticket mailbox and to the hook. In dev only logs it."""

    def __init__(self, section: AlertsSection, ledger: AlertLedger, *, dev: bool) -> None:
        self._section = section
        self._ledger = ledger
        self._dev = dev
        self._host = socket.gethostname()
        self._addresses: Mapping[Way, Sequence[str]] = {
            way: to for way, to in ((Way.MAIL, section.to), (Way.TICKET, section.ticket_to)) if to
        }
        self._cases = UntilChanged(ledger, ledger.cases)
        self.mail_failures = Failures(ledger, Dependency.MAIL, _MAILS)
        self._hook_failures = Failures(ledger, Dependency.HOOK, _HOOKS)

    async def open(self) -> None:
        """Take up what the last process was at."""
        await self._ledger.mark_interrupted_notices_unknown(
            "the daemon ended while the mail was being sent"
        )

    async def mail_once(self) -> None:
        """Send one mail, if any is due and the last one was long enough ago."""
        now = time.time()
        due = all_due(await self._cases.get(), self._addresses, self._section, now)
        await self.mail_failures.still_due(_MAILS, {each.way for each in due}, now)
        ready = [each for each in due if self.mail_failures.may_try(each.way, now)]
        if not ready:
            return
        letter = next_letter(ready, await self._ledger.last_mail(), now)
        if letter:
            await self._send(letter, now)

    async def run_hooks_once(self) -> None:
        """Run the hook for each incident that it is to hear of."""
        now = time.time()
        ways = _HOOKS if self._section.hook else ()
        due = all_due(await self._cases.get(), ways, self._section, now)
        await self._hook_failures.still_due(_HOOKS, {each.way for each in due}, now)
        for each in due:
            if self._hook_failures.may_try(Way.HOOK, now):
                await self._run_hook(each)

    # -- mail ----------------------------------------------------------------------------------

    async def _send(self, letter: Sequence[Due], now: float) -> None:
        to = {due.way: self._addresses[due.way] for due in letter}
        everyone = list(dict.fromkeys(address for some in to.values() for address in some))
        message = compose(letter, self._section.sender, everyone, self._host, now)
        notices = [_begun(due, now, ", ".join(to[due.way])) for due in letter]
        await self._ledger.note_notices(notices)
        answer = await hand_over(self._section, everyone, message, dev=self._dev)
        answers = {way: answer.of(some) for way, some in to.items()}
        ended = [notice.ended(*answers[notice.way]) for notice in notices]
        await self._ledger.note_notices(ended)
        for way, (outcome, detail) in answers.items():
            if outcome in {Outcome.FAILED, Outcome.UNKNOWN}:
                await self.mail_failures.failed(way, detail, time.time())
            else:
                self.mail_failures.succeeded(way)

    # -- hook ----------------------------------------------------------------------------------

    async def _run_hook(self, due: Due) -> None:
        payload = hook_json(due, self._host)
        notice = _begun(due, time.time(), "")
        await self._ledger.note_notices([notice])
        outcome, detail = await self._hook_answer(payload)
        await self._ledger.note_notices([notice.ended(outcome, detail)])
        if outcome is Outcome.FAILED:
            await self._hook_failures.failed(Way.HOOK, detail, time.time())
        else:
            self._hook_failures.succeeded(Way.HOOK)

    async def _hook_answer(self, payload: Mapping[str, object]) -> tuple[Outcome, str]:
        if self._dev or self._section.hook is None:
            log.info("hook not run (dev)", told=json.dumps(payload))
            return Outcome.SKIPPED, ""
        try:
            return Outcome.SENT, await run_hook(self._section.hook, payload)
        except TransientError as error:
            return Outcome.FAILED, explained(error)


def _begun(due: Due, now: float, detail: str) -> Notice:
    return Notice(
        incident_id=due.case.incident.id,
        way=due.way,
        occasion=due.occasion,
        number=due.number,
        at=now,
        outcome=Outcome.TRYING,
        detail=detail,
    )
