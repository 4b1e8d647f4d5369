"""What is usual: the same weekday of the last weeks."""

from __future__ import annotations

from statistics import median
from typing import TYPE_CHECKING, NamedTuple

from backupd.completeness.dates import is_expected

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from backupd.completeness.arrivals import Came, Seen
    from backupd.completeness.expectations import Expectations

WEEKS = 6  # so many of the same weekday are what is usual
LEARNT = 3  # weeks: with fewer nothing is usual yet
LOOK_BACK = 7 * WEEKS  # days
FAR = 2.0  # times more, or fewer, than usual


class Usual(NamedTuple):
    """The least, the median and the most that there was on a weekday in the last weeks."""

    least: int
    middle: int
    most: int


def past_weeks(expected: Expectations | None, seen: Seen, day: int) -> list[Came]:
    """Return what came on the same weekday of the last weeks, where it was expected to."""
    weeks = (day - 7 * week for week in range(1, WEEKS + 1))
    wanted = (each for each in weeks if expected is None or is_expected(expected, each))
    return [seen[each] for each in wanted if each in seen]


def usual_of(past: Sequence[int]) -> Usual | None:
    """Return what is usual by what there was in the last weeks; None: not learnt yet."""
    if len(past) < LEARNT:
        return None
    return Usual(min(past), round(median(past)), max(past))


def against_usual(what: str, number: int, usual: Usual | None) -> Iterator[str]:
    """Say of a number that it is far from the median, and was not there in the past weeks."""
    if usual is None:
        return
    is_low = number * FAR < usual.middle and number < usual.least
    if is_low or (number > usual.middle * FAR and number > usual.most):
        yield f"{number:,} {what}, where {usual.middle:,} are usual on this weekday"
