"""Times as people write and read them."""

import pytest

from backupd.cli.times import iso, moment, parse_since, span

NOW = 1_795_435_200.0  # 2026-11-23 12:00:00 UTC


@pytest.mark.parametrize(
    ("text", "at"),
    [
        ("30s", NOW - 30),
        ("2h", NOW - 7200),
        ("3d", NOW - 3 * 86_400),
        ("1w", NOW - 7 * 86_400),
        ("1h30m", NOW - 5400),
        ("2026-11-23", NOW - 12 * 3600),
        ("2026-11-23T12:00:00Z", NOW),
        ("2026-11-23T12:00:00", NOW),
        ("2026-11-23 13:00:00+01:00", NOW),
    ],
)
def test_since_is_read_as_an_age_or_as_iso_8601(text: str, at: float) -> None:
    assert parse_since(text, NOW) == at


@pytest.mark.parametrize("text", ["", "yesterday", "2 parsecs", "-3h", "2026-13-01"])
def test_anything_else_is_no_time(text: str) -> None:
    with pytest.raises(ValueError, match=r"."):
        parse_since(text, NOW)


def test_times_are_written_in_utc_with_z() -> None:
    assert iso(NOW + 0.25) == "2026-11-23T12:00:00.250Z"
    assert moment(NOW) == "2026-11-23T12:00:00Z"


def test_never_and_none_have_no_time() -> None:
    assert iso(None) is None
    assert iso(float("inf")) is None
    assert moment(None) == "-"


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0.012, "12 ms"),
        (2.1, "2.1 s"),
        (45, "45 s"),
        (192, "3m 12s"),
        (7500, "2h 05m"),
        (273_700, "3d 04h"),
        (-1, "0 ms"),  # a clock that was set back
        (59.9, "59 s"),  # rounded up, the next unit would have come over
        (7199, "1h 59m"),
    ],
)
def test_durations_have_two_units_at_most(seconds: float, text: str) -> None:
    assert span(seconds) == text


@pytest.mark.parametrize("at", [-62_135_596_801, 253_402_300_800, 2.0**62, -(2.0**62)])
def test_what_is_in_no_year_from_1_to_9999_cannot_be_written(at: float) -> None:
    assert iso(at) is None
    assert moment(at) == "-"


@pytest.mark.parametrize(
    ("at", "text"),
    [
        (-62_135_596_800, "0001-01-01T00:00:00Z"),
        (253_402_300_799.9, "9999-12-31T23:59:59Z"),
    ],
)
def test_all_other_times_can(at: float, text: str) -> None:
    assert moment(at) == text
