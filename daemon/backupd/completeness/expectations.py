"""What a feed ought to deliver."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Resets = Literal["never", "daily"]

USUAL_BY = 6 * 60  # minutes after midnight
USUAL_WAIT = 900.0  # seconds
EVERY_WEEKDAY = frozenset(range(7))


@dataclass(frozen=True, slots=True, kw_only=True)
class Bounds:
    """At least and at most so many; None: no such bound."""

    least: int | None = None
    most: int | None = None

    def hold(self, number: int) -> bool:
        """Return whether a number is within them."""
        too_few = self.least is not None and number < self.least
        return not too_few and (self.most is None or number <= self.most)

    def __str__(self) -> str:
        if self.least == self.most:
            return f"{self.least:,}"
        if self.most is None:
            return f"at least {self.least:,}"
        return (
            f"at most {self.most:,}" if self.least is None else f"{self.least:,} to {self.most:,}"
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class SequenceRule:
    """The numbers in a feed's names have no gap. `wait` is in seconds."""

    regex: str  # one group is the number; one named `source` has a sequence for each of its texts
    wraps_at: int | None = None  # the number after which it begins anew
    resets: Resets = "never"
    wait: float = USUAL_WAIT  # so long a number may come after the ones behind it


@dataclass(frozen=True, slots=True, kw_only=True)
class Expectations:
    """What is expected of a feed. All of it may be left out; dates are those of its files, UTC."""

    every: float | None = None  # seconds from one file to the next at most
    files: Bounds | None = None  # of a date
    by: int = USUAL_BY  # minutes after midnight of the next day, in `time_zone`
    time_zone: str = "UTC"
    weekdays: frozenset[int] = EVERY_WEEKDAY  # 0: Monday
    excepted: frozenset[int] = frozenset()  # days since the epoch
    sequence: SequenceRule | None = None
    records: Bounds | None = None  # of a file
    size: Bounds | None = None  # bytes of a file
    records_a_day: Bounds | None = None
    bytes_a_day: Bounds | None = None
    trend: bool = False  # a date's records, an hour's files are compared with the same weekday's

    @property
    def has_deadline(self) -> bool:
        """Whether anything is due at a time of day."""
        return bool(self.files or self.records_a_day or self.bytes_a_day or self.trend)


NOTHING = Expectations()
"""Of a feed of which nothing is expected."""
