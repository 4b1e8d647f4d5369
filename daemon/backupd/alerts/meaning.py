"""What an incident means and what to do about it, in plain words. Pure.

Apart from the mails: `backupd-admin` starts without what these need.
"""

from __future__ import annotations

import shlex
from typing import TYPE_CHECKING

from backupd.core.dependencies import Dependency, facts_of
from backupd.core.incidents import OF_COMPLETENESS, Kind, Occasion, Outcome, Way

if TYPE_CHECKING:
    from collections.abc import Sequence

    from backupd.core.incidents import Incident, Notice

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
_BACKUP_MEANING = (
    "Files go on. But if this host were lost now, its ledger could be restored only as it was at"
    " the last snapshot. It is tried again by itself, and is over with the next snapshot."
)
_HISTORY_MEANING = f"{facts_of(Dependency.HISTORY).means} It is tried again by itself."
_CUSTOMERS_MEANING = (
    "The last good list stays in force, and files of its customers go on; those of a customer that"
    " is not in it wait. It is read again by itself once the file changes."
)
_LATE_MEANING = (
    "The sender may have stopped, or the way from it. This ends by itself with the next file."
)
_MISSING_MEANING = (
    "What depends on these files lacks them. This ends by itself when they come; what will never"
    " come is excused with `backupd-admin excuse`."
)
_UNUSUAL_MEANING = (
    "All files go on. Ask the sender; if it is right, excuse the date with `backupd-admin excuse`,"
    " or change what is expected."
)
_PARKED_MEANING = (
    "These files wait for a person; all others go on. Mend the cause, then take them back with"
    " `backupd-admin requeue`; what can never go on is closed with `backupd-admin dismiss`."
)


_MEANING_OF_KIND = {
    Kind.PARKED: _PARKED_MEANING,
    Kind.DOUBLED: _DOUBLED_MEANING,
    Kind.BACKUP: _BACKUP_MEANING,
    Kind.CUSTOMERS: _CUSTOMERS_MEANING,
    Kind.HISTORY: _HISTORY_MEANING,
    Kind.UNTAKEN: _UNTAKEN_MEANING,
    Kind.FEED: _FEED_MEANING,
    Kind.ARCHIVE: _ARCHIVE_MEANING,
    Kind.ROOM: _ROOM_MEANING,
    Kind.LATE: _LATE_MEANING,
    Kind.MISSING: _MISSING_MEANING,
    Kind.GAP: _MISSING_MEANING,
    Kind.UNUSUAL: _UNUSUAL_MEANING,
}


def meaning(incident: Incident) -> str:
    """Say what the incident does to the files."""
    if incident.kind is Kind.DEPENDENCY:
        return facts_of(incident.cause).means
    return _MEANING_OF_KIND[incident.kind]


_COMMANDS = {
    Kind.UNTAKEN: "ls -l there, fix it as described above, then: backupd-admin incidents",
    Kind.BACKUP: "do what the reason says, then: backupd-admin backup",
    Kind.CUSTOMERS: "put the file right, then: backupd check",
}


def next_command(incident: Incident) -> str:
    """Return what to type next."""
    if incident.kind is Kind.PARKED:
        return f"backupd-admin list --status parked --feed {shlex.quote(incident.feed)}"
    if incident.kind is Kind.DOUBLED:
        return f"stop backupd, run in beeline, start backupd: {incident.trouble}"
    if incident.kind is Kind.DEPENDENCY:
        return facts_of(incident.cause).command
    if incident.kind in OF_COMPLETENESS:
        date = incident.cause.removeprefix(f"{incident.kind}:{incident.feed}").lstrip(":")
        of_date = f" --date {date}" if date else ""
        return f"backupd-admin completeness --feed {shlex.quote(incident.feed)}{of_date}"
    return _COMMANDS.get(incident.kind, "backupd check --probe")


_OUTCOMES = {
    Outcome.TRYING: "being notified",
    Outcome.SENT: "notified",
    Outcome.FAILED: "could not be notified",
    Outcome.UNKNOWN: "may or may not have been notified",
    Outcome.SKIPPED: "not notified (dev)",
}
_WHO = {Way.MAIL: "operators", Way.TICKET: "ticket mailbox", Way.HOOK: "hook"}
_WHAT = {Occasion.OPENED: "", Occasion.REMINDER: " again", Occasion.CLOSED: " of its end"}


def who_was_notified(notices: Sequence[Notice]) -> list[tuple[Notice, str]]:
    """Return the last notice along each way, each with its outcome in words."""
    last = {notice.way: notice for notice in notices}  # they come oldest first
    return [(notice, _in_words(notice)) for notice in last.values()]


def _in_words(notice: Notice) -> str:
    detail = f": {notice.detail}" if notice.detail else ""
    words = f"{_WHO[notice.way]} {_OUTCOMES[notice.outcome]}{_WHAT[notice.occasion]}{detail}"
    if notice.way is Way.TICKET and notice.outcome is Outcome.UNKNOWN:
        words += "; no second mail goes there: look whether there is a ticket"
    return words
