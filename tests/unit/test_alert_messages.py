"""What goes into mails, and which goes when."""

from __future__ import annotations

from typing import TYPE_CHECKING

from hypothesis import given
from hypothesis import strategies as st

from backupd.alerts.messages import compose, one_line
from backupd.alerts.schedule import MAIL_EVERY, Due, next_letter
from backupd.core.incidents import (
    Case,
    Held,
    Incident,
    Kind,
    Notice,
    Occasion,
    Outcome,
    Way,
)

if TYPE_CHECKING:
    from email.message import EmailMessage

NOW = 1_795_435_200.0


def due(id_: str, way: Way, *, reason: str = "odd", name: str = "a.csv") -> Due:
    incident = Incident(
        id=id_,
        kind=Kind.PARKED,
        cause=f"parked:traffic/a:{id_}",
        feed="traffic/a",
        trouble=id_,
        reason=reason,
        opened_at=NOW - 60,
    )
    held = Held(files=1_234, oldest_at=NOW - 3600, oldest_name=name)
    return Due(
        case=Case(incident=incident, notices=[], held=held), way=way, occasion=Occasion.OPENED
    )


def mail(*all_due: Due) -> EmailMessage:
    return compose(all_due, "backupd@example.org", ["support@example.org"], "edge1", NOW)


def sent(way: Way, seconds_ago: float) -> Notice:
    return Notice(
        incident_id="0",
        way=way,
        occasion=Occasion.OPENED,
        number=0,
        at=NOW - seconds_ago,
        outcome=Outcome.SENT,
        detail="",
    )


@given(st.text(), st.text())
def test_whatever_names_and_reasons_hold_a_mail_comes_out(reason: str, name: str) -> None:
    message = mail(due("1", Way.MAIL, reason=reason, name=name))
    data = message.as_bytes()
    assert data.count(b"\nTo: ") == 1
    assert b"\nBcc:" not in data
    assert "\n" not in str(message["Subject"])


def test_the_body_tells_all_that_is_needed_in_plain_lines() -> None:
    message = mail(due("1", Way.MAIL, reason="odd " * 60))
    body = message.get_content()
    assert message["Content-Transfer-Encoding"] == "7bit"
    assert "since:      2026-11-23T11:59:00Z (1m 00s)" in body
    assert "1,234 files; the oldest: a.csv" in body
    assert "backupd-admin list --status parked --feed traffic/a" in body
    assert max(map(len, body.splitlines())) <= 78


def test_a_mail_to_both_tells_an_incident_once() -> None:
    both = due("1", Way.MAIL)
    message = mail(both, Due(case=both.case, way=Way.TICKET, occasion=Occasion.OPENED))
    assert message.get_content().count("since:") == 1
    assert message["Message-ID"] == "<1.opened.0@example.org>"


def test_the_same_mail_sent_again_has_the_same_id_and_others_have_others() -> None:
    ids = [
        mail(*some)["Message-ID"]
        for some in (
            [due("1", Way.MAIL)],
            [due("1", Way.MAIL)],
            [due("1", Way.TICKET)],
            [due("1", Way.MAIL), due("2", Way.MAIL)],
        )
    ]
    assert ids[0] == ids[1]
    assert len(set(ids)) == 3


def test_of_very_many_incidents_the_first_are_told_and_the_rest_are_counted() -> None:
    message = mail(*(due(str(number), Way.MAIL) for number in range(1000)))
    assert "1000 incidents" in message["Subject"]
    assert message.get_content().count("since:") == 30
    assert "... and 970 more: backupd-admin incidents" in message.get_content()


def test_nothing_goes_within_a_minute_of_the_last_mail() -> None:
    waiting = [due("1", Way.MAIL)]
    assert next_letter(waiting, sent(Way.TICKET, MAIL_EVERY - 1), NOW) == []
    assert next_letter(waiting, sent(Way.TICKET, MAIL_EVERY), NOW) == waiting
    assert next_letter(waiting, sent(Way.TICKET, -3600), NOW) == waiting  # the clock was set back


def test_operators_and_tickets_take_turns() -> None:
    mails = [due("1", Way.MAIL), due("2", Way.MAIL)]
    tickets = [due("1", Way.TICKET), due("2", Way.TICKET)]
    assert next_letter([*mails, *tickets], None, NOW) == mails
    assert next_letter([*mails, *tickets], sent(Way.TICKET, 61), NOW) == mails
    assert next_letter([*mails, *tickets], sent(Way.MAIL, 61), NOW) == tickets[:1]


def test_one_line_is_one_line() -> None:
    assert one_line("a\r\nBcc: b\x00\udcff") == "a Bcc: b??"
