"""What the text and the page say alike: numbers, times, sentences."""

from __future__ import annotations

from typing import TYPE_CHECKING

from backupd.core.numbers import counted
from backupd.core.times import moment, span

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence, Sized

    from backupd.core.incidents import Incident
    from backupd.daily.model import DayReport, FeedDay
    from backupd.ledger.day_files import DayFiles, Passage

    Section = tuple[str, Sequence[tuple[str, Sequence[str]]]]

_TOO_LONG = 10**9  # to be written out
_MILLION = 10**6
_UNITS = ("B", "kB", "MB", "GB", "TB", "PB")
_STEP = 1000
_WHOLE = 99.95  # of a unit: from here on without a fraction
MOST = 500  # feeds that are shown
MOST_SAID = 100  # of which something is said one by one
LEFT = "no longer in the ledger"


def number(value: int | None) -> str:
    """Return a number for people; a dash for none."""
    if value is None:
        return "-"
    return f"{value:,}" if value < _TOO_LONG else f"{value / _MILLION:,.0f} M"


def size(value: int | None) -> str:
    """Return bytes for people, in three digits or so; a dash for none."""
    if value is None:
        return "-"
    rest, unit = float(value), 0
    while rest >= _STEP - 0.5 and unit < len(_UNITS) - 1:
        rest, unit = rest / _STEP, unit + 1
    digits = 0 if unit == 0 or rest >= _WHOLE else 1
    return f"{rest:.{digits}f} {_UNITS[unit]}"


def headline(report: DayReport) -> str:
    """Say in a few words how the day was, and no more than is known."""
    if report.incomplete:
        return f"{len(report.incomplete)} of {counted(len(report.feeds), 'feed')} incomplete"
    parts = [
        _completeness(report),
        f"{counted(len(report.late), 'feed')} late" if report.late else "",
        f"{counted(len(report.unusual), 'feed')} not as usual" if report.unusual else "",
        f"{counted(report.parked, 'file')} parked" if report.parked else "",
        counted(len(report.incidents), "open incident") if report.incidents else "",
    ]
    return ", ".join(part for part in parts if part)


def _completeness(report: DayReport) -> str:
    if report.not_due:
        return "not all is due yet"
    if report.uncounted:
        return "not all was counted"
    if len(report.unjudged) == len(report.feeds):
        return "no feed has expectations"
    return "all is complete where files are expected" if report.unjudged else "all is complete"


def subject(report: DayReport) -> str:
    """Return the subject of the mail."""
    return f"[backupd {report.host}] report for {report.date}: {headline(report)}"


def totals(report: DayReport) -> str:
    """Say what came in all."""
    came = report.total
    return (
        f"{counted(came.files, 'file')} of {counted(len(report.feeds), 'feed')} came,"
        f" {counted(came.records, 'record')}, {size(came.size)}."
    )


def sections(report: DayReport) -> Iterator[Section]:
    """Yield what is wrong with the day: a title, and of each feed what there is to say."""
    yield "Incomplete", [(each.feed, each.wrong) for each in report.incomplete]
    yield "Not due yet", [(each.feed, each.wrong) for each in report.not_due]
    yield "Late", [(each.feed, each.late) for each in report.late]
    yield "Not as usual", [(each.feed, each.unusual) for each in report.unusual]


def excused(report: DayReport) -> Section:
    """Return what will never come, in the same way."""
    return "Excused", [(each.feed, each.excuses) for each in report.excused]


def remarks(report: DayReport) -> Iterator[str]:
    """Say what is to be known of the numbers."""
    yield (
        "A file is of the date (UTC) in its name; usual is the median of the same weekday of the"
        " last six weeks."
    )
    if report.unjudged:
        yield (
            f"{counted(len(report.unjudged), 'feed')} without expectations: what is missing there"
            " cannot be told ([feeds.<file type>.expect])."
        )
    yield from left_out(report.feeds, MOST)
    if report.left:
        yield (
            f"{counted(len(report.left), 'feed')}: files of this date are {LEFT}, so that"
            " duplicates, empty and parked files, and times to the archive are not known."
        )


def details(feed: FeedDay) -> str:
    """Say what became of a feed's files; "" where there is nothing to say."""
    if feed.files is None:
        return f"its files are {LEFT}"
    odd = ", ".join(_odd_files(feed.files))
    passage = feed.files.passage
    return "; ".join(filter(None, [odd, _in_archive(passage) if passage else ""]))


def _odd_files(files: DayFiles) -> Iterator[str]:
    if files.duplicates:
        yield counted(files.duplicates, "duplicate")
    if files.empty:
        yield f"{files.empty:,} empty"
    if files.parked:
        yield f"{files.parked:,} parked"


def _in_archive(passage: Passage) -> str:
    return (
        f"archived within {span(passage.half)} (half of them), {span(passage.most)} (95 %),"
        f" {span(passage.longest)} (all)"
    )


def shown(report: DayReport) -> Sequence[FeedDay]:
    """Return the feeds to show: all, or where these are too many those with news first."""
    if len(report.feeds) <= MOST:
        return report.feeds
    news = [*report.incomplete, *report.late, *report.unusual, *report.not_due]
    first = {each.feed: each for each in [*news, *report.feeds]}
    return sorted(list(first.values())[:MOST], key=lambda each: each.feed)


def left_out(feeds: Sized, most: int) -> Iterator[str]:
    """Say how many are not shown, where these are too many."""
    if len(feeds) > most:
        yield f"... and {len(feeds) - most:,} more: all are in the attached sheet"


def incident(of: Incident) -> tuple[str, str]:
    """Return what an open incident is and since when, and why."""
    return f"{of.title}, since {moment(of.opened_at)}", of.reason
