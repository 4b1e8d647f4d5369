"""Incidents: one cause of failure each, however many files it holds up, and who was notified.

All times are seconds since the epoch, UTC.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import TYPE_CHECKING

from backupd.core.dependencies import ARCHIVE_PREFIX, FEED_PREFIX, Dependency, facts_of
from backupd.core.names import escaped
from backupd.core.records import new_id

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from backupd.core.stages import Stage, Status

NO_ROOM = "no room in the archive"  # the trouble of files that are too large for what is free there
ROOM_CAUSE = "archive room"
DOUBLED_CAUSE = "doubled rows"
BACKUP_CAUSE = "ledger backup"
HISTORY_CAUSE = "history"
CUSTOMERS_PREFIX = "customers:"  # before the file type
OF_NO_INCIDENT = ""  # in place of an incident's id
_LONGEST_TROUBLE = 200  # characters: what differs only behind them is the same trouble


class Kind(StrEnum):
    """What kind of cause it is, and so what ends it."""

    DEPENDENCY = "dependency"  # it worked again, when a file (or a mail) tried it
    FEED = "feed"  # the feed's directory is there again
    UNTAKEN = "untaken"  # a scan of the feed finds nothing more of the kind
    ARCHIVE = "archive"  # files are taken again in a directory of the archive
    ROOM = "archive room"  # no file waits any more for room in the archive
    DOUBLED = "doubled"  # the production table has one row of each file again
    BACKUP = "backup"  # a snapshot of the ledger is in the archive again
    CUSTOMERS = "customers"  # the file type's customers_file can be used again
    HISTORY = "history"  # done files leave the ledger for the history again
    LATE = "late"  # a file of the feed came
    MISSING = "missing"  # all files of the date came, or are excused
    GAP = "gap"  # all numbers of the date came, or are excused
    UNUSUAL = "unusual"  # the date is as it is expected, or excused
    PARKED = "parked"  # the files were requeued, released or delivered again, and went on


_TITLES_OF_KIND = {
    Kind.FEED: "the directory of feed {feed} is unavailable",
    Kind.UNTAKEN: "feed {feed} has what cannot be taken",
    Kind.ARCHIVE: "the archive takes no file in its directory {directory}",
    Kind.ROOM: "files are too large for what is free in the archive",
    Kind.DOUBLED: "files have more than one row in the production table",
    Kind.BACKUP: "the ledger is not backed up",
    Kind.CUSTOMERS: "the customers of {file_type} cannot be read",
    Kind.HISTORY: facts_of(Dependency.HISTORY).title,
    Kind.LATE: "feed {feed} is late",
    Kind.MISSING: "files of feed {feed} are missing",
    Kind.GAP: "numbers of feed {feed} are missing",
    Kind.UNUSUAL: "feed {feed} is not as usual",
    Kind.PARKED: "files of feed {feed} are parked",
}
OF_COMPLETENESS = frozenset({Kind.LATE, Kind.MISSING, Kind.GAP, Kind.UNUSUAL})
"""What should have come and did not, or not as expected: noted by who judges feeds."""


class Way(StrEnum):
    """A way to notify people."""

    MAIL = "mail"  # to the operators
    TICKET = "ticket"  # to the ticket mailbox, which opens a ticket from each mail
    HOOK = "hook"  # a program of theirs
    REPORT = "report"  # the daily report, by mail


class Occasion(StrEnum):
    """Why people are notified."""

    OPENED = "opened"
    REMINDER = "reminder"
    CLOSED = "closed"
    DAILY = "daily"  # of no incident: the report of a day


class Outcome(StrEnum):
    """What became of a notice."""

    TRYING = "trying"  # written down before the effect; after a crash it is unknown
    SENT = "sent"
    FAILED = "failed"  # certainly nobody was notified: tried again
    UNKNOWN = "unknown"  # it may have been sent: a ticket is never sent again then
    SKIPPED = "skipped"  # dev: written to the journal alone


@dataclass(frozen=True, slots=True, kw_only=True)
class Incident:
    """One cause of failure, from when it was noticed until it was gone."""

    id: str
    kind: Kind
    # "archive", "archive:<directory>", "archive room", "host", "feed:<feed>",
    # "parked:<feed>:<trouble>", "untaken:<feed>:<trouble>", "doubled rows", "ledger backup",
    # "customers:<file type>", "history", "late:<feed>", "missing:<feed>:<date>",
    # "gap:<feed>:<date>", "unusual:<feed>:<date>"; one open each:
    cause: str
    feed: str  # "" for a dependency
    trouble: str  # of parked files: their reason without what is one file's own; of what is not
    # taken: what is wrong with it; of doubled rows: the statements that repair them; of an archive
    # directory: its feeds, a line each; else ""
    reason: str  # in plain words; of parked files that of one of them
    opened_at: float
    closed_at: float | None = None
    trials: int = 0  # how often a dependency was tried since
    next_try_at: float | None = None  # None: it is looked at all the time

    @property
    def title(self) -> str:
        """What is wrong and where, in a few words."""
        if self.kind is Kind.DEPENDENCY:
            return facts_of(self.cause).title
        directory = escaped(self.cause.removeprefix(ARCHIVE_PREFIX))
        file_type = self.cause.removeprefix(CUSTOMERS_PREFIX)
        title = _TITLES_OF_KIND[self.kind]
        return title.format(feed=self.feed, directory=directory, file_type=file_type)

    @property
    def feeds(self) -> tuple[str, ...]:
        """The feeds that have files in a directory of the archive; else none."""
        return tuple(self.trouble.splitlines()) if self.kind is Kind.ARCHIVE else ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Notice:
    """A notice about an incident, given or under way. `number` counts reminders from 1.

    Of the daily report it is the day, counted from 1970-01-01, and there is no incident.
    """

    incident_id: str
    way: Way
    occasion: Occasion
    number: int
    at: float
    outcome: Outcome
    detail: str  # to whom; what the other side answered

    def ended(self, outcome: Outcome, answer: str) -> Notice:
        """Return it with what became of it."""
        detail = ", ".join(part for part in (self.detail, answer) if part)
        return replace(self, outcome=outcome, detail=detail)


@dataclass(frozen=True, slots=True, kw_only=True)
class Held:
    """The files that an incident holds up; of none, the oldest is None."""

    files: int
    oldest_at: float | None = None  # when it was first seen
    oldest_name: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ParkedGroup:
    """Parked files of one feed and trouble, with the reason of one of them."""

    feed: str
    trouble: str
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Troubles:
    """What the ledger knows of troubles, from one view."""

    open: Sequence[Incident]
    parked: Sequence[ParkedGroup]
    lasting: frozenset[tuple[str, str]]  # feed and trouble of files that did not go on yet
    room: str = ""  # why one of the files waits that are too large for the archive


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """An incident, who was notified of it, and which files it holds up (none once it is closed)."""

    incident: Incident
    notices: Sequence[Notice]
    held: Held


@dataclass(frozen=True, slots=True, kw_only=True)
class Standing:
    """How all is, in short."""

    due: frozenset[Stage]  # stages with files that time, or work under way, will move on
    incidents: bool  # one is open
    ticketed: bool  # a ticket was mailed, as far as is known, for one that is open


@dataclass(frozen=True, slots=True, kw_only=True)
class InShort:
    """How many files that are not done have each status, and the titles of the open incidents."""

    files: Mapping[Status, int]
    incidents: Sequence[str]


def went_down(cause: str, now: float, feeds: Iterable[str] = ()) -> Incident:
    """Return the incident of what is down: a dependency, "feed:<name>", "archive:<directory>".

    `feeds` are those that have files in a directory of the archive.
    """
    kind = _kind_of(cause)
    return Incident(
        id=new_id(now),
        kind=kind,
        cause=cause,
        feed=cause.removeprefix(FEED_PREFIX) if kind is Kind.FEED else "",
        trouble="\n".join(feeds),
        reason="",
        opened_at=now,
    )


def _kind_of(cause: str) -> Kind:
    if cause.startswith(FEED_PREFIX):
        return Kind.FEED
    return Kind.ARCHIVE if cause.startswith(ARCHIVE_PREFIX) else Kind.DEPENDENCY


def parked_cause(feed: str, trouble: str) -> str:
    """Return the cause of an incident with parked files."""
    return f"parked:{feed}:{trouble}"


def untaken_cause(feed: str, trouble: str) -> str:
    """Return the cause of an incident with what a feed cannot take."""
    return f"untaken:{feed}:{trouble}"


def lack_cause(kind: Kind, feed: str, date: str | None) -> str:
    """Return the cause of an incident with what did not come, of a date or (None) just now."""
    return f"{kind}:{feed}:{date}" if date else f"{kind}:{feed}"


_OWN = re.compile(
    r"""'[^']*' | "[^"]*"                      # what was found in the file
      | (?<![\w/])/[^\s:,;()]+                 # paths
      | \b(?=[0-9a-fA-F]*[0-9])[0-9a-fA-F]{8,}\b | [0-9]+   # digests and ids, numbers
    """,
    re.VERBOSE,
)


def likeness(reason: str, names: Iterable[str]) -> str:
    """Return a reason without what is one file's own: names, quotations, paths, numbers.

    Files that are parked for alike reasons are one incident. `names` are those of the file.
    """
    shown = {form for name in names for form in (name, escaped(name)) if name}
    for name in sorted(shown, key=len, reverse=True):
        reason = reason.replace(name, "…")
    return _OWN.sub("…", reason)[:_LONGEST_TROUBLE]
