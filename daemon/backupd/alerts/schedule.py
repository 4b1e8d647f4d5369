"""Who is notified of what, and when. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from backupd.core.dependencies import Dependency
from backupd.core.incidents import Kind, Occasion, Outcome, Way

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Sequence

    from backupd.config.sections import AlertsSection
    from backupd.core.incidents import Case, Notice

MAIL_EVERY = 60.0  # seconds from one mail to the next: what comes up meanwhile goes into one
_AT_ONCE = {Kind.PARKED, Kind.DOUBLED}  # nothing mends these by itself
_SENT = {Outcome.SENT, Outcome.SKIPPED}


@dataclass(frozen=True, slots=True, kw_only=True)
class Due:
    """People are to be notified of an incident. `number` counts reminders from 1."""

    case: Case
    way: Way
    occasion: Occasion
    number: int = 0


def all_due(
    cases: Sequence[Case], ways: Collection[Way], section: AlertsSection, now: float
) -> list[Due]:
    """Return the notices due now, oldest incident first."""
    found = (_due(case, way, section, now) for case in cases for way in ways)
    return [due for due in found if due is not None]


def next_letter(due: Sequence[Due], last: Notice | None, now: float) -> list[Due]:
    """Return what goes into the next mail; nothing while the last one was just sent.

    The operators get all that is due in one mail. A ticket is opened from each mail to its mailbox,
    so that each incident gets one of its own: the same mail as the operators', where that is about
    this incident alone. Else they take turns.
    """
    if last is not None and 0 <= now - last.at < MAIL_EVERY:
        return []
    mails = [each for each in due if each.way is Way.MAIL]
    tickets = [each for each in due if each.way is Way.TICKET]
    if not (mails and tickets):
        return mails or tickets[:1]
    ticket = tickets[0]
    if len(mails) == 1 and _same_news(mails[0], ticket):
        return [*mails, ticket]
    return [ticket] if last is not None and last.way is Way.MAIL else mails


def _same_news(mail: Due, ticket: Due) -> bool:
    return mail.case is ticket.case and mail.occasion is ticket.occasion


def _due(case: Case, way: Way, section: AlertsSection, now: float) -> Due | None:
    if _is_about(case, way):
        return None
    sent = list(_sent(case, way))
    opened = any(notice.occasion is Occasion.OPENED for notice in sent)
    if case.incident.closed_at is not None:
        over = any(notice.occasion is Occasion.CLOSED for notice in sent)
        wants_to_know = opened and not over and way is not Way.TICKET
        return Due(case=case, way=way, occasion=Occasion.CLOSED) if wants_to_know else None
    if not opened:
        after = 0 if case.incident.kind in _AT_ONCE else section.after
        is_due = now >= case.incident.opened_at + after
        return Due(case=case, way=way, occasion=Occasion.OPENED) if is_due else None
    return None if way is Way.TICKET else _reminder(case, way, sent, section, now)


def _reminder(
    case: Case, way: Way, sent: Sequence[Notice], section: AlertsSection, now: float
) -> Due | None:
    last = max(notice.at for notice in sent)
    doubt = way is Way.MAIL and any(_is_doubtful_ticket(n) and n.at > last for n in case.notices)
    if now < last + section.remind_every and not doubt:
        return None
    number = sum(notice.occasion is Occasion.REMINDER for notice in sent) + 1
    return Due(case=case, way=way, occasion=Occasion.REMINDER, number=number)


def _sent(case: Case, way: Way) -> Iterator[Notice]:
    """Yield the notices that are not to be repeated: of a ticket also one that may have gone."""
    for notice in case.notices:
        may_have_gone = way is Way.TICKET and notice.outcome is not Outcome.FAILED
        if notice.way is way and (may_have_gone or notice.outcome in _SENT):
            yield notice


def _is_doubtful_ticket(notice: Notice) -> bool:
    return notice.way is Way.TICKET and notice.outcome is Outcome.UNKNOWN


def _is_about(case: Case, way: Way) -> bool:
    """Return whether the incident is that this very way does not work."""
    return case.incident.cause == (Dependency.HOOK if way is Way.HOOK else Dependency.MAIL)
