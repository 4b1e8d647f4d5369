"""The report as HTML that mail programs show: tables, styles at each element, nothing from outside.

Text has the colours of whoever reads it, light or dark; what is coloured brings its own ground.
"""

from __future__ import annotations

from html import escape
from typing import TYPE_CHECKING

from backupd.alerts.messages import one_line
from backupd.core.names import escaped
from backupd.core.times import moment
from backupd.daily import words
from backupd.daily.model import State

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from backupd.daily.model import DayReport, FeedDay

_UNKNOWN: tuple[int | None, ...] = (None,) * 3
_LINE = "border-bottom:1px solid #8888"
_BASE = "font-family:system-ui,-apple-system,'Segoe UI',Roboto,Arial,sans-serif;font-size:15px"
_CELL = f"padding:6px 0 2px 10px;vertical-align:top;text-align:right;white-space:nowrap;{_BASE}"
_NAME = f"padding:6px 0 2px;vertical-align:top;text-align:left;overflow-wrap:anywhere;{_BASE}"
_SMALL = "font-size:13px;opacity:.75"
_HEADING = f"margin:22px 0 6px;font-weight:600;font-size:17px;{_BASE.partition(';')[0]}"
_RED, _AMBER, _GREEN, _GREY = "#b3261e", "#8a5a00", "#1b6e3a", "#5f6368"  # under white
_COLOURS = {
    State.COMPLETE: _GREEN,
    State.INCOMPLETE: _RED,
    State.NOT_DUE: _AMBER,
    State.EXCUSED: _GREY,
    State.IDLE: _GREY,
    State.UNKNOWN: _GREY,
    State.UNJUDGED: _GREY,
}


def as_page(report: DayReport) -> str:
    """Return the whole page."""
    title = f"{report.date}: {words.headline(report)}"
    return "\n".join(
        [
            '<!DOCTYPE html>\n<html lang="en" style="color-scheme:light dark">\n<head>',
            '<meta charset="utf-8">',
            '<meta name="viewport" content="width=device-width,initial-scale=1">',
            '<meta name="color-scheme" content="light dark">',
            '<meta name="supported-color-schemes" content="light dark">',
            f"<title>{_shown(title)}</title>\n</head>",
            f'<body style="margin:0;padding:16px;{_BASE}">',
            '<div style="max-width:760px;margin:0 auto">',
            *_body(report),
            "</div>\n</body>\n</html>\n",
        ]
    )


def _body(report: DayReport) -> Iterator[str]:
    where = f"backupd on {report.host}: report for {report.date}, {report.weekday}"
    yield f'<div style="{_SMALL}">{_shown(where)}</div>'
    colour = _RED if report.incomplete else _AMBER if report.has_news else _GREEN
    headline = words.headline(report)
    yield (
        f'<div style="margin:10px 0;padding:10px 14px;border-radius:6px;background:{colour};'
        f'color:#fff;font-size:18px;font-weight:600">'
        f"{_shown(headline[:1].upper() + headline[1:])}</div>"
    )
    yield f"<div>{_shown(words.totals(report))}</div>"
    for each in words.sections(report):
        yield from _section(*each)
    yield from _feeds(report)
    yield from _incidents(report)
    yield from _section(*words.excused(report))
    yield '<div style="margin-top:22px"></div>'
    made = f"Made at {moment(report.made_at)}. As it is by now: backupd-admin report --date"
    for remark in [*words.remarks(report), f"{made} {report.date}"]:
        yield _remark(remark)


def _remark(text: str) -> str:
    return f'<div style="{_SMALL};margin-top:4px">{_shown(text)}</div>'


def _shown(text: str) -> str:
    """Return any text as HTML that shows it, in one line."""
    return escape(one_line(text))


def _name(text: str) -> str:
    """Return a name that may be broken behind its parts."""
    return escape(escaped(text)).replace("/", "/<wbr>").replace("_", "_<wbr>")


def _heading(title: str) -> str:
    return f'<div style="{_HEADING}">{_shown(title)}</div>'


def _section(title: str, feeds: Sequence[tuple[str, Sequence[str]]]) -> Iterator[str]:
    if feeds:
        yield _heading(title)
        yield from _table(_said(*each) for each in feeds[: words.MOST_SAID])
        yield from (_remark(each) for each in words.left_out(feeds, words.MOST_SAID))


def _said(name: str, said: Sequence[str]) -> str:
    lines = "".join(f'<div style="{_SMALL}">{_shown(each)}</div>' for each in said)
    return f'<tr><td style="{_NAME};{_LINE}"><b>{_name(name)}</b>{lines}</td></tr>'


def _table(rows: Iterable[str]) -> Iterator[str]:
    yield '<table role="presentation" width="100%" cellspacing="0" cellpadding="0">'
    yield from rows
    yield "</table>"


def _feeds(report: DayReport) -> Iterator[str]:
    yield _heading("Feeds")
    yield '<table width="100%" cellspacing="0" cellpadding="0">'
    small = f"{_SMALL};font-weight:normal;{_LINE}"
    heads = "".join(
        f'<th scope="col" style="{_CELL};{small}">{name}<br>usual</th>'
        for name in ("files", "records", "bytes")
    )
    yield f'<tr><th scope="col" style="{_NAME};{small}">feed</th>{heads}</tr>'
    for each in words.shown(report):
        yield from _feed(each, report)
    yield "</table>"


def _feed(feed: FeedDay, report: DayReport) -> Iterator[str]:
    said = words.details(feed) if report.has_news else ""
    line = "" if said else _LINE
    cells = "".join(
        f'<td style="{_CELL};{line}">{now}<div style="{_SMALL}">{then}</div></td>'
        for now, then in _numbers(feed)
    )
    yield (
        f'<tr><td style="{_NAME};{line}">{_name(feed.feed)}<div>{_badge(feed.state)}</div></td>'
        f"{cells}</tr>"
    )
    if said:
        style = f"padding:0 0 6px;text-align:left;{_BASE.partition(';')[0]};{_SMALL};{_LINE}"
        yield f'<tr><td colspan="4" style="{style}">{_shown(said)}</td></tr>'


def _badge(state: State) -> str:
    style = f"background:{_COLOURS[state]};color:#fff;border-radius:4px;padding:1px 7px"
    return f'<span style="{style};font-size:12px;white-space:nowrap">{state}</span>'


def _numbers(feed: FeedDay) -> Iterator[tuple[str, str]]:
    shown = (words.number, words.number, words.size)
    for show, now, then in zip(shown, feed.came or _UNKNOWN, feed.usual or _UNKNOWN, strict=True):
        yield show(now), show(then)


def _incidents(report: DayReport) -> Iterator[str]:
    if report.incidents:
        yield _heading("Open incidents")
        told = (words.incident(each) for each in report.incidents)
        yield from _table(_said(title, [why]) for title, why in told)
