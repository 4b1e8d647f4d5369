"""The history: where the stories of done files go when they leave the ledger."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Collection

    from backupd.core.records import Event, FileRecord, Receipt


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


@dataclass(frozen=True, kw_only=True, slots=True)
class Past:
    """Which stories are asked for: those that meet all conditions; None: any."""

    names: Collection[str] | None = None  # a file's id, its path, or its file name
    row_ids: Collection[str] | None = None  # `core.rows.row_id`
    done_dates: Collection[str] | None = None  # no other partitions are read
    feed: str | None = None  # a feed's name, or the file type of several
    customer: str | None = None
    since: float | None = None  # first seen at or after

    def wants(self, story: Story) -> bool:
        """Return whether a story meets all conditions."""
        file = story.file
        return (
            (self.names is None or not {file.id, file.path, file.file_name}.isdisjoint(self.names))
            and (self.row_ids is None or file.row_id in self.row_ids)
            and (self.done_dates is None or story.done_date in self.done_dates)
            and (self.feed is None or self.feed in {file.feed, file.file_type})
            and (self.customer is None or self.customer == file.customer)
            and (self.since is None or file.first_seen_at >= self.since)
        )
