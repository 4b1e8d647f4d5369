"""The report as CSV: a row a feed."""

from __future__ import annotations

import csv
import io
from typing import TYPE_CHECKING

from backupd.core.cells import harmless

if TYPE_CHECKING:
    from collections.abc import Sequence

    from backupd.daily.model import DayReport, FeedDay

_HEAD = (
    "date",
    "feed",
    "state",
    "files",
    "usual_files",
    "records",
    "usual_records",
    "bytes",
    "usual_bytes",
    "duplicates",
    "empty",
    "parked",
    "archived_within_s_50",
    "archived_within_s_95",
    "archived_within_s_100",
    "missing",
    "late",
    "unusual",
    "excused",
    "open_incidents",
)

Cell = str | int | float | None


def as_csv(report: DayReport) -> str:
    """Return the sheet, with a line of headings. What is not known is empty."""
    made = io.StringIO()
    writer = csv.writer(made)
    writer.writerow(_HEAD)
    for feed in report.feeds:
        writer.writerow([harmless(cell) for cell in _row(report, feed)])
    return made.getvalue()


def _row(report: DayReport, feed: FeedDay) -> Sequence[Cell]:
    came, usual = feed.came, feed.usual
    incidents = [each.title for each in report.incidents if each.feed == feed.feed]
    return (
        report.date,
        feed.feed,
        feed.state,
        came and came.files,
        usual and usual.files,
        came and came.records,
        usual and usual.records,
        came and came.size,
        usual and usual.size,
        *_of_files(feed),
        "; ".join(feed.wrong),
        "; ".join(feed.late),
        "; ".join(feed.unusual),
        "; ".join(feed.excuses),
        "; ".join(incidents),
    )


def _of_files(feed: FeedDay) -> Sequence[Cell]:
    if feed.files is None:
        return (None,) * 6
    passage = feed.files.passage
    times = (passage.half, passage.most, passage.longest) if passage else (None,) * 3
    rounded = (each if each is None else round(each, 1) for each in times)
    return (feed.files.duplicates, feed.files.empty, feed.files.parked, *rounded)
