"""[report] in the config."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from support.configs import loaded, mistakes

if TYPE_CHECKING:
    from pathlib import Path

    from support.configs import Changes

REPORT: Changes = {
    "alerts.smtp_url": '"smtp://mail.example"',
    "alerts.from": '"mnaas@example"',
    "report.to": '["operations@example", "operations@example"]',
}


def test_left_out_there_is_none(tmp_path: Path) -> None:
    assert loaded(tmp_path, {}).report is None


def test_it_is_read_with_its_defaults(tmp_path: Path) -> None:
    report = loaded(tmp_path, dict(REPORT)).report
    assert report is not None
    assert (report.at, report.time_zone, report.to) == (420, "UTC", ("operations@example",))


def test_a_time_is_minutes_after_midnight_there(tmp_path: Path) -> None:
    there: Changes = {"report.at": '"06:30"', "report.time_zone": '"Europe/Amsterdam"'}
    report = loaded(tmp_path, REPORT | there).report
    assert report is not None
    assert (report.at, report.time_zone) == (390, "Europe/Amsterdam")


@pytest.mark.parametrize(
    ("changes", "key", "problem"),
    [
        ({"report.at": '"24:00"'}, "report.at", "is '24:00'"),
        ({"report.at": '"7:00"'}, "report.at", "is '7:00'"),
        ({"report.at": "07:00:00"}, "report.at", "is a date or time, not text"),
        ({"report.time_zone": '"Mars/Base"'}, "report.time_zone", "this host does not know"),
        ({"report.time_zone": '"../../etc/passwd"'}, "report.time_zone", "does not know"),
        ({"report.to": None}, "report.to", "is missing"),
        ({"report.to": '["a@b, c@d"]'}, "report.to", "is not a valid mail address"),
        ({"alerts.smtp_url": None}, "alerts.smtp_url", "is missing, and [report] needs it"),
        ({"alerts.from": None}, "alerts.from", "is missing, and mail needs it"),
    ],
)
def test_a_mistake_is_named_with_its_key(
    tmp_path: Path, changes: Changes, key: str, problem: str
) -> None:
    base = REPORT | {"report.time_zone": None, "report.at": '"07:00"'} | changes
    (mistake,) = mistakes(tmp_path, base)
    assert mistake.key == key
    assert problem in mistake.problem


def test_without_alerts_both_keys_that_it_needs_are_named(tmp_path: Path) -> None:
    found = mistakes(tmp_path, {"report.to": REPORT["report.to"]})
    assert [each.key for each in found] == ["alerts.smtp_url", "alerts.from"]


def test_what_alerts_lack_is_named_once(tmp_path: Path) -> None:
    found = mistakes(tmp_path, {**REPORT, "alerts.smtp_url": None, "alerts.to": '["a@b.example"]'})
    assert [each.key for each in found] == ["alerts.smtp_url"]
