"""backupd-admin report: what it prints, writes and sends."""

from __future__ import annotations

import asyncio
import json
import os
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import pytest

from backupd.completeness.dates import day_of, day_text
from backupd.config import load
from backupd.ledger.watching import Watch
from support.admin import admin, asked, screen
from support.coming import an_arrival, come
from support.mailbox import Mailbox, mailbox, settings
from support.stories import Maker, prepare, write_config

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from support.configs import Changes

READER = "operations@example.org"
WEEK = 7 * 86_400
EXPECTED: Changes = {"feeds.traffic.expect.files": "2"}


def yesterday() -> tuple[float, str]:
    noon = datetime.now(UTC).replace(hour=12, minute=0, second=0, microsecond=0)
    at = noon - timedelta(days=1)
    return at.timestamp(), f"{at:%Y-%m-%d}"


def came(config: Path, feed: str, *files: int) -> None:
    """So many files came yesterday, and on the same weekday of the weeks before, newest first."""
    at, _ = yesterday()

    async def tell(maker: Maker) -> None:
        for weeks, number in enumerate(files):
            arrival = an_arrival(feed, at - weeks * WEEK)
            await come(maker.ledger, *[arrival] * number)

    prepare(config, tell)


def watched(config: Path, since: float) -> None:
    expectations = load(config, environ={}).expectations

    async def tell(maker: Maker) -> None:
        await maker.ledger.past.watch(
            [Watch(feed=feed, expected=each, since=since) for feed, each in expectations.items()]
        )

    prepare(config, tell)


def of_mail(tmp_path: Path, box: Mailbox) -> Changes:
    return settings(tmp_path, box) | {"report.to": f'["{READER}"]'}


def test_a_feed_without_expectations_is_in_it(tmp_path: Path) -> None:
    config = write_config(tmp_path)
    came(config, "traffic/a", 3, 2, 4, 3)
    answer = asked(config, "report")
    feeds = {each["feed"]: each for each in answer["feeds"]}
    assert answer["date"] == yesterday()[1]
    assert feeds["traffic/a"]["state"] == "no expectations"
    assert (feeds["traffic/a"]["files"], feeds["traffic/a"]["usual_files"]) == (3, 3)
    assert feeds["traffic/b"]["files"] is None  # nothing is known of it: no wrong zero


def test_what_is_incomplete_is_told_on_a_terminal_of_80_columns(tmp_path: Path) -> None:
    config = write_config(tmp_path, EXPECTED)
    watched(config, yesterday()[0] - WEEK)
    came(config, "traffic/a", 1)
    shown = screen(config, "report")
    assert "2 of 2 feeds incomplete" in shown
    assert "traffic/a: 1 of 2 files came" in shown
    answer = asked(config, "report")
    assert answer["incomplete"] == ["traffic/a", "traffic/b"]
    assert answer["has_news"]


def test_a_complete_day_is_told_as_such(tmp_path: Path) -> None:
    config = write_config(tmp_path, EXPECTED)
    watched(config, yesterday()[0] - WEEK)
    came(config, "traffic/a", 2)
    came(config, "traffic/b", 2)
    assert "All is complete. 4 files of 2 feeds came" in admin(config, "report").stdout


def test_another_date_can_be_asked_for_but_none_that_has_not_come(tmp_path: Path) -> None:
    config = write_config(tmp_path)
    came(config, "traffic/a", 3, 5)
    date = day_text(day_of(yesterday()[0]) - 7)
    assert {
        each["feed"]: each["files"] for each in asked(config, "report", "--date", date)["feeds"]
    }["traffic/a"] == 5
    answer = admin(config, "report", "--date", "2999-01-01")
    assert answer.exit_code == 2
    assert "has not come yet" in answer.stderr


def test_a_feed_that_left_the_config_is_in_it_if_there_are_files_of_it(tmp_path: Path) -> None:
    config = write_config(tmp_path)

    async def tell(maker: Maker) -> None:
        maker.now = yesterday()[0]
        await maker.parked(await maker.seen("b_1.csv", feed="traffic/b"), "odd")

    prepare(config, tell)
    config = write_config(tmp_path, {"feeds.traffic.customers": '["a"]'})
    feeds = {each["feed"]: each for each in asked(config, "report")["feeds"]}
    assert sorted(feeds) == ["traffic/a", "traffic/b"]
    assert feeds["traffic/b"]["of_files"]["parked"] == 1


def test_a_parked_file_and_its_incident_are_in_it(tmp_path: Path) -> None:
    config = write_config(tmp_path)

    async def tell(maker: Maker) -> None:
        maker.now = yesterday()[0]
        await maker.parked(await maker.seen("a_1.csv"), "odd")
        await maker.outage("impala", "connection refused")

    prepare(config, tell)
    text = admin(config, "report").stdout
    assert "1 parked" in text
    assert "connection refused" in text
    (incident,) = asked(config, "report")["incidents"]
    assert (incident["cause"], incident["until"]) == ("impala", None)


