"""backupd-admin completeness and excuse."""

from __future__ import annotations

import csv
import json
import sqlite3
import time
from contextlib import closing
from typing import TYPE_CHECKING

import pytest

from backupd.completeness.dates import day_of, day_start, day_text
from backupd.core.incidents import Kind, lack_cause
from backupd.ledger import incidents
from backupd.ledger.watching import Watch
from support.admin import admin, asked, lines
from support.coming import an_arrival, come
from support.stories import Maker, answering_daemon, prepare, write_config

if TYPE_CHECKING:
    from pathlib import Path

E = "feeds.traffic.expect"
TODAY = day_of(time.time())
BEFORE = TODAY - 3
DATE = day_text(BEFORE)


async def _came(maker: Maker) -> None:
    expectations = maker.config.expectations
    since = day_start(BEFORE - 5)
    await maker.ledger.past.watch(
        [Watch(feed=feed, expected=each, since=since) for feed, each in expectations.items()]
    )
    rule = expectations["traffic/a"].sequence
    names = ("a_1.csv", "a_4.csv")
    await come(
        maker.ledger,
        *(an_arrival("traffic/a", day_start(BEFORE) + 60, name, rule) for name in names),
        an_arrival("traffic/b", day_start(BEFORE) + 60),
    )


@pytest.fixture
def config(tmp_path: Path) -> Path:
    path = write_config(
        tmp_path,
        {
            f"{E}.files": "4",
            f"{E}.sequence_regex": r"'_(\d+)\.csv$'",
            f"{E}.customer.b.files": "{ max = 9 }",
        },
    )
    prepare(path, _came)
    return path


def test_a_date_is_told_under_stable_keys(config: Path) -> None:
    (found,) = lines(config, "completeness", "--date", DATE, "--feed", "traffic/a")

    assert found == {
        "feed": "traffic/a",
        "date": DATE,
        "expected_files": 4,
        "arrived_files": 2,
        "on_time": 2,
        "late": 0,
        "late_by_s": 0.0,
        "missing": 2,
        "gaps": [{"source": None, "from": 2, "to": 3}],
        "missing_names": ["a_2.csv", "a_3.csv"],
        "unusual": [],
        "records": 20,
        "usual_records": None,
        "complete": False,
        "excused": [],
    }


def test_it_fails_where_anything_is_incomplete(config: Path) -> None:
    assert admin(config, "completeness", "--date", DATE).exit_code == 1
    assert admin(config, "completeness", "--date", DATE, "--feed", "traffic/b").exit_code == 0


def test_all_feeds_of_a_file_type_and_the_last_dates(config: Path) -> None:
    found = lines(config, "completeness", "--feed", "traffic")

    assert {(each["feed"], each["date"]) for each in found} == {
        (feed, day_text(day))
        for feed in ("traffic/a", "traffic/b")
        for day in range(TODAY - 7, TODAY + 1)
    }
    today = [each for each in found if each["date"] == day_text(TODAY)]
    assert [each["complete"] for each in today] == [None, None]
    assert today[1]["expected_files"] == {"min": None, "max": 9}


def test_from_a_date_on(config: Path) -> None:
    found = lines(config, "completeness", "--since", DATE, "--feed", "traffic/a")

    assert [each["date"] for each in found] == [day_text(day) for day in range(BEFORE, TODAY + 1)]


def test_for_people(config: Path) -> None:
    shown = admin(config, "completeness", "--date", DATE).stdout

    heading = "feed date expected arrived late late by missing records usual gaps complete"
    assert [line.split() for line in shown.splitlines()] == [
        heading.split(),
        ["traffic/a", DATE, "4", "2", ".", ".", "2", "20", "2-3", "no"],
        ["traffic/b", DATE, "at", "most", "9", "1", ".", ".", ".", "10", "yes"],
    ]


def test_as_csv(config: Path) -> None:
    text = admin(config, "completeness", "--date", DATE, "--csv").stdout

    first, second = csv.DictReader(text.splitlines())
    assert (first["feed"], first["missing"], first["gaps"]) == ("traffic/a", "2", "2-3")
    assert (second["expected_files"], second["complete"]) == ("at most 9", "True")


def test_an_hour_that_is_not_as_usual_is_told(tmp_path: Path) -> None:
    """Of dates before it is known too by what came when."""
    path = write_config(tmp_path, {f"{E}.trend": "true"})

    async def come_by_the_hour(maker: Maker) -> None:
        await _came(maker)
        for week in range(4):
            day = BEFORE - 7 * week
            hours = [each for each in range(24) if (week, each) != (0, 14)]
            times = (
                day_start(day) + 3600 * hour + 900 * part for hour in hours for part in range(4)
            )
            await come(maker.ledger, *(an_arrival("traffic/a", at) for at in times))

    prepare(path, come_by_the_hour)
    words = "hour 14 UTC: 0 files, where 4 are usual at that hour on this weekday"
    asked_for = ("completeness", "--date", DATE, "--feed", "traffic/a")

    assert [each["unusual"] for each in lines(path, *asked_for)] == [[words]]
    assert f"traffic/a {DATE}: {words}" in " ".join(admin(path, *asked_for).stdout.split())
    text = admin(path, *asked_for, "--csv").stdout
    assert [each["unusual"] for each in csv.DictReader(text.splitlines())] == [words]


