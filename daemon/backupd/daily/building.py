"""Makes the report of what is known. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from backupd.completeness.dates import day_of, day_text
from backupd.completeness.findings import findings
from backupd.completeness.hours import unusual_hours
from backupd.completeness.judging import judge
from backupd.completeness.usual import against_usual, past_weeks, usual_of
from backupd.core.incidents import Kind
from backupd.core.times import span
from backupd.daily.model import Amount, FeedDay, State
from backupd.ledger.day_files import DayFiles

if TYPE_CHECKING:
    from collections.abc import Container, Iterator, Mapping, Sequence

    from backupd.completeness.arrivals import Came
    from backupd.completeness.expectations import Expectations
    from backupd.completeness.judging import Excuse, Known, Verdict
    from backupd.completeness.usual import Usual

_NOTHING = Amount(0, 0, 0)


@dataclass(frozen=True, slots=True, kw_only=True)
class Facts:
    """What the ledger knows of a day, and what is expected, by feed."""

    day: int  # since 1970-01-01
    now: float
    expectations: Mapping[str, Expectations]
    known: Mapping[str, Known]
    files: Mapping[str, DayFiles]
    left: Container[str]  # the feeds of which files of the day may have left the ledger


def feed_day(facts: Facts, name: str) -> FeedDay:
    """Return a feed's day."""
    known, expected = facts.known.get(name), facts.expectations.get(name)
    usual = _usual(past_weeks(expected, known.seen, facts.day)) if known else None
    came = _came(facts.day, known) if known else None
    verdict = _verdict(facts, known, expected) if known and expected else None
    state = _state(facts, known, expected, verdict)
    said = dict(_said(facts, known, expected, verdict))
    whole = verdict.unusual if verdict and Kind.UNUSUAL in said else ()
    odd = [*(whole or _against(came, usual)), *_hours(facts, known, expected, state)]
    return FeedDay(
        feed=name,
        state=state,
        came=came,
        usual=Amount(*(part.middle for part in usual)) if usual else None,
        wrong=[said[kind] for kind in (Kind.MISSING, Kind.GAP) if kind in said],
        late=list(_late(verdict)) if verdict else [],
        unusual=["; ".join(odd)] if odd and state is not State.EXCUSED else [],
        excuses=list(_excuses(facts.day, known.excuses)) if known else [],
        files=None if name in facts.left else facts.files.get(name, DayFiles()),
    )


# -- what came -----------------------------------------------------------------------------------


def _came(day: int, known: Known) -> Amount | None:
    came = known.seen.get(day)
    if came is None:
        return None if day < day_of(known.since) else _NOTHING
    return Amount(came.files, came.records, came.size)


def _usual(past: Sequence[Came]) -> tuple[Usual, Usual, Usual] | None:
    """Return how many files, records and bytes are usual; None: not learnt yet."""
    files = usual_of([came.files for came in past])
    records = usual_of([came.records for came in past])
    size = usual_of([came.size for came in past])
    return (files, records, size) if files and records and size else None


def _against(came: Amount | None, usual: tuple[Usual, Usual, Usual] | None) -> Iterator[str]:
    """Say what is not as usual: silence too."""
    if came is not None and usual is not None:
        files, records, _ = usual
        yield from against_usual("files", came.files, files)
        yield from against_usual("records", came.records, records)


def _hours(
    facts: Facts, known: Known | None, expected: Expectations | None, state: State
) -> Iterator[str]:
    """Say which hours were not as usual, where files of the date were to come."""
    if known and facts.day > day_of(known.since) and state not in {State.EXCUSED, State.IDLE}:
        yield from map(str, unusual_hours(expected, known, facts.day, facts.now))


# -- what is judged ------------------------------------------------------------------------------


def _verdict(facts: Facts, known: Known, expected: Expectations) -> Verdict | None:
    """Return how the date is; None: nothing is expected of it, or it was not counted."""
    verdicts = judge(expected, known, range(facts.day, facts.day + 1), facts.now)
    return next(verdicts, None)


def _state(
    facts: Facts, known: Known | None, expected: Expectations | None, verdict: Verdict | None
) -> State:
    if expected is None:
        return State.UNJUDGED
    if known is None or not _is_counted(facts.day, known, verdict):
        return State.UNKNOWN
    if verdict is None:
        return State.IDLE
    return State.EXCUSED if verdict.is_excused else _judged(verdict)


def _is_counted(day: int, known: Known, verdict: Verdict | None) -> bool:
    """Of the date on which it began to be watched some files came before: numbers alone tell."""
    begun = day_of(known.since)
    return day > begun or (day == begun and verdict is not None and bool(verdict.gaps))


def _judged(verdict: Verdict) -> State:
    if verdict.complete is None:
        return State.NOT_DUE
    if not verdict.complete:
        return State.INCOMPLETE
    return State.COMPLETE if verdict.is_expected else State.IDLE


def _said(
    facts: Facts, known: Known | None, expected: Expectations | None, verdict: Verdict | None
) -> Iterator[tuple[Kind, str]]:
    """Yield what is wrong with the date by its kind, in words without the date."""
    if known is None or expected is None or verdict is None:
        return
    begun = day_of(known.since)
    for found in findings(expected, known, [verdict], facts.now):
        if found.day is not None and (facts.day > begun or found.kind is Kind.GAP):
            yield found.kind, found.reason.removeprefix(f"{day_text(facts.day)}: ")


def _late(verdict: Verdict) -> Iterator[str]:
    if verdict.late:
        yield (
            f"{verdict.late:,} of {verdict.arrived:,} files came after their time, the last"
            f" {span(verdict.late_by)} after it"
        )


def _excuses(day: int, excuses: Sequence[Excuse]) -> Iterator[str]:
    for each in excuses:
        if each.day == day:
            numbers = f"{each.low}" if each.low == each.high else f"{each.low}-{each.high}"
            yield f"numbers {numbers}: {each.why}" if each.low is not None else each.why
