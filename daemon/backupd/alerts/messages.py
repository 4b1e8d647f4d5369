"""What people are told of incidents: meaning, next step, whole mails, the hook's JSON. Pure.

File names and reasons may hold anything: what goes into a header is made one printable line first,
for a newline in it would make the mail library refuse the whole mail.
"""

from __future__ import annotations

import shlex
import textwrap
from datetime import UTC, datetime
from email.message import EmailMessage
from email.policy import SMTP
from email.utils import format_datetime
from typing import TYPE_CHECKING, Any

from backupd.core.incidents import Case, Kind, Occasion, Outcome, Way
from backupd.core.names import escaped
from backupd.core.times import iso, moment, span

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from backupd.alerts.schedule import Due
    from backupd.core.incidents import Incident, Notice

_MEANING = {
    "archive": "Files are registered but not shipped, and stay on this host. They go on by"
    " themselves once it answers; no attempt is lost meanwhile.",
    "warehouse": "Files are counted but not registered, and so not shipped either. They go on by"
    " themselves once it works again; no attempt is lost meanwhile.",
    "impala": "Files go on, but Impala does not see the newest rows. It is told of them once it"
    " works again.",
    "host": "backupd has run out of what this host gives it: descriptors, threads or memory. Files"
    " go on one at a time; no attempt is lost meanwhile. It is over when nothing has run into it"
    " for a minute, or for longer where it came back.",
    "mail": "Files go on, but nobody is told of incidents by mail. What is owed is sent once the"
    " mail server takes it.",
    "hook": "Files go on, but the hook program is not told of incidents. It is tried again.",
}
_FEED_MEANING = (
    "Its files cannot be reached: they wait, and none is taken for gone. They go on by themselves"
    " once the directory is back."
)
_UNTAKEN_MEANING = (
    "It stays where it is, neither registered nor shipped; all others go on. This ends by itself"
    " once a look at the directory finds nothing of the kind any more."
)
_ARCHIVE_MEANING = (
    "Files that go there are registered but not shipped, and stay on this host; all others go on."
    " They go on by themselves within a minute of the directory being mended; no attempt is lost."
)
_ROOM_MEANING = (
    "These files wait, and stay on this host; smaller ones go on. Each is tried again every minute;"
    " no attempt is lost. Make room on the archive's disk."
)
_DOUBLED_MEANING = (
    "Files go on, but whoever counts rows counts these files more than once. It does not mend by"
    " itself; it is looked at again every ten minutes, and at each start."
)
_PARKED_MEANING = (
    "These files wait for a person; all others go on. Mend the cause, then take them back with"
    " `backupd-admin requeue`; what can never go on is closed with `backupd-admin dismiss`."
)


_MEANING_OF_KIND = {
    Kind.PARKED: _PARKED_MEANING,
    Kind.DOUBLED: _DOUBLED_MEANING,
    Kind.UNTAKEN: _UNTAKEN_MEANING,
    Kind.FEED: _FEED_MEANING,
    Kind.ARCHIVE: _ARCHIVE_MEANING,
    Kind.ROOM: _ROOM_MEANING,
}


def meaning(incident: Incident) -> str:
    """Say what the incident does to the files."""
    if incident.kind is Kind.DEPENDENCY:
        return _MEANING[incident.cause]
    return _MEANING_OF_KIND[incident.kind]


def next_command(incident: Incident) -> str:
    """Return what to type next."""
    if incident.kind is Kind.PARKED:
        return f"backupd-admin list --status parked --feed {shlex.quote(incident.feed)}"
    if incident.kind is Kind.UNTAKEN:
        return "ls -l there, mend it as told, then: backupd-admin incidents"
    if incident.kind is Kind.DOUBLED:
        return f"stop backupd, run in beeline, start backupd: {incident.trouble}"
    if incident.cause in {Way.MAIL, Way.HOOK}:
        return "backupd-admin test-alert"
    return "backupd check" if incident.cause == "host" else "backupd check --probe"


_OUTCOMES = {
    Outcome.TRYING: "being told",
    Outcome.SENT: "told",
    Outcome.FAILED: "could not be told",
    Outcome.UNKNOWN: "may or may not have been told",
    Outcome.SKIPPED: "not told (dev)",
}
_WHO = {Way.MAIL: "operators", Way.TICKET: "ticket mailbox", Way.HOOK: "hook"}
_WHAT = {Occasion.OPENED: "", Occasion.REMINDER: " again", Occasion.CLOSED: " of its end"}


def who_was_told(notices: Sequence[Notice]) -> list[tuple[Notice, str]]:
    """Say of the last notice to each who was told: pairs of the notice and the words."""
    last = {notice.way: notice for notice in notices}  # they come oldest first
    return [(notice, _told(notice)) for notice in last.values()]


def _told(notice: Notice) -> str:
    detail = f": {notice.detail}" if notice.detail else ""
    words = f"{_WHO[notice.way]} {_OUTCOMES[notice.outcome]}{_WHAT[notice.occasion]}{detail}"
    if notice.way is Way.TICKET and notice.outcome is Outcome.UNKNOWN:
        words += "; no second mail goes there: look whether there is a ticket"
    return words


# -- mails and the hook --------------------------------------------------------------------------

_WIDTH = 78  # characters a line, where a word fits into one
_LONGEST_LINE = 990  # of mail that goes as it is (RFC 5322); else it is encoded
_INDENT = " " * 14
_MOST = 30  # incidents that are told one by one in a mail
_LONGEST_SUBJECT = 150  # characters


def one_line(text: str) -> str:
    """Return a text as one printable line; raw bytes of a name that is not UTF-8 as `?`."""
    return "".join(char if char.isprintable() else "?" for char in " ".join(text.split()))


def compose(
    due: Sequence[Due], sender: str, to: Sequence[str], host: str, now: float
) -> EmailMessage:
    """Return the mail that tells of all that is due. `host` is where it comes from."""
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
    message.set_content("\n".join(lines) + "\n", cte="7bit" if is_plain else None)
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
        case Occasion.OPENED:
            return incident.title
        case Occasion.REMINDER:
            return f"still: {incident.title} ({span(now - incident.opened_at)})"
        case Occasion.CLOSED:
            return f"over: {incident.title}"


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
    yield f"  holds up:   {_held(due.case, now)}"
    yield f"  it means:   {meaning(incident)}"
    yield f"  type next:  {next_command(incident)}"
    for notice, words in who_was_told(due.case.notices):
        yield f"  {one_line(words)} ({moment(notice.at)})"


def _held(case: Case, now: float) -> str:
    held = case.held
    if held.oldest_name is None or held.oldest_at is None:
        return "no file just now"
    files = "1 file" if held.files == 1 else f"{held.files:,} files"
    seen = f"{moment(held.oldest_at)} ({span(now - held.oldest_at)} ago)"
    return f"{files}; the oldest: {escaped(held.oldest_name)}, first seen {seen}"
