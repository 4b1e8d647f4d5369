"""Judges feeds of which something is expected: opens incidents of what did not come, ends them."""

from __future__ import annotations

import asyncio
import time
from collections import defaultdict
from dataclasses import dataclass, replace
from itertools import chain
from math import inf
from typing import TYPE_CHECKING, NamedTuple

from backupd.completeness.dates import DAY, day_from, day_of, day_text, deadline
from backupd.completeness.findings import findings
from backupd.completeness.judging import judge, silent_since
from backupd.completeness.screening import doubtful
from backupd.completeness.usual import LOOK_BACK
from backupd.core.incidents import OF_COMPLETENESS, Incident, Kind, lack_cause
from backupd.core.pace import repeat
from backupd.core.records import new_id
from backupd.core.times import StepFinder
from backupd.ledger import arrivals, incidents, watching
from backupd.ledger.rows import in_chunks
from backupd.ledger.watching import Watch

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Container, Iterable, Mapping

    from backupd.completeness.expectations import Expectations
    from backupd.completeness.findings import Finding
    from backupd.completeness.judging import Known, Verdict
    from backupd.worker.context import WorkerContext

_EVERY = 2.0  # seconds
_SHARE = 20  # of the time, it takes one part in so many at most ...
_LONGEST = 60.0  # seconds: ... but is never behind for longer
_AT_ONCE = 100  # feeds: others have to do with the ledger in between
_DAYS = 35  # that are judged; and those of open incidents
_AHEAD = 2  # days: names may have another day's date already
_UNJUDGED = 3 * DAY  # seconds: dates before are due, and not judged by the hour any more
_STEADY = 900.0  # seconds after the clock was set: it may be set right again
_LONGEST_WAIT = 3600.0  # seconds that files which wait to be read hold up judging


@dataclass(frozen=True, slots=True, kw_only=True)
class Standing:
    """How a feed stands: the files that a date needs, those missing of all dates, its lateness."""

    expected: int
    missing: int
    late_s: float  # seconds over `every`, or since the oldest deadline that was missed


class _Feed(NamedTuple):
    """What a feed is judged by."""

    name: str
    expected: Expectations
    known: Known
    at: float  # as of then, in seconds since the epoch
    older: frozenset[int]  # dates before those that are judged, of which it has open incidents
    terms_since: float  # what was due before was judged by other expectations
    opened: Collection[str]  # causes of open incidents

    def is_told(self, kind: Kind, day: int | None) -> bool:
        """Return whether people are to be notified: of no date that was due by other terms."""
        if day is None or deadline(self.expected, day) > self.terms_since:
            return True
        return lack_cause(kind, self.name, day_text(day)) in self.opened


