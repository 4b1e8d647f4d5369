"""Reports of a day, for tests to look at."""

from __future__ import annotations

from dataclasses import replace

from backupd.core.incidents import Incident, Kind
from backupd.daily.model import Amount, DayReport, FeedDay, State
from backupd.ledger.day_files import DayFiles, Passage

MADE_AT = 1_796_108_400.0  # 2026-12-01 07:00:00 UTC
MISSING = ("eLUX_HOL_01_20261130081500_000017.csv", "eLUX_HOL_01_20261130083000_000018.csv")
PASSAGE = Passage(half=4.1, most=12.0, longest=184.0)


def a_feed(feed: str = "traffic/eLUX", **changes: object) -> FeedDay:
    """One that is complete."""
    made = FeedDay(
        feed=feed,
        state=State.COMPLETE,
        came=Amount(96, 1_203_554, 1_234_567_890),
        usual=Amount(96, 1_198_000, 1_200_000_000),
        files=DayFiles(passage=PASSAGE),
    )
    return replace(made, **changes)  # type: ignore[arg-type]  # any field


def a_report(*feeds: FeedDay, **changes: object) -> DayReport:
    """One of these feeds, without an incident."""
    made = DayReport(
        date="2026-11-30",
        weekday="Monday",
        host="edge1",
        made_at=MADE_AT,
        feeds=feeds or [a_feed()],
        incidents=[],
    )
    return replace(made, **changes)  # type: ignore[arg-type]  # any field


def an_incident(feed: str = "traffic/eLUX", **changes: object) -> Incident:
    """An open one."""
    made = Incident(
        id="a" * 20,
        kind=Kind.PARKED,
        cause=f"parked:{feed}:odd",
        feed=feed,
        trouble="odd",
        reason="its companion disagrees: 4711 records, 4712 expected",
        opened_at=MADE_AT - 3600,
    )
    return replace(made, **changes)  # type: ignore[arg-type]  # any field


def a_busy_report() -> DayReport:
    """One that has some of everything."""
    return a_report(
        a_feed(),
        a_feed(
            "traffic/SKYROAM",
            state=State.INCOMPLETE,
            came=Amount(94, 1_150_001, 1_100_000_000),
            wrong=[
                "94 of 96 files came, due 2026-12-01 06:30 Europe/Amsterdam; missing: 2",
                f"missing numbers: 17-18 (2): {', '.join(MISSING)}",
            ],
            files=DayFiles(duplicates=2, empty=1, parked=1, passage=PASSAGE),
        ),
        a_feed(
            "tolling/eLUX",
            came=Amount(12, 3000, 250_000),
            usual=Amount(48, 12_400, 990_000),
            unusual=["12 files, where 48 are usual on this weekday"],
            late=["2 of 12 files came after their time, the last 2h 10m after it"],
        ),
        a_feed(
            "activations/A_very_long_name_of_a_customer_Ltd",
            state=State.UNJUDGED,
            came=Amount(123_456, 12_345_678_901, 9_876_543_210_987),
            usual=None,
        ),
        a_feed(
            "sim_inventory/eLUX",
            state=State.EXCUSED,
            came=Amount(0, 0, 0),
            excuses=["the switch was off: ticket 4711"],
            files=DayFiles(),
        ),
        a_feed("actives/eLUX", state=State.NOT_DUE, came=None, usual=None, files=None),
        incidents=[
            an_incident("traffic/SKYROAM"),
            an_incident("", kind=Kind.DEPENDENCY, cause="impala", reason="connection refused"),
        ],
    )
