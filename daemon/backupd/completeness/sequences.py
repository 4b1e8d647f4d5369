"""Numbers that should follow each other without a gap."""

from __future__ import annotations

from bisect import bisect_right
from collections import Counter, defaultdict
from itertools import accumulate, pairwise
from math import inf
from typing import TYPE_CHECKING, NamedTuple

from backupd.completeness.arrivals import Numbers, Span

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from backupd.completeness.expectations import SequenceRule
    from backupd.core.arrivals import Number

_BEHIND = 16  # one part in so many of all numbers: so far back a number may be a late one

ByDay = dict[int, Numbers]
"""The numbers of one source, by date."""


class Gap(NamedTuple):
    """Numbers that did not come, both ends included; the date is that of the next one that did."""

    day: int
    source: str
    low: int
    high: int
    since: float  # when the first of the numbers behind it came

    @property
    def files(self) -> int:
        """How many numbers it has."""
        return self.high - self.low + 1

    def __str__(self) -> str:
        numbers = f"{self.low}" if self.low == self.high else f"{self.low}-{self.high}"
        return f"{self.source} {numbers}" if self.source else numbers


def added(spans: tuple[Span, ...], number: int, at: float) -> tuple[Span, ...]:
    """Return the spans with one more number; a number that is there already changes nothing."""
    last = spans[-1] if spans else None
    if last is not None and number == last.high + 1:  # nearly always
        return (*spans[:-1], Span(last.low, number, last.since))
    place = bisect_right(spans, (number, inf))
    near = spans[max(place - 1, 0) : place + 1]
    among = united(near, (Span(number, number, at),))
    return (*spans[: max(place - 1, 0)], *among, *spans[place + 1 :])


def with_number(numbers: Numbers | None, new: Number, at: float) -> Numbers:
    """Return numbers with one more, which came at a time; names around them where all are alike."""
    if numbers is None:
        span = Span(new.number, new.number, at)
        return Numbers((span,), new.before, new.after, new.width)
    return _alike(added(numbers.spans, new.number, at), numbers, new)


def both(one: Numbers, other: Numbers | None) -> Numbers:
    """Return the numbers of both, names around them where all are alike."""
    if other is None:
        return one
    return _alike(united(one.spans, other.spans), one, other)


def _alike(spans: tuple[Span, ...], one: Numbers, other: Numbers | Number) -> Numbers:
    if (one.before, one.after) != (other.before, other.after) or not (one.width and other.width):
        return Numbers(spans)
    # Without zeros in front a number has as many digits as it takes.
    return Numbers(spans, one.before, one.after, min(one.width, other.width))


def united(one: Iterable[Span], other: Iterable[Span]) -> tuple[Span, ...]:
    """Return the spans of both, in order, none of which touch each other."""
    found: list[Span] = []
    for span in sorted((*one, *other)):
        if found and span.low <= found[-1].high + 1:
            last = found[-1]
            found[-1] = Span(last.low, max(last.high, span.high), min(last.since, span.since))
        else:
            found.append(span)
    return tuple(found)


def gaps(rule: SequenceRule, sources: Mapping[str, ByDay]) -> dict[int, list[Gap]]:
    """Return the gaps by date. Before the first number that is known there is none."""
    found: defaultdict[int, list[Gap]] = defaultdict(list)
    of_source = _daily if rule.resets == "daily" else _running
    for source, days in sources.items():
        for gap in of_source(rule, source, days):
            found[gap.day].append(gap)
    return dict(found)


def without(gap: Gap, low: int, high: int) -> Iterator[Gap]:
    """Yield what is left of a gap without these numbers."""
    if low > gap.high or high < gap.low:
        yield gap
        return
    if gap.low < low:
        yield gap._replace(high=low - 1)
    if gap.high > high:
        yield gap._replace(low=high + 1)


# -- numbers that begin anew each day ------------------------------------------------------------