class CompletenessLane:
    """Watches feeds, judges them now and then, and keeps their incidents up to date."""

    def __init__(
        self,
        context: WorkerContext,
        is_seen: Callable[[], bool],
        away: Callable[[], Mapping[str, str] | None],
        remember: float,
        rescan_every: float,
    ) -> None:
        """`is_seen()`: all that lies in the directories was seen. `away()` has unavailable feeds.

        What came is forgotten after `remember` seconds. What lies in a directory that was away is
        seen `rescan_every` seconds after its return.
        """
        self._context = context
        self._is_seen = is_seen
        self._away = away
        self._remember = remember
        self._rescan_every = rescan_every
        self._away_at: dict[str, float] = {}  # by feed when it was last away
        self._set_at = 0.0  # when the clock was last set, by the time that it showed then
        self._lived_until = 0.0  # before then the clock showed a time that it had shown already
        self._judged_at: dict[str, float] = {}  # by feed as of when it was judged last
        self._clock = StepFinder()
        self._steady_at = 0.0  # by the clock that nobody sets
        self._seen_at: float | None = None  # when all that lay there was seen
        self._forgotten = 0  # before this date
        self.standing: Mapping[str, Standing] = {}

    async def run(self) -> None:
        """Work until the stop, if anything is expected of any feed."""
        await self.watch()
        if not self._context.expectations:
            await self._end_all()
            return
        await repeat(self.look, _EVERY, self._context.stop, share=_SHARE, longest=_LONGEST)
        await self.look()  # what came last, in `run --once`, came since the look before

    async def watch(self) -> None:
        """Have the ledger count what came of the feeds that are expected to deliver."""
        ledger, expectations = self._context.ledger, self._context.expectations
        known, now = await ledger.ask(watching.terms), self._context.now()
        watches = [
            Watch(feed=feed, expected=each, since=now) for feed, each in expectations.items()
        ]
        await ledger.past.watch([each for each in watches if known.get(each.feed) != each.terms])
        await ledger.past.watch_no_more(sorted(known.keys() - expectations.keys()))
        self._away_at = await ledger.ask(incidents.ended_by_feed, Kind.FEED, now - _UNJUDGED)

    async def _end_all(self) -> None:
        """End what an earlier config has left."""
        ledger = self._context.ledger
        there = await ledger.ask(incidents.all_open)
        causes = [each.cause for each in there if each.kind in OF_COMPLETENESS]
        if causes:
            await ledger.close_incidents(causes, self._context.now())

    async def look(self) -> None:
        """Judge once, unless it is too early to."""
        now = self._context.now()  # before the clock is looked at: it may be set in between
        if self._may_judge(now):
            await self._forget(now)
            await self._judge(now)

    def _may_judge(self, now: float) -> bool:
        if step := self._clock.step():
            self._steady_at = time.monotonic() + _STEADY
            self._set_at, self._lived_until = now, max(now, now - step)
        if not self._is_seen() or time.monotonic() < self._steady_at:
            return False
        if self._seen_at is None:
            self._seen_at = now
        return True

    async def _forget(self, now: float) -> None:
        before = day_of(now - self._remember)
        if before != self._forgotten:
            await self._context.ledger.past.forget_arrivals(before)
            self._forgotten = before

    async def _judge(self, now: float) -> None:
        ledger, today = self._context.ledger, day_of(now)
        there = await ledger.ask(incidents.all_open)
        opened = {each.cause: each for each in there if each.kind in OF_COMPLETENESS}
        days, older = range(today - _DAYS, today + 1), _older(opened.values(), today - _DAYS)
        first = min([days[0], *chain.from_iterable(older.values())])
        times = self._times(await ledger.ask(arrivals.pending, self._pending_after(now)), now)
        since = await ledger.ask(watching.terms_since)
        found: list[tuple[str, Finding]] = []
        standing: dict[str, Standing] = {}
        for some in in_chunks(sorted(times), _AT_ONCE):
            known = await ledger.ask(arrivals.known, first - LOOK_BACK, days[-1] + _AHEAD, some)
            feeds = [
                _Feed(
                    name=name,
                    expected=self._context.expectations[name],
                    known=self._with_what_could_come(name, each, opened),
                    at=times[name],
                    older=frozenset(older.get(name, ())),
                    terms_since=since.get(name, 0.0),
                    opened=opened,
                )
                for name, each in known.items()
            ]
            await asyncio.to_thread(_judge, feeds, days, found, standing)
        self.standing = standing
        await self._write(opened, found, times, now)

    def _with_what_could_come(self, name: str, known: Known, opened: Container[str]) -> Known:
        """Return what is known, with since when files could come, and the clock was not set.

        A feed that is late already is so until a file comes.
        """
        back = max(self._away_at.get(name, 0.0), self._context.booted_at(), self._set_at)
        known = replace(known, hours_from=max(back, self._lived_until))
        is_late = lack_cause(Kind.LATE, name, None) in opened
        return known if is_late else replace(known, away_at=back)

    def _pending_after(self, now: float) -> float:
        """Return since when a file waits at most that holds up judging: soon after a start all."""
        is_started = now <= (self._seen_at or 0.0) + _LONGEST_WAIT
        return 0.0 if is_started else now - _LONGEST_WAIT

    def _times(self, pending: Mapping[str, float], now: float) -> dict[str, float]:
        """Return the feeds that may be judged, and as of when.

        A file that waits to be read may be the one that is missing: its feed is judged as of when
        it was first seen; but never as of before it was judged last.
        """
        away = self._away() or {}
        self._away_at |= dict.fromkeys(away, now)
        found = {}
        for feed in self._context.expectations.keys() - away.keys():
            if self._is_read(feed, pending, now):
                oldest = max(pending.get(feed, now), now - _LONGEST_WAIT)
                found[feed] = min(max(oldest, self._judged_at.get(feed, 0.0)), now)
        self._judged_at |= found
        return found

    def _is_read(self, feed: str, pending: Mapping[str, float], now: float) -> bool:
        """Return whether what lay there at the start, or after it was away, has been read.

        It came at any time before.
        """
        if 0 <= now - self._away_at.get(feed, -inf) < self._rescan_every:
            return False
        seen_at = self._seen_at or 0.0
        return pending.get(feed, inf) > seen_at or now > seen_at + _LONGEST_WAIT

    async def _write(
        self,
        opened: Mapping[str, Incident],
        found: Iterable[tuple[str, Finding]],
        times: Mapping[str, float],
        now: float,
    ) -> None:
        lacking = {each.cause: each for each in (_incident(feed, at, now) for feed, at in found)}
        news = [
            replace(opened.get(cause, each), reason=each.reason)
            for cause, each in lacking.items()
            if cause not in opened or opened[cause].reason != each.reason
        ]
        over = [
            cause
            for cause, each in opened.items()
            if cause not in lacking and self._may_end(each, times)
        ]
        if news:
            await self._context.ledger.note_incidents(news)
        if over:
            await self._context.ledger.close_incidents(over, now)

    def _may_end(self, incident: Incident, times: Mapping[str, float]) -> bool:
        """Return whether its feed was judged, or nothing is expected of it any more."""
        return incident.feed in times or incident.feed not in self._context.expectations


