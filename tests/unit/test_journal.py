"""What a log line becomes in the journal."""

from __future__ import annotations

import logging
import os
import sys
from typing import TYPE_CHECKING

import pytest

from backupd.ops import journal

if TYPE_CHECKING:
    from collections.abc import Mapping

SHIPPED = {
    "event": "ship finished",
    "level": "info",
    "file": "/in/a.csv",
    "file_id": "01",
    "feed": "traffic/a",
    "stage": "ship",
    "detail": "its hash agrees",
    "duration_s": 0.12,
}


def test_facts_are_fields() -> None:
    assert journal.entry(SHIPPED) == [
        b"MESSAGE=ship finished: /in/a.csv (feed traffic/a, duration_s 0.12): its hash agrees",
        b"PRIORITY=6",
        b"SYSLOG_IDENTIFIER=backupd",
        b"BACKUPD_EVENT=ship finished",
        b"BACKUPD_FILE=/in/a.csv",
        b"BACKUPD_FILE_ID=01",
        b"BACKUPD_FEED=traffic/a",
        b"BACKUPD_STAGE=ship",
        b"BACKUPD_DETAIL=its hash agrees",
        b"BACKUPD_DURATION_S=0.12",
    ]


@pytest.mark.parametrize(
    ("level", "priority"),
    [("debug", 7), ("info", 6), ("warning", 4), ("error", 3), ("critical", 2)],
)
def test_levels_are_priorities(level: str, priority: int) -> None:
    assert f"PRIORITY={priority}".encode() in journal.entry({"event": "e", "level": level})


@pytest.mark.parametrize(
    ("facts", "shown"),
    [
        ({"event": "stopped"}, "stopped"),
        ({"event": "ready", "feeds": 0}, "ready (feeds 0)"),
        ({"event": "merge finished", "batch": "01", "detail": ""}, "merge finished: 01"),
        (
            {"event": "incident opened", "title": "archive is down", "reason": "refused"},
            "incident opened: archive is down: refused",
        ),
        ({"event": "odd", "exception": "Traceback:\n  here"}, "odd\nTraceback:\n  here"),
        ({"event": "mail sent", "refused": {}, "to": ["a", "b"]}, "mail sent (to ['a', 'b'])"),
    ],
)
def test_the_message_is_for_people(facts: Mapping[str, object], shown: str) -> None:
    assert journal.message(facts) == shown


def test_what_is_no_unicode_is_escaped() -> None:
    assert b"BACKUPD_FILE=a\\udcff" in journal.entry({"event": "e", "file": "a\udcff"})


def test_a_journal_that_takes_no_entries_ends_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    refused: list[bytes] = []

    def refuses(*fields: bytes) -> None:
        refused.append(fields[0])
        raise ConnectionRefusedError

    monkeypatch.setattr("systemd.journal.sendv", refuses)
    journal.JournalLogger().info(event="ours", level="info")
    journal.JournalHandler().emit(logging.makeLogRecord({"msg": "a library's"}))
    assert refused == [b"MESSAGE=ours", b"MESSAGE=a library's"]


def test_stderr_is_the_journal_where_systemd_names_it() -> None:
    stderr = sys.__stderr__
    assert stderr is not None
    found = os.fstat(stderr.fileno())
    stream = f"{found.st_dev}:{found.st_ino}"

    assert journal.is_stderr({"JOURNAL_STREAM": stream})
    assert not journal.is_stderr({"JOURNAL_STREAM": f"{stream}0"})
    assert not journal.is_stderr({})
