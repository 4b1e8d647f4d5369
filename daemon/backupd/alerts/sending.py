"""Hands over a mail, or in dev only logs it, and says in a notice's words what became of it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import structlog

from backupd.alerts import smtp
from backupd.core.errors import TransientError, UnknownOutcomeError
from backupd.core.incidents import Outcome
from backupd.core.moves import explained

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from email.message import EmailMessage

    from backupd.config.sections import AlertsSection

log = structlog.get_logger()


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What became of a mail. `refused`: what the server said of recipients; the others got it."""

    outcome: Outcome
    detail: str = ""
    refused: Mapping[str, str] = field(default_factory=dict)

    def of(self, addresses: Sequence[str]) -> tuple[Outcome, str]:
        """Return what became of it for some of its recipients."""
        if self.outcome is not Outcome.SENT:
            return self.outcome, self.detail
        answers = [self.refused[address] for address in addresses if address in self.refused]
        if len(answers) == len(addresses):
            return Outcome.FAILED, f"refused: {'; '.join(answers)}"
        return Outcome.SENT, f"but refused: {'; '.join(answers)}" if answers else ""


async def hand_over(
    section: AlertsSection, to: Sequence[str], message: EmailMessage, *, dev: bool
) -> Answer:
    """Send a mail, and log that. In dev its text is logged, and that is all."""
    facts = {"to": to, "subject": str(message["Subject"])}
    if dev:
        log.info("mail not sent (dev)", **facts, body=_text_of(message))
        return Answer(outcome=Outcome.SKIPPED)
    answer = await sent(section, to, message)
    if answer.outcome is Outcome.SENT:
        log.info("mail sent", **facts, refused=dict(answer.refused))
    return answer


async def sent(section: AlertsSection, to: Sequence[str], message: EmailMessage) -> Answer:
    """Send a mail."""
    if section.smtp is None:
        raise AssertionError("the config gives no address without a mail server")
    try:
        refused = await smtp.send(section.smtp, section.sender, to, message)
    except UnknownOutcomeError as error:
        return Answer(outcome=Outcome.UNKNOWN, detail=str(error))
    except TransientError as error:
        return Answer(outcome=Outcome.FAILED, detail=explained(error))
    return Answer(outcome=Outcome.SENT, refused=refused)


def _text_of(message: EmailMessage) -> str:
    body = message.get_body(("plain",))
    return "" if body is None else str(body.get_content())
