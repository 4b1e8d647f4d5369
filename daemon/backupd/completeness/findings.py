"""What people are to be notified of: one finding for each feed and cause, in plain words.

The words stay the same for as long as nothing changes: a duration that grows is not in them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from backupd.completeness.dates import day_text, deadline_text
from backupd.completeness.judging import last_arrival, silent_since
from backupd.core.incidents import Kind
from backupd.core.names import escaped
from backupd.core.times import moment, span

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from backupd.completeness.expectations import Expectations
    from backupd.completeness.judging import Known, Verdict
    from backupd.completeness.sequences import ByDay, Gap

_NAMED = 10  # files and gaps that are named one by one


class Finding(NamedTuple):
    """What is wrong with a feed: the kind, the date (None: not of one), and the words."""

    kind: Kind
    day: int | None
    reason: str


def findings(
    expected: Expectations, known: Known, verdicts: Iterable[Verdict], now: float
) -> Iterator[Finding]:
    """Yield what is wrong with a feed at a time, of which these are the verdicts."""
    since = silent_since(expected, known, now)
    if since is not None:
        yield Finding(Kind.LATE, None, _silent(expected, last_arrival(known, now), since))
    for verdict in verdicts:
        if not verdict.is_excused:
            yield from _of_date(expected, known, verdict)


def _of_date(expected: Expectations, known: Known, verdict: Verdict) -> Iterator[Finding]:
    """Yield what is wrong with one date."""
    day = verdict.day
    if verdict.missing:
        yield Finding(Kind.MISSING, day, _missing(expected, verdict))
    if verdict.gaps:
        yield Finding(Kind.GAP, day, f"{day_text(day)}: {_gap_words(known, verdict)}")
    # Once it is due a date is judged as a whole.
    odd = verdict.unusual if verdict.is_due else verdict.odd
    if odd:
        yield Finding(Kind.UNUSUAL, day, f"{day_text(day)}: {'; '.join(odd)}")


def _gap_words(known: Known, verdict: Verdict) -> str:
    """Name the numbers that are missing, and the files where their names tell."""
    files = sum(gap.files for gap in verdict.gaps)
    ranges = ", ".join(str(gap) for gap in verdict.gaps[:_NAMED])
    more = len(verdict.gaps) - _NAMED
    words = f"missing numbers: {ranges}{f' and {more} more gaps' if more > 0 else ''} ({files:,})"
    names = missing_names(known, verdict)[: _NAMED + 1]
    if len(names) > _NAMED:
        names[_NAMED] = "..."
    return f"{words}: {', '.join(map(escaped, names))}" if names else words


def missing_names(known: Known, verdict: Verdict) -> list[str]:
    """Return the names of missing files, some dozens at most; none where the names do not tell."""
    names = (name for gap in verdict.gaps for name in _names(known.numbers[gap.source], gap))
    return [name for name, _ in zip(names, range(10 * _NAMED), strict=False)]


def _names(days: ByDay, gap: Gap) -> Iterator[str]:
    like = days[gap.day]
    for number in range(gap.low, gap.high + 1):
        if (name := like.name(number)) is None:
            return
        yield name


def _missing(expected: Expectations, verdict: Verdict) -> str:
    came = verdict.arrived or "none"
    by = deadline_text(expected, verdict.day)
    return (
        f"{day_text(verdict.day)}: {came} of {expected.files} files came, due {by};"
        f" missing: {verdict.missing:,}"
    )


def _silent(expected: Expectations, last: float | None, since: float) -> str:
    came = f"the last one came {moment(last)}" if last is not None else "none came yet"
    return f"{silence(expected, since)}; {came}"


def silence(expected: Expectations, since: float) -> str:
    """Say since when no file came of a feed that has one `every` so long."""
    every = span(expected.every or 0.0)
    return f"no file since {moment(since)}, where one is expected every {every}"