def _older(opened: Iterable[Incident], first: int) -> dict[str, set[int]]:
    """Return by feed the dates before the first one of which incidents are open."""
    found: defaultdict[str, set[int]] = defaultdict(set)
    for each in opened:
        if each.kind is not Kind.LATE and (day := day_from(each.cause.rpartition(":")[2])) < first:
            found[each.feed or ""].add(day)
    return found


def _judge(
    feeds: Iterable[_Feed],
    days: range,
    found: list[tuple[str, Finding]],
    standing: dict[str, Standing],
) -> None:
    """Add what is wrong with each feed, and how it stands."""
    for feed in feeds:
        begun = day_of(feed.known.since)
        of_feed = range(max(min([days.start, *feed.older]), begun), days.stop)
        doubted = [
            day
            for day in doubtful(feed.expected, feed.known, of_feed, feed.at)
            if day in days or day in feed.older
        ]
        verdicts = list(judge(feed.expected, feed.known, doubted, feed.at))
        wrong = findings(feed.expected, feed.known, verdicts, feed.at)
        # Of the date on which it began to be watched some files came before.
        found += [
            (feed.name, each)
            for each in wrong
            if feed.is_told(each.kind, each.day) and (each.day != begun or each.kind is Kind.GAP)
        ]
        standing[feed.name] = _standing(feed, [each for each in verdicts if each.day > begun])


def _standing(feed: _Feed, verdicts: Iterable[Verdict]) -> Standing:
    lacking = [
        each
        for each in verdicts
        if each.missing and not each.is_excused and feed.is_told(Kind.MISSING, each.day)
    ]
    late = [feed.at - deadline(feed.expected, each.day) for each in lacking]
    silent = silent_since(feed.expected, feed.known, feed.at)
    if silent is not None:
        late.append(feed.at - silent - (feed.expected.every or 0.0))
    files = feed.expected.files
    return Standing(
        expected=files.least or 0 if files else 0,
        missing=sum(each.missing for each in lacking),
        late_s=max(late, default=0.0),
    )


def _incident(feed: str, found: Finding, now: float) -> Incident:
    date = None if found.day is None else day_text(found.day)
    return Incident(
        id=new_id(now),
        kind=found.kind,
        cause=lack_cause(found.kind, feed, date),
        feed=feed,
        trouble="",
        reason=found.reason,
        opened_at=now,
    )
