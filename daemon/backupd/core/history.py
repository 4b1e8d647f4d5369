"""The history, where the stories of done files go when they leave the ledger, and its port."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, NamedTuple, Protocol

from backupd.core.records import ID_FORM

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Collection, Sequence

    from backupd.core.records import Event, FileRecord, Receipt

_ID_TIME = 11  # hex digits of milliseconds that an id begins with
_DAY = 86_400.0  # seconds that a clock may have been set back meanwhile
_LAST = 253_402_300_800.0  # the first second of the year 10000


@dataclass(frozen=True, kw_only=True, slots=True)
class Story:
    """Everything that is known of a done file."""

    host: str  # the host name of the daemon that did it
    file: FileRecord
    receipt: Receipt | None
    events: tuple[Event, ...]  # oldest first

    @property
    def done_date(self) -> str:
        """The day on which it was done, UTC, as YYYY-MM-DD: the partition of its story."""
        return done_date(self.file.done_at or 0.0)


def done_date(done_at: float) -> str:
    """Return the day of a time, UTC, as YYYY-MM-DD."""
    return datetime.fromtimestamp(done_at, UTC).date().isoformat()


class Remembered(NamedTuple):
    """A file that left the ledger: what it is recognised by, and where its story is."""

    row_id: str  # as `core.rows.row_id` makes it
    done_date: str
    lasts: bool = False  # never forgotten: nothing else would recognise the file
    sha256: str = ""  # of its content, where it is known


@dataclass(frozen=True, kw_only=True, slots=True)
class Past:
    """Which stories are asked for: those that meet all conditions; None: any."""

    names: Collection[str] | None = None  # a file's id, its path, or its file name
    row_ids: Collection[str] | None = None  # `core.rows.row_id`
    sha256s: Collection[str] | None = None  # of the content
    done_dates: Collection[str] | None = None  # no other partitions are read
    feed: str | None = None  # a feed's name, or the file type of several
    customer: str | None = None
    since: float | None = None  # first seen at or after
    in_order: bool = False  # those of a date by file id: all files of the date may be open at once

    def may_be_of(self, date: str) -> bool:
        """Return whether a story of this done date may meet the conditions.

        No file is done before it is seen, and an id begins with when that was.
        """
        if self.done_dates is not None and date not in self.done_dates:
            return False
        if self.since is not None and date < done_date(max(self.since - _DAY, 0.0)):
            return False
        return self.names is None or any(_first_date(name) <= date for name in self.names)

    def wants(self, story: Story) -> bool:
        """Return whether a story meets all conditions."""
        file = story.file
        return (
            (self.names is None or not {file.id, file.path, file.file_name}.isdisjoint(self.names))
            and (self.row_ids is None or file.row_id in self.row_ids)
            and (self.sha256s is None or file.sha256 in self.sha256s)
            and (self.done_dates is None or story.done_date in self.done_dates)
            and (self.feed is None or self.feed in {file.feed, file.file_type})
            and (self.customer is None or self.customer == file.customer)
            and (self.since is None or file.first_seen_at >= self.since)
        )


class History(Protocol):
    """Where the stories of done files are kept for ever, a partition a day on which they were done.

    What is written once is never changed. As for all ports, see `core.ports`.
    """

    async def write(self, batch_id: str, done_date: str, stories: Sequence[Story]) -> None:
        """Have these stories of one date in the history, each once, durably.

        May be repeated at will with the same ones, cancelled, or killed at any moment. No stories
        of another id are touched, whichever daemon wrote them.
        """
        ...

    async def seen(self, batch_id: str, done_date: str) -> list[Story]:
        """Return the stories that `write` brought there under this id, as every reader sees them.

        None: an empty list.
        """
        ...

    def find(self, past: Past) -> AsyncIterator[Story]:
        """Yield the stories that are asked for, of all hosts, by date."""
        ...

    async def aclose(self) -> None:
        """Let go of connections and threads."""
        ...


def _first_date(name: str) -> str:
    """Return before which date no file of this id was done; of a name that is no id: none."""
    if not ID_FORM.fullmatch(name):
        return ""
    at = int(name[:_ID_TIME], 16) / 1000
    return done_date(max(at - _DAY, 0.0)) if at < _LAST else ""