def _daily(_: SequenceRule, source: str, days: ByDay) -> Iterator[Gap]:
    first = _usual_first(days)
    for day, numbers in days.items():
        end = min(first, numbers.spans[0].low) - 1
        for span, since in zip(numbers.spans, _firsts(numbers.spans), strict=True):
            if span.low > end + 1:
                yield Gap(day, source, end + 1, span.low - 1, since)
            end = span.high


def _usual_first(days: ByDay) -> int:
    """Return the number with which most days begin, the larger one of two."""
    firsts = Counter(numbers.spans[0].low for numbers in days.values())
    return max(firsts, key=lambda first: (firsts[first], first))


def _firsts(spans: Sequence[Span | _Placed]) -> list[float]:
    """Return for each span when the first came of all that are not before it."""
    return list(accumulate((span.since for span in reversed(spans)), min))[::-1]


# -- numbers that go on --------------------------------------------------------------------------


class _Placed(NamedTuple):
    """A span on a line that goes on where the numbers wrap around."""

    low: int
    high: int
    since: float
    day: int


def _running(rule: SequenceRule, source: str, days: ByDay) -> Iterator[Gap]:
    if _goes_on(days):
        return
    zero = any(numbers.spans[0].low == 0 for numbers in days.values())
    lowest = 0 if zero else 1
    around = rule.wraps_at + 1 - lowest if rule.wraps_at else 0
    line = sorted(_on_a_line(days, around))
    first_day = min(days)
    end = min(span.low for span in line if span.day == first_day) - 1
    for span, since in zip(line, _firsts(line), strict=True):
        if span.low > end + 1:
            gap = Gap(span.day, source, end + 1, span.low - 1, since)
            yield from _as_numbers(gap, lowest, around)
        end = max(end, span.high)


def _goes_on(days: ByDay) -> bool:
    """Return whether each date has one span, which begins where the one before ends: the usual."""
    end = None
    for day in sorted(days):
        spans = days[day].spans
        if len(spans) != 1:
            return False
        low, high, _ = spans[0]
        if end is not None and low != end + 1:
            return False
        end = high
    return True


def _on_a_line(days: ByDay, around: int) -> list[_Placed]:
    """Place the spans of all dates one behind the other, as they were counted.

    A later date goes on behind the ones before it, however much was lost.
    """
    line: list[_Placed] = []
    for day, numbers in sorted(days.items()):
        before = line[:]
        end = max((span.high for span in before), default=None)
        begin = _begin(numbers.spans, around) if end is None else end + 1
        for span in numbers.spans:
            low = begin + (span.low - begin) % around if around else span.low
            placed = _Placed(low, low + span.high - span.low, span.since, day)
            line.append(_or_late(placed, before, begin, around))
    return line


def _or_late(span: _Placed, before: list[_Placed], begin: int, around: int) -> _Placed:
    """Return a span where it is, or where it fills a hole just behind the end, as a late one."""
    low, high = span.low - around, span.high - around
    is_near = bool(before) and low >= begin - around // _BEHIND
    if not is_near or any(low <= each.high and each.low <= high for each in before):
        return span
    return span._replace(low=low, high=high)


def _begin(spans: tuple[Span, ...], around: int) -> int:
    """Return with which number a date begins: the one behind the largest hole."""
    holes = [(after.low - before.high, after.low) for before, after in pairwise(spans)]
    return max([*holes, (spans[0].low + around - spans[-1].high, spans[0].low)])[1]


def _as_numbers(gap: Gap, lowest: int, around: int) -> Iterator[Gap]:
    """Yield a gap on the line as the numbers that are missing."""
    if not around:
        yield gap
        return
    low = (gap.low - lowest) % around + lowest
    high = low + gap.files - 1
    last = lowest + around - 1
    yield gap._replace(low=low, high=min(high, last))
    if high > last:
        yield gap._replace(low=lowest, high=high - around)