def test_no_cell_is_a_formula(config: Path) -> None:
    asked(config, "excuse", "traffic/a", "--date", DATE, "--why", "=cmd|' /C calc'!A1")
    text = admin(config, "completeness", "--date", DATE, "--csv").stdout
    assert [row["excused"] for row in csv.DictReader(text.splitlines())] == [
        *("'=cmd|' /C calc'!A1", ""),
    ]


def test_some_numbers_are_excused(config: Path) -> None:
    told = asked(
        config,
        *("excuse", "traffic/a", "--date", DATE, "--sequence", "2-3", "--why", " ticket 4711 "),
    )
    assert (told["from"], told["to"], told["why"]) == (2, 3, "ticket 4711")

    answer = admin(config, "completeness", "--date", DATE, "--json")

    found = json.loads(answer.stdout.splitlines()[0])
    assert (found["missing"], found["gaps"], found["complete"]) == (0, [], True)
    assert found["excused"] == ["ticket 4711"]
    assert answer.exit_code == 0


def test_a_date_is_excused_by_the_daemon(config: Path) -> None:
    async def opens(maker: Maker) -> None:
        for kind in (Kind.MISSING, Kind.GAP):
            await maker.outage(lack_cause(kind, "traffic/a", DATE), "2 of 4 files came")

    async def still_open(maker: Maker) -> int:
        return len(await maker.ledger.ask(incidents.all_open))

    prepare(config, opens)
    with answering_daemon(config):
        said = admin(config, "excuse", "traffic/a", "--date", DATE, "--why", "off")
    assert said.stdout == f"traffic/a: {DATE} excused: off\n"

    assert prepare(config, still_open) == 0
    shown = admin(config, "completeness", "--date", DATE, "--feed", "traffic/a")
    assert "excused" in shown.stdout
    assert shown.exit_code == 0


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        (("traffic/c", "--date", DATE, "--why", "x"), "nothing is expected of traffic/c"),
        (("traffic/a", "--date", DATE, "--why", " "), "--why must not be empty"),
        (("traffic/a", "--date", DATE, "--why", "x", "--sequence", "x"), "--sequence is a number"),
        (("traffic/a", "--date", DATE, "--why", "x", "--sequence", "3-2"), "from 3 back to 2"),
        (("traffic/a", "--date", "today", "--why", "x"), "'today' does not match"),
    ],
)
def test_what_cannot_be_excused(config: Path, arguments: tuple[str, ...], problem: str) -> None:
    answer = admin(config, "excuse", *arguments)

    assert answer.exit_code in {1, 2}
    assert problem in answer.stderr


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        (("--feed", "tolling"), "nothing is expected of tolling"),
        (("--date", DATE, "--since", DATE), "--date and --since do not go together"),
        (("--csv", "--json"), "--csv and --json do not go together"),
        (("--date", "9999-12-31"), "--date 9999-12-31 is more than a year ahead"),
    ],
)
def test_what_cannot_be_shown(config: Path, arguments: tuple[str, ...], problem: str) -> None:
    answer = admin(config, "completeness", *arguments)

    assert answer.exit_code in {1, 2}
    assert problem in answer.stderr


def test_dates_before_a_feed_was_watched(tmp_path: Path) -> None:
    path = write_config(
        tmp_path,
        {f"{E}.files": "2"},
    )

    async def story(maker: Maker) -> None:
        expected = maker.config.expectations["traffic/a"]
        await maker.done(await maker.seen("a_20261123.csv"))
        await maker.ledger.past.watch(
            [Watch(feed="traffic/a", expected=expected, since=time.time())]
        )
        await maker.ledger.past.forget_arrivals(TODAY)  # as if its files had left long ago

    prepare(path, story)
    assert lines(path, "completeness", "--date", "2026-11-23", "--feed", "traffic/a") == []
    with closing(sqlite3.connect(path.parent / "ledger.db")) as connection, connection:
        connection.execute("INSERT INTO files_left VALUES ('traffic/a', 1, 0)")
    (found,) = lines(path, "completeness", "--date", "2026-11-23", "--feed", "traffic/a")

    assert (found["arrived_files"], found["missing"], found["complete"]) == (1, 1, False)


def test_a_feed_that_no_daemon_has_counted_yet(tmp_path: Path) -> None:
    path = write_config(tmp_path, {f"{E}.files": "4"})

    prepare(path, lambda maker: maker.ledger.sign_of_life())
    answer = admin(path, "completeness")

    assert answer.stdout == "nothing is known yet\n"
    assert "note: traffic/a is not counted yet" in answer.stderr
