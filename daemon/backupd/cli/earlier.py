"""What came of a feed before it was counted: out of the history, and of the ledger's files."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from backupd.cli.past import PastReader
from backupd.cli.targets import pages
from backupd.completeness.dates import day_of, day_start
from backupd.ledger import arrivals, history
from backupd.ledger.reports import Wanted

if TYPE_CHECKING:
    from collections.abc import Iterator

    from backupd.cli.options import Places
    from backupd.completeness.arrivals import Numbers
    from backupd.completeness.expectations import Expectations
    from backupd.completeness.judging import Known
    from backupd.core.records import FileRecord
    from backupd.ledger import LedgerReader


class EarlierReader:
    """Adds what came of dates on which a feed was not watched yet."""

    def __init__(self, places: Places, reader: LedgerReader) -> None:
        self._past = PastReader(places, reader)
        self._reader = reader
        self._left = reader.ask(history.left)

    def with_earlier(self, feed: str, expected: Expectations, known: Known, days: range) -> Known:
        """Return what is known, with what else came of these dates before it was watched."""
        earlier = range(days.start, min(day_of(known.since) + 1, days.stop))
        if not earlier or not self._left.get(feed):
            return known  # all that there was is counted: it was there when watching began
        came = arrivals.arrivals_of(self._files(feed, earlier), expected)
        found = [arrival for arrival in came if arrival.day in earlier]
        counted = arrivals.by_day(found, {})
        more = {
            day: of_day
            for (_, day), of_day in counted.items()
            if day not in known.seen or of_day.files > known.seen[day].files
        }
        numbers: dict[str, dict[int, Numbers]] = {
            source: dict(of_source) for source, of_source in known.numbers.items()
        }
        for (_, day, source), of_day in arrivals.by_source(found, {}).items():
            if day in more:
                numbers.setdefault(source, {})[day] = of_day
        return replace(known, seen={**known.seen, **more}, numbers=numbers)

    def _files(self, feed: str, days: range) -> Iterator[FileRecord]:
        """Yield the files that came of these dates, and some more: none is seen before its date."""
        wanted = Wanted(feed=feed, since=day_start(days.start))
        for stories in self._past.pages(wanted):
            yield from (story.file for story in stories)
        for page in pages(self._reader, wanted):
            yield from page
