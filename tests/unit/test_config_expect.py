"""`[feeds.<file type>.expect]`: what it means, and that what contradicts itself is refused."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import pytest

from backupd.completeness.dates import day_from
from backupd.completeness.expectations import Bounds, Expectations, SequenceRule
from backupd.completeness.words import due_next, in_words
from backupd.config import load
from support.configs import loaded, mistakes, write

E = "feeds.traffic.expect"
DOCUMENT = Path(__file__).parents[2] / "docs" / "completeness.md"
EXAMPLES = re.findall(r"```toml\n(\[feeds.*?)```", DOCUMENT.read_text(), re.DOTALL)


def test_the_document_has_five_examples() -> None:
    assert len(EXAMPLES) == 5


@pytest.mark.parametrize("example", EXAMPLES)
def test_each_example_of_the_document_is_taken(tmp_path: Path, example: str) -> None:
    name = example.removeprefix("[feeds.").partition(".")[0]
    customer = tmp_path / "in" / "eLUX"
    customer.mkdir(parents=True)
    path = write(
        tmp_path,
        {
            "feeds.traffic.customers": None,
            "feeds.traffic.directory": None,
            "feeds.traffic.pattern": None,
            f"feeds.{name}.customers": '["eLUX"]',
            f"feeds.{name}.directory": f'"{customer}"',
            f"feeds.{name}.pattern": '"*"',
        },
    )
    path.write_text(f"{path.read_text()}\n{example}")

    (expected,) = load(path, environ={}).expectations.values()

    assert list(in_words(expected))


def test_nothing_is_expected_by_itself(tmp_path: Path) -> None:
    assert loaded(tmp_path, {}).expectations == {}


def test_each_key_says_what_is_expected(tmp_path: Path) -> None:
    config = loaded(
        tmp_path,
        {
            f"{E}.every": '"15m"',
            f"{E}.files": "{ min = 90, max = 100 }",
            f"{E}.by": '"06:30"',
            f"{E}.time_zone": '"Europe/Amsterdam"',
            f"{E}.weekdays": '["mon", "sun"]',
            f"{E}.except": '["2026-12-25"]',
            f"{E}.sequence_regex": r"'(?P<source>HOL_\d+)_(\d{6})'",
            f"{E}.sequence_wraps_at": "999",
            f"{E}.sequence_resets": '"daily"',
            f"{E}.sequence_wait": '"1m"',
            f"{E}.records": "{ min = 1 }",
            f"{E}.bytes": "{ max = 1000 }",
            f"{E}.records_a_day": "{ min = 90 }",
            f"{E}.bytes_a_day": "100",
            f"{E}.trend": "true",
        },
    )

    assert config.expectations == dict.fromkeys(
        ("traffic/a", "traffic/b"),
        Expectations(
            every=900.0,
            files=Bounds(least=90, most=100),
            by=390,
            time_zone="Europe/Amsterdam",
            weekdays=frozenset({0, 6}),
            excepted=frozenset({day_from("2026-12-25")}),
            sequence=SequenceRule(
                regex=r"(?P<source>HOL_\d+)_(\d{6})", wraps_at=999, resets="daily", wait=60.0
            ),
            records=Bounds(least=1),
            size=Bounds(most=1000),
            records_a_day=Bounds(least=90),
            bytes_a_day=Bounds(least=100, most=100),
            trend=True,
        ),
    )


def test_a_customer_may_have_others(tmp_path: Path) -> None:
    config = loaded(
        tmp_path,
        {f"{E}.files": "96", f"{E}.by": '"07:00"', f"{E}.customer.b.files": "{ min = 1 }"},
    )

    assert config.expectations["traffic/a"] == Expectations(files=Bounds(least=96, most=96), by=420)
    assert config.expectations["traffic/b"] == Expectations(files=Bounds(least=1), by=420)


def test_one_customer_alone_may_have_some(tmp_path: Path) -> None:
    config = loaded(tmp_path, {f"{E}.customer.b.files": "1"})

    assert config.expectations == {"traffic/b": Expectations(files=Bounds(least=1, most=1))}


@pytest.mark.parametrize(
    ("key", "value", "problem"),
    [
        ("every", '"0s"', "is '0s', which is out of range"),
        ("every", '"40d"', "is longer than 30d"),
        ("files", "-1", "is -1, which is out of range"),
        ("files", "{ min = 3, max = 2 }", "has a min of 3, which is more than its max of 2"),
        ("files", "{ least = 3 }", "has other keys than min and max"),
        ("files", "{}", "is an empty table"),
        ("files", '"many"', "is text, not a whole number"),
        ("by", '"6:30"', "is '6:30'"),
        ("by", '"24:00"', "is '24:00'"),
        ("time_zone", '"Europe/Nowhere"', "is 'Europe/Nowhere', which this host does not know"),
        ("time_zone", '"../zone"', "is '../zone', which this host does not know"),
        ("weekdays", "[]", "is an empty list"),
        ("weekdays", '["monday"]', "has 'monday'"),
        ("except", '["25 December"]', "has '25 December'"),
        ("except", '["2026-02-29"]', "has '2026-02-29'"),
        ("sequence_regex", "'('", "is not a valid regular expression: "),
        ("sequence_regex", "'x'", "has 0 groups beside source"),
        ("sequence_regex", "'(?P<source>a)'", "has 0 groups beside source"),
        ("sequence_regex", "'(a)(b)'", "has 2 groups beside source"),
        ("sequence_resets", '"hourly"', "is 'hourly'"),
        ("trend", '"yes"', "is text, not true or false"),
        ("weekly", "1", "is an unknown key"),
    ],
)
def test_what_is_wrong_is_named(tmp_path: Path, key: str, value: str, problem: str) -> None:
    found = mistakes(tmp_path, {f"{E}.{key}": value})

    assert found[0].key == f"{E}.{key}"
    assert found[0].problem.startswith(problem)


def test_what_contradicts_itself_is_named_all_at_once(tmp_path: Path) -> None:
    found = mistakes(
        tmp_path,
        {
            f"{E}.every": '"15m"',
            f"{E}.files": "48",
            f"{E}.records": "{ min = 10 }",
            f"{E}.records_a_day": "{ max = 100 }",
            f"{E}.bytes": "{ max = 10 }",
            f"{E}.bytes_a_day": "{ min = 1000 }",
            f"{E}.sequence_wraps_at": "99",
            f"{E}.customer.c.files": "96",
        },
    )

    assert [(each.key, each.problem) for each in found] == [
        (f"{E}.sequence_wraps_at", "is given without sequence_regex"),
        (f"{E}.files", "allows 48 files a date, of which `every` needs 95"),
        (f"{E}.records_a_day", "is at most 100, where the files have 480 at least"),
        (f"{E}.bytes_a_day", "is at least 1000, where the files have 480 at most"),
        (f"{E}.customer.c", "is for a customer that customers does not have"),
        (f"{E}.customer.c.records_a_day", "is at most 100, where the files have 960 at least"),
        (f"{E}.customer.c.bytes_a_day", "is at least 1000, where the files have 960 at most"),
    ]


def test_it_says_when_and_expects_nothing(tmp_path: Path) -> None:
    found = mistakes(tmp_path, {f"{E}.by": '"06:30"'})

    assert [(each.key, each.problem) for each in found] == [(E, "expects nothing")]


def test_it_can_be_told_in_words() -> None:
    expected = Expectations(
        every=900.0,
        files=Bounds(least=90),
        by=390,
        time_zone="Europe/Amsterdam",
        weekdays=frozenset({0, 1}),
        sequence=SequenceRule(regex="(x)", wraps_at=99, wait=60.0),
        trend=True,
    )

    assert in_words(expected) == [
        "a file every 15m 00s at least",
        "at least 90 files a date",
        "no gap in the numbers of their names, after 99 from the beginning; waited for: 1m 00s",
        "about as many records a date as on the same weekday of the last weeks",
        "about as many files in each hour, UTC, as at that hour on that weekday",
        "a date is due at 06:30 of the next day, Europe/Amsterdam",
        "only dates that are mon, tue",
    ]
    far_east = in_words(replace(expected, time_zone="Asia/Tokyo"))
    assert far_east[6] == "that is a day later wherever the date, UTC, is not over by then"
    noon = day_from("2026-12-01") * 86_400 + 43_200.0  # a Tuesday; Monday was due in the morning
    assert due_next(expected, noon) == "2026-12-01 is due 2026-12-02 06:30 Europe/Amsterdam"
