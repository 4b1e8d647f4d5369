"""Notifies people of incidents. Only the ledger knows what is due and what was sent.

A notice is written before anybody is notified, and its outcome afterwards. A crash in between
leaves a notice with an unknown outcome, which is never repeated where that would open a second
ticket.
"""

from __future__ import annotations

import json
import socket
import time
from dataclasses import replace
from typing import TYPE_CHECKING

import structlog

from backupd.alerts import smtp
from backupd.alerts.hook import run_hook
from backupd.alerts.messages import compose, hook_json
from backupd.alerts.ports import UntilChanged
from backupd.alerts.schedule import all_due, next_letter
from backupd.core.dependencies import Dependency
from backupd.core.errors import TransientError, UnknownOutcomeError
from backupd.core.incidents import Notice, Outcome, Way, went_down
from backupd.core.moves import explained

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence
    from email.message import EmailMessage

    from backupd.alerts.ports import AlertLedger
    from backupd.alerts.schedule import Due
    from backupd.config.sections import AlertsSection
    from backupd.core.incidents import Incident

log = structlog.get_logger()


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
        self._mail_failures = Failures(ledger, Dependency.MAIL)
        self._hook_failures = Failures(ledger, Dependency.HOOK)

    async def open(self) -> None:
        """Take up what the last process was at."""
        await self._ledger.mark_interrupted_notices_unknown(
            "the daemon ended while the mail was being sent"
        )

    async def mail_once(self) -> None:
        """Send one mail, if any is due and the last one was long enough ago."""
        now = time.time()
        due = all_due(await self._cases.get(), self._addresses, self._section, now)
        await self._mail_failures.still_due({each.way for each in due}, now)
        ready = [each for each in due if self._mail_failures.may_try(each.way, now)]
        if not ready:
            return
        letter = next_letter(ready, await self._ledger.last_mail(), now)
        if letter:
            await self._send(letter, now)

    async def run_hooks_once(self) -> None:
        """Run the hook for each incident that it is to hear of."""
        now = time.time()
        ways = [Way.HOOK] if self._section.hook else []
        due = all_due(await self._cases.get(), ways, self._section, now)
        await self._hook_failures.still_due({each.way for each in due}, now)
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
        answers = await self._answers(to, everyone, message)
        ended = [_ended(notice, *answers[notice.way]) for notice in notices]
        await self._ledger.note_notices(ended)
        for way, (outcome, detail) in answers.items():
            if outcome in {Outcome.FAILED, Outcome.UNKNOWN}:
                await self._mail_failures.failed(way, detail, time.time())
            else:
                self._mail_failures.succeeded(way)

    async def _answers(
        self, to: Mapping[Way, Sequence[str]], everyone: Sequence[str], message: EmailMessage
    ) -> dict[Way, tuple[Outcome, str]]:
        """Send to everyone; return for each way what became of it, and details where they help."""
        facts = {"to": everyone, "subject": str(message["Subject"])}
        if self._dev:
            log.info("mail not sent (dev)", **facts, body=message.get_content())
            return dict.fromkeys(to, (Outcome.SKIPPED, ""))
        if self._section.smtp is None:
            raise AssertionError("the config gives no address without a mail server")
        try:
            refused = await smtp.send(self._section.smtp, self._section.sender, everyone, message)
        except UnknownOutcomeError as error:
            return dict.fromkeys(to, (Outcome.UNKNOWN, str(error)))
        except TransientError as error:
            return dict.fromkeys(to, (Outcome.FAILED, explained(error)))
        log.info("mail sent", **facts, refused=refused)
        return {way: _answer_for(some, refused) for way, some in to.items()}

    # -- hook ----------------------------------------------------------------------------------

    async def _run_hook(self, due: Due) -> None:
        payload = hook_json(due, self._host)
        notice = _begun(due, time.time(), "")
        await self._ledger.note_notices([notice])
        outcome, detail = await self._hook_answer(payload)
        await self._ledger.note_notices([_ended(notice, outcome, detail)])
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


def _answer_for(addresses: Sequence[str], refused: Mapping[str, str]) -> tuple[Outcome, str]:
    answers = [refused[address] for address in addresses if address in refused]
    if len(answers) == len(addresses):
        return Outcome.FAILED, f"refused: {'; '.join(answers)}"
    return Outcome.SENT, f"but refused: {'; '.join(answers)}" if answers else ""


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


def _ended(notice: Notice, outcome: Outcome, detail: str) -> Notice:
    answered = ", ".join(part for part in (notice.detail, detail) if part)
    return replace(notice, outcome=outcome, detail=answered)


# -- ways that fail --------------------------------------------------------------------------------

_FIRST_PAUSE, _LONGEST_PAUSE = 60.0, 900.0  # seconds
_MOST_DOUBLINGS = 10  # beyond, the longest pause holds anyway, and after days the number overflows


class Failures:
    """Which of some ways fail, as one incident, "mail" or "hook": for both mails take one road."""

    def __init__(self, ledger: AlertLedger, cause: str) -> None:
        self._ledger = ledger
        self._cause = cause
        self._failing: dict[Way, Incident] = {}
        self._is_noted = True  # the last process may have left its incident open
        self._was_tried = False  # before that, nobody knows whether what failed then works now

    def may_try(self, way: Way, now: float) -> bool:
        """Return whether a way's pause, if there is one, is over."""
        outage = self._failing.get(way)
        at = outage.next_try_at or 0.0 if outage else 0.0
        return now >= at or at > now + _LONGEST_PAUSE  # the clock was set back

    async def failed(self, way: Way, reason: str, now: float) -> None:
        """Note that nobody could be notified this way."""
        before = self._failing.get(way) or went_down(self._cause, now)
        pause = min(_FIRST_PAUSE * 2 ** min(before.trials, _MOST_DOUBLINGS), _LONGEST_PAUSE)
        outage = replace(before, reason=reason, trials=before.trials + 1, next_try_at=now + pause)
        self._failing[way] = outage
        self._is_noted = self._was_tried = True
        log.info("could not tell", way=str(way), reason=reason, next_try_in_s=pause)
        await self._ledger.note_incidents([outage])

    async def still_due(self, ways: Collection[Way], now: float) -> None:
        """Forget the ways that work, or by which nobody is to be notified any more."""
        self._failing = {way: each for way, each in self._failing.items() if way in ways}
        if self._is_noted and not self._failing and (self._was_tried or not ways):
            await self._ledger.close_incidents([self._cause], now)
            self._is_noted = False

    def succeeded(self, way: Way) -> None:
        """Note that it works."""
        self._was_tried = True
        self._failing.pop(way, None)
