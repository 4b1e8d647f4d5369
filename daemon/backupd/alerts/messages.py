"""Mails about incidents, as messages; and the same for the hook, as JSON. Pure.

File names and reasons may hold anything: what goes into a header is made one printable line first,
for a newline in it would make the mail library refuse the whole mail.
"""

from __future__ import annotations

import textwrap
from datetime import UTC, datetime
from email.message import EmailMessage
from email.policy import SMTP
from email.utils import format_datetime
from typing import TYPE_CHECKING, Any

from backupd.alerts.meaning import meaning, next_command, who_was_notified
from backupd.core.incidents import Case, Occasion, Way
from backupd.core.names import escaped
from backupd.core.times import iso, moment, span

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from backupd.alerts.schedule import Due

_WIDTH = 78  # characters a line, where a word fits into one
_LONGEST_LINE = 990  # of mail that goes as it is (RFC 5322); else it is encoded
_INDENT = " " * 14
_MOST = 30  # incidents that are described one by one in a mail
_LONGEST_SUBJECT = 150  # characters


def one_line(text: str) -> str:
    """Return a text as one printable line; raw bytes of a name that is not UTF-8 as `?`."""
    return "".join(char if char.isprintable() else "?" for char in " ".join(text.split()))


def compose(
    due: Sequence[Due], sender: str, to: Sequence[str], host: str, now: float
) -> EmailMessage:
    """Return the mail about everything that is due. `host` is where it comes from."""
    news = _news(due)
    paragraphs = ["\n".join(_paragraph(each, now)) for each in news[:_MOST]]
    if len(news) > _MOST:
        paragraphs.append(f"... and {len(news) - _MOST} more: backupd-admin incidents")
    text = "\n\n".join(paragraphs)
    name = _message_name(due)
    message = plain_message(f"[backupd {host}] {_subject(news, now)}", text, sender, to, now)
    domain = sender.rpartition("@")[2]
    message["Message-ID"] = f"<{name}@{domain}>"
    if len(due) == 1 and due[0].occasion is not Occasion.OPENED:
        opened = f"<{due[0].case.incident.id}.{Occasion.OPENED}.0@{domain}>"
        message["In-Reply-To"] = message["References"] = opened
    return message


def plain_message(
    subject: str, text: str, sender: str, to: Sequence[str], now: float
) -> EmailMessage:
    """Return a mail of plain text, without a Message-ID."""
    message = EmailMessage(policy=SMTP)
    message["From"] = sender
    message["To"] = ", ".join(to)
    message["Subject"] = one_line(subject)[:_LONGEST_SUBJECT]
    message["Date"] = format_datetime(datetime.fromtimestamp(now, UTC))
    message["Auto-Submitted"] = "auto-generated"  # so that no holiday notice answers it
    lines = [wrapped for line in text.splitlines() for wrapped in _wrapped(line)]
    is_plain = text.isascii() and max(map(len, lines), default=0) <= _LONGEST_LINE
    message.set_content("\n".join(lines) + "\n", cte="7bit" if is_plain else "quoted-printable")
    return message


def _wrapped(line: str) -> list[str]:
    """Break a line between words; names and commands stay whole."""
    return textwrap.wrap(
        line,
        _WIDTH,
        subsequent_indent=_INDENT,
        break_long_words=False,
        break_on_hyphens=False,
        drop_whitespace=True,
    ) or [""]


def hook_json(due: Due, host: str) -> dict[str, Any]:
    """Return what the hook program gets."""
    incident, held = due.case.incident, due.case.held
    return {
        "occasion": due.occasion,
        "host": host,
        "id": incident.id,
        "kind": incident.kind,
        "cause": one_line(incident.cause),
        "feed": incident.feed or None,
        "title": one_line(incident.title),
        "reason": one_line(incident.reason),
        "since": iso(incident.opened_at),
        "until": iso(incident.closed_at),
        "files": held.files,
        "oldest": None if held.oldest_name is None else escaped(held.oldest_name),
        "oldest_seen_at": iso(held.oldest_at),
        "means": meaning(incident),
        "next": next_command(incident),
    }


def _message_name(due: Sequence[Due]) -> str:
    """Made from the incident: the same mail, when it is sent again, has the same name."""
    first, more = due[0], len(_news(due)) - 1
    if first.way is Way.TICKET:
        return f"{first.case.incident.id}.ticket"
    name = f"{first.case.incident.id}.{first.occasion}.{first.number}"
    return f"{name}.and{more}" if more else name


def _news(due: Sequence[Due]) -> list[Due]:
    """Return what is to be read: each incident once, also where two ways share the mail."""
    return list({each.case.incident.id: each for each in due}.values())


def _subject(news: Sequence[Due], now: float) -> str:
    if len(news) == 1:
        incident = news[0].case.incident
        return f"{_headline(news[0], now)}: {incident.reason}"
    return f"{len(news)} incidents: " + "; ".join(_headline(each, now) for each in news)


def _headline(due: Due, now: float) -> str:
    incident = due.case.incident
    match due.occasion:
        case Occasion.OPENED | Occasion.DAILY:
            return incident.title
        case Occasion.REMINDER:
            return f"still: {incident.title} ({span(now - incident.opened_at)})"
        case Occasion.CLOSED:
            return f"resolved: {incident.title}"


def _paragraph(due: Due, now: float) -> Iterator[str]:
    incident = due.case.incident
    yield one_line(_headline(due, now))
    if due.occasion is Occasion.CLOSED and incident.closed_at is not None:
        began, ended = incident.opened_at, incident.closed_at
        yield f"  from:       {moment(began)} to {moment(ended)} ({span(ended - began)})"
        yield f"  it was:     {one_line(incident.reason)}"
        return
    lasting = span(now - incident.opened_at)
    yield f"  since:      {moment(incident.opened_at)} ({lasting})"
    yield f"  why:        {one_line(incident.reason)}"
    yield f"  affected:   {_held(due.case, now)}"
    yield f"  impact:     {meaning(incident)}"
    yield f"  next step:  {next_command(incident)}"
    for notice, words in who_was_notified(due.case.notices):
        yield f"  {one_line(words)} ({moment(notice.at)})"


def _held(case: Case, now: float) -> str:
    held = case.held
    if held.oldest_name is None or held.oldest_at is None:
        return "no file just now"
    files = "1 file" if held.files == 1 else f"{held.files:,} files"
    seen = f"{moment(held.oldest_at)} ({span(now - held.oldest_at)} ago)"
    return f"{files}; the oldest: {escaped(held.oldest_name)}, first seen {seen}"
