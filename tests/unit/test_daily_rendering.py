"""The daily report as text, as HTML, as a sheet and as a mail."""

from __future__ import annotations

import csv
import io
from html.parser import HTMLParser
from typing import TYPE_CHECKING

import pytest

from backupd.daily import as_mail, as_page, as_text
from backupd.daily.model import Amount, State
from backupd.daily.sheet import as_csv
from backupd.daily.words import MOST, headline, number, size
from backupd.ledger.day_files import DayFiles
from support.day_reports import MISSING, a_busy_report, a_feed, a_report, an_incident

if TYPE_CHECKING:
    from backupd.daily.model import DayReport

HOSTILE = "=cmd|'/C calc'!A1<script>alert(1)</script>\r\nBcc: x@y\x1b[31m\u2028\udcff"
TO = ["operations@example.org"]


class Page(HTMLParser):
    """The elements of a page with their attributes, and all its text."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.text += data


def rows(report: DayReport) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(as_csv(report))))


def test_what_is_incomplete_comes_first_with_the_missing_names() -> None:
    text = as_text(a_busy_report())
    assert "1 of 6 feeds incomplete" in text.splitlines()[2]
    assert text.index("Incomplete") < text.index("Feed  ")
    for name in MISSING:
        assert name in text
    assert "94 of 96 files came" in text


def test_each_feed_has_its_counts_beside_the_usual_ones() -> None:
    lines = as_text(a_busy_report()).splitlines()
    (line,) = (each for each in lines if each.startswith("tolling/eLUX  "))
    assert line.split()[1:] == ["12", "48", "3,000", "12,400", "250", "kB", "990", "kB"]
    at = lines.index("activations/A_very_long_name_of_a_customer_Ltd")
    assert lines[at + 1].split() == ["123,456", "-", "12,346", "M", "-", "9.9", "TB", "-"]


def test_what_became_of_the_files_is_told() -> None:
    text = " ".join(as_text(a_busy_report()).split())
    assert "2 duplicates, 1 empty, 1 parked; archived within 4.1 s (half of them)" in text
    assert "12 s (95 %), 3m 04s (all)" in text
    assert "tolling/eLUX: 2 of 12 files came after their time" in text
    assert "sim_inventory/eLUX: the switch was off: ticket 4711" in text
    assert "files of feed traffic/SKYROAM are parked, since 2026-12-01T06:00:00Z" in text


def test_the_text_fits_into_80_columns() -> None:
    assert max(map(len, as_text(a_busy_report()).splitlines())) <= 78


def test_files_that_left_the_ledger_are_no_zeros() -> None:
    report = a_report(a_feed(files=None), incidents=[an_incident()])
    assert "no longer in the ledger" in as_text(report)
    (row,) = rows(report)
    assert (row["duplicates"], row["parked"], row["archived_within_s_50"]) == ("", "", "")
    assert row["files"] == "96"


def test_what_was_not_counted_is_no_zero() -> None:
    report = a_report(a_feed(state=State.UNKNOWN, came=None, usual=None))
    (line,) = (each for each in as_text(report).splitlines() if each.startswith("traffic/eLUX"))
    assert line.split()[1:] == ["-"] * 6
    assert rows(report)[0]["files"] == ""


def test_a_day_without_news_is_short_and_says_that_all_is_complete() -> None:
    report = a_report(a_feed(), a_feed("tolling/eLUX"))
    text = as_text(report)
    assert "All is complete. 192 files of 2 feeds came" in text
    assert len(text.splitlines()) < 16
    assert "archived" not in text
    assert headline(report) == "all is complete"


@pytest.mark.parametrize(
    ("report", "said"),
    [
        (a_report(a_feed(state=State.INCOMPLETE)), "1 of 1 feed incomplete"),
        (a_report(a_feed(state=State.NOT_DUE)), "not all is due yet"),
        (a_report(a_feed(late=["late"])), "all is complete, 1 feed late"),
        (a_report(a_feed(unusual=["odd"])), "all is complete, 1 feed not as usual"),
        (a_report(a_feed(files=DayFiles(parked=2))), "all is complete, 2 files parked"),
        (a_report(incidents=[an_incident()]), "all is complete, 1 open incident"),
        (a_report(a_feed(state=State.UNJUDGED)), "no feed has expectations"),
        (a_report(a_feed(state=State.UNKNOWN)), "not all was counted"),
        (
            a_report(a_feed(), a_feed("b/c", state=State.UNJUDGED)),
            "all is complete where files are expected",
        ),
    ],
)
def test_the_headline_claims_no_more_than_is_known(report: DayReport, said: str) -> None:
    assert headline(report) == said


def test_of_too_many_feeds_those_with_news_are_shown() -> None:
    feeds = [a_feed(f"traffic/{each:05}") for each in range(MOST + 100)]
    report = a_report(*feeds, a_feed("zz/last", state=State.INCOMPLETE, wrong=["nothing came"]))
    for shown in (as_text(report), Page(as_page(report)).text):
        assert shown.count("traffic/") == MOST - 1
        assert shown.count("zz/last") == 2
        assert "... and 101 more" in shown
    assert len(rows(report)) == MOST + 101


# -- HTML ------------------------------------------------------------------------------------------


def test_the_page_says_what_the_text_says() -> None:
    report = a_busy_report()
    shown = " ".join(Page(as_page(report)).text.split())
    for words in ("1 of 6 feeds incomplete", *MISSING, "12,346 M", "ticket 4711", "250 kB"):
        assert words in shown


def test_the_page_brings_all_that_it_needs_and_runs_nothing() -> None:
    page = Page(as_page(a_busy_report()))
    tags = {tag for tag, _ in page.elements}
    assert tags <= {
        *("html", "head", "meta", "title", "body", "div", "table", "tr", "th", "td", "b"),
        *("span", "br", "wbr"),
    }
    attributes = {name for _, found in page.elements for name in found}
    assert not {name for name in attributes if name.startswith("on") or name in {"src", "href"}}
    assert "url(" not in as_page(a_busy_report())


def test_the_page_is_told_to_be_light_or_dark_as_its_reader_wants() -> None:
    page = Page(as_page(a_report()))
    assert ("meta", {"name": "color-scheme", "content": "light dark"}) in page.elements
    coloured = [found["style"] or "" for _, found in page.elements if found.get("style")]
    assert all("background" in style for style in coloured if "color:#" in f";{style}")


# -- hostile names ---------------------------------------------------------------------------------


def hostile() -> DayReport:
    feed = a_feed(
        HOSTILE,
        state=State.INCOMPLETE,
        wrong=[HOSTILE],
        late=[HOSTILE],
        unusual=[HOSTILE],
        excuses=[HOSTILE],
    )
    incident = an_incident(HOSTILE, reason=HOSTILE)
    return a_report(feed, a_feed(), host=HOSTILE, incidents=[incident])


def test_hostile_names_are_text_on_the_page() -> None:
    page = Page(as_page(hostile()))
    assert "script" not in {tag for tag, _ in page.elements}
    assert "<script>alert(1)</script>" in page.text
    assert as_page(hostile()).encode()


def test_hostile_names_are_plain_lines_of_text() -> None:
    for line in as_text(hostile()).splitlines():
        assert line.isprintable()


def test_hostile_names_are_no_formulas_and_no_cells_of_their_own() -> None:
    first, second = rows(hostile())
    assert first["feed"].startswith("'=cmd|")
    assert second["feed"] == "traffic/eLUX"
    assert not [cell for cell in first.values() if cell.startswith(("=", "+", "-", "@"))]
    assert all(cell.isprintable() for cell in first.values())


# -- mail ------------------------------------------------------------------------------------------


def test_the_mail_has_text_html_and_the_sheet() -> None:
    mail = as_mail(a_busy_report(), "backupd@example.org", TO, again=False)
    text, page = mail.get_body(("plain",)), mail.get_body(("html",))
    assert text is not None
    assert page is not None
    assert "traffic/SKYROAM" in text.get_content()
    assert page.get_content().startswith("<!DOCTYPE html>")
    (sheet,) = mail.iter_attachments()
    assert sheet.get_filename() == "backupd-2026-11-30.csv"
    assert sheet.get_content_type() == "text/csv"
    assert mail["Subject"] == "[backupd edge1] report for 2026-11-30: 1 of 6 feeds incomplete"
    assert [part.get_content_type() for part in mail.walk()] == [
        *("multipart/mixed", "multipart/alternative", "text/plain", "text/html", "text/csv"),
    ]


def test_the_mail_goes_as_it_is_over_any_server() -> None:
    for line in as_mail(hostile(), "backupd@example.org", TO, again=False).as_bytes().splitlines():
        assert len(line) <= 998
        assert line.isascii()


def test_a_hostile_name_adds_no_header() -> None:
    mail = as_mail(hostile(), "backupd@example.org", TO, again=False)
    assert mail["Bcc"] is None
    assert set(mail.keys()) == {
        *("From", "To", "Subject", "Date", "Auto-Submitted", "Message-ID"),
        *("MIME-Version", "Content-Type"),
    }


def test_a_day_has_one_message_id_unless_it_is_sent_again() -> None:
    report = a_report()
    first, second = (as_mail(report, "b@example.org", TO, again=False) for _ in range(2))
    assert first["Message-ID"] == second["Message-ID"] == "<report.2026-11-30.edge1@example.org>"
    assert as_mail(report, "b@example.org", TO, again=True)["Message-ID"] != first["Message-ID"]


# -- numbers ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (0, "0 B"),
        (999, "999 B"),
        (1000, "1.0 kB"),
        (99_940, "99.9 kB"),
        (99_960, "100 kB"),
        (999_499, "999 kB"),
        (999_500, "1.0 MB"),
        (1_234_567_890, "1.2 GB"),
        (10**19, "10000 PB"),
        (None, "-"),
    ],
)
def test_bytes_are_shown_in_few_digits(value: int | None, shown: str) -> None:
    assert size(value) == shown


@pytest.mark.parametrize(
    ("value", "shown"), [(0, "0"), (999_999_999, "999,999,999"), (10**9, "1,000 M"), (None, "-")]
)
def test_numbers_are_shown_in_few_digits(value: int | None, shown: str) -> None:
    assert number(value) == shown


def test_the_total_leaves_out_what_was_not_counted() -> None:
    assert a_report(a_feed(came=Amount(1, 2, 3)), a_feed(came=None)).total == Amount(1, 2, 3)
