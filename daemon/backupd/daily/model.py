"""What the report of a day says."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Sequence

    from backupd.core.incidents import Incident
    from backupd.ledger.day_files import DayFiles


class Amount(NamedTuple):
    """How much came of a feed on a date."""

    files: int
    records: int
    size: int  # bytes


class State(StrEnum):
    """Whether a feed's date is complete."""

    COMPLETE = "complete"
    INCOMPLETE = "incomplete"
    NOT_DUE = "not due yet"
    EXCUSED = "excused"
    IDLE = "nothing expected"  # on this date
    UNKNOWN = "not all counted"  # the feed was watched only later
    UNJUDGED = "no expectations"  # of this feed


@dataclass(frozen=True, slots=True, kw_only=True)
class FeedDay:
    """One feed's date."""

    feed: str
    state: State
    came: Amount | None  # None: it was not counted
    usual: Amount | None  # the medians of the same weekday; None: not learnt yet
    wrong: Sequence[str] = ()  # what is missing, in words, as the next three
    late: Sequence[str] = ()
    unusual: Sequence[str] = ()
    excuses: Sequence[str] = ()  # what will never come, and why
    files: DayFiles | None  # None: they left the ledger


@dataclass(frozen=True, slots=True, kw_only=True)
class DayReport:
    """The report of a date, feed by feed. `incidents` are those that are open just now."""

    date: str  # YYYY-MM-DD
    weekday: str
    host: str
    made_at: float
    feeds: Sequence[FeedDay]
    incidents: Sequence[Incident]

    @property
    def incomplete(self) -> Sequence[FeedDay]:
        """The feeds of which something is missing."""
        return [each for each in self.feeds if each.state is State.INCOMPLETE]

    @property
    def not_due(self) -> Sequence[FeedDay]:
        """The feeds whose time has not come yet."""
        return [each for each in self.feeds if each.state is State.NOT_DUE]

    @property
    def unusual(self) -> Sequence[FeedDay]:
        """The feeds that had far more or less than usual."""
        return [each for each in self.feeds if each.unusual]

    @property
    def late(self) -> Sequence[FeedDay]:
        """The feeds of which something came after its time."""
        return [each for each in self.feeds if each.late]

    @property
    def excused(self) -> Sequence[FeedDay]:
        """The feeds of which something will never come."""
        return [each for each in self.feeds if each.excuses]

    @property
    def unjudged(self) -> Sequence[FeedDay]:
        """The feeds of which nothing is expected."""
        return [each for each in self.feeds if each.state is State.UNJUDGED]

    @property
    def uncounted(self) -> Sequence[FeedDay]:
        """The feeds that were watched only later."""
        return [each for each in self.feeds if each.state is State.UNKNOWN]

    @property
    def parked(self) -> int:
        """How many files of this date are parked."""
        return sum(each.files.parked for each in self.feeds if each.files)

    @property
    def total(self) -> Amount:
        """What came of all feeds."""
        came = [each.came for each in self.feeds if each.came]
        return Amount(*(sum(each[part] for each in came) for part in range(len(Amount._fields))))

    @property
    def left(self) -> Sequence[FeedDay]:
        """The feeds whose files of this date left the ledger."""
        return [each for each in self.feeds if each.files is None]

    @property
    def has_news(self) -> bool:
        """Whether there is anything that a person should look at."""
        wrong = [*self.incomplete, *self.late, *self.unusual, *self.not_due]
        return bool(wrong or self.incidents or self.parked)