def test_a_config_with_mistakes_gives_no_report_of_no_feeds(tmp_path: Path) -> None:
    config = write_config(tmp_path)
    came(config, "traffic/a", 3)
    config.write_text(f"odd = 1\n{config.read_text()}")
    answer = admin(config, "report")
    assert (answer.exit_code, answer.stdout) == (2, "")
    assert "odd" in answer.stderr


# -- HTML ------------------------------------------------------------------------------------------


@pytest.fixture
def config(tmp_path: Path) -> Path:
    made = write_config(tmp_path)
    came(made, "traffic/a", 3)
    return made


def test_html_is_written_over_a_file_at_a_stroke(tmp_path: Path, config: Path) -> None:
    target = tmp_path / "report.html"
    target.write_text("old")
    with target.open() as reader:
        answer = admin(config, "report", "--html", str(target))
        assert reader.read() == "old"  # whoever reads it reads the old one to its end
    assert answer.exit_code == 0
    assert target.read_text().startswith("<!DOCTYPE html>")
    assert "traffic/<wbr>a" in target.read_text()
    assert [each.name for each in tmp_path.glob(".report*")] == []


def test_html_goes_to_standard_output_alone(config: Path) -> None:
    shown = admin(config, "report", "--html", "-").stdout
    assert shown.startswith("<!DOCTYPE html>")
    assert shown.endswith("</html>\n")
    assert admin(config, "report", "--html", "-", "--json").exit_code == 2


@contextmanager
def made(tmp_path: Path, kind: str) -> Iterator[Path]:
    target = tmp_path / "target"
    if kind == "directory":
        target.mkdir()
    elif kind == "link":
        (tmp_path / "other").write_text("other")
        target.symlink_to(tmp_path / "other")
    else:
        os.mkfifo(target)
    yield target


@pytest.mark.parametrize("kind", ["directory", "link", "fifo"])
def test_html_is_never_written_over_what_is_no_plain_file(
    tmp_path: Path, config: Path, kind: str
) -> None:
    with made(tmp_path, kind) as target:
        before = target.lstat()
        answer = admin(config, "report", "--html", str(target))
        assert answer.exit_code == 1
        assert "is not replaced" in answer.stderr
        assert target.lstat().st_ino == before.st_ino
    assert kind != "link" or (tmp_path / "other").read_text() == "other"


def test_html_in_a_directory_that_is_not_there_is_an_error(tmp_path: Path, config: Path) -> None:
    answer = admin(config, "report", "--html", str(tmp_path / "none" / "report.html"))
    assert answer.exit_code == 1
    assert "No such file or directory" in answer.stderr


# -- mail ------------------------------------------------------------------------------------------


async def test_it_is_sent_now_and_what_the_server_said_is_told(tmp_path: Path) -> None:
    async with mailbox(tmp_path) as box:
        config = write_config(tmp_path, of_mail(tmp_path, box))
        await asyncio.to_thread(came, config, "traffic/a", 3)
        first = await asyncio.to_thread(admin, config, "report", "--mail")
        second = await asyncio.to_thread(admin, config, "report", "--mail", "--json")
        box.refused = {READER}
        refused = await asyncio.to_thread(admin, config, "report", "--mail")
        box.refused, box.fault = set(), "busy"
        busy = await asyncio.to_thread(admin, config, "report", "--mail")
    assert (first.exit_code, first.stdout) == (0, f"{READER}: taken by the mail server\n")
    assert json.loads(second.stdout)["sent"]
    assert (refused.exit_code, "550 no such mailbox" in refused.stdout) == (1, True)
    assert (busy.exit_code, "451 try later" in busy.stdout) == (1, True)
    one, other = box.to(READER)
    assert one["Message-ID"] != other["Message-ID"]
    page = one.get_body(("html",))
    assert page is not None
    assert "traffic/<wbr>a" in page.get_content()


async def test_in_dev_nothing_is_sent(tmp_path: Path) -> None:
    async with mailbox(tmp_path) as box:
        changes = of_mail(tmp_path, box) | {"environment": '"dev"'}
        config = write_config(tmp_path, changes)
        await asyncio.to_thread(came, config, "traffic/a", 3)
        answer = await asyncio.to_thread(admin, config, "report", "--mail")
    assert answer.stdout == f"{READER}: skipped (dev)\n"
    assert box.mails == []


def test_without_a_report_section_nobody_is_written_to(config: Path) -> None:
    answer = admin(config, "report", "--mail")
    assert answer.exit_code == 1
    assert "the config has no [report]" in answer.stderr
