"""The report as plain text, in 78 columns."""

from __future__ import annotations

import textwrap
from typing import TYPE_CHECKING

from backupd.alerts.messages import one_line
from backupd.core.names import escaped
from backupd.core.times import moment
from backupd.daily import words

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from backupd.daily.model import DayReport, FeedDay

_WIDTH = 78
_NAME = 22  # columns of a feed's name; a longer one has a line of its own
_UNKNOWN: tuple[int | None, ...] = (None,) * 3
_COLUMNS = (("files", 8), ("usual", 8), ("records", 12), ("usual", 12), ("bytes", 8), ("usual", 8))


def as_text(report: DayReport) -> str:
    """Return the whole report."""
    parts = [
        _folded(f"backupd on {report.host}: report for {report.date}, {report.weekday}"),
        _folded(f"{_sentence(words.headline(report))} {words.totals(report)}"),
        *(_section(*each) for each in words.sections(report)),
        _feeds(report),
        _incidents(report),
        _section(*words.excused(report)),
        [line for remark in words.remarks(report) for line in _folded(remark)],
        [
            f"Made at {moment(report.made_at)}. As it is by now:",
            f"  backupd-admin report --date {report.date}",
        ],
    ]
    return "\n".join("\n".join([*part, ""]) for part in parts if part)


def _sentence(text: str) -> str:
    return f"{text[:1].upper()}{text[1:]}."


def _section(title: str, feeds: Sequence[tuple[str, Sequence[str]]]) -> list[str]:
    lines = [line for each in feeds[: words.MOST_SAID] for line in _of_feed(*each)]
    more = [f"  {each}" for each in words.left_out(feeds, words.MOST_SAID)]
    return [title, *lines, *more] if feeds else []


def _of_feed(feed: str, said: Sequence[str]) -> Iterator[str]:
    name = escaped(feed)
    for each in said or [""]:
        yield from _folded(f"{name}: {each}" if each else name, indent="  ")


def _feeds(report: DayReport) -> list[str]:
    head = f"{'Feed':{_NAME}}{_row(name for name, _ in _COLUMNS)}"
    return [head, *(line for each in words.shown(report) for line in _feed(each, report))]


def _feed(feed: FeedDay, report: DayReport) -> Iterator[str]:
    name, row = escaped(feed.feed), _row(_numbers(feed))
    if len(name) > _NAME:
        yield from _folded(name)
        name = ""
    yield f"{name:{_NAME}}{row}"
    if report.has_news and (said := words.details(feed)):
        yield from _folded(said, indent="  ")


def _numbers(feed: FeedDay) -> Iterator[str]:
    shown = (words.number, words.number, words.size)
    for show, now, then in zip(shown, feed.came or _UNKNOWN, feed.usual or _UNKNOWN, strict=True):
        yield show(now)
        yield show(then)


def _row(cells: Iterable[str]) -> str:
    return "".join(f"{cell:>{width}}" for cell, (_, width) in zip(cells, _COLUMNS, strict=True))


def _incidents(report: DayReport) -> list[str]:
    lines: list[str] = []
    for each in report.incidents:
        title, why = words.incident(each)
        lines += [*_folded(title, indent="  "), *_folded(why, indent="    ")]
    return ["Open incidents", *lines] if lines else []


def _folded(text: str, indent: str = "") -> list[str]:
    """Break a line between words; a name that is too long for one stays whole."""
    return textwrap.wrap(
        one_line(text),
        _WIDTH,
        initial_indent=indent,
        subsequent_indent=f"{indent}    " if indent else "",
        break_long_words=False,
        break_on_hyphens=False,
    )
