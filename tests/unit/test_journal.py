"""What a log line becomes in the journal."""

from __future__ import annotations

import logging
import os
import socket
import sys
from contextlib import contextmanager
from typing import TYPE_CHECKING

import pytest
from structlog.testing import capture_logs

from backupd.ops import journal
from backupd.ops.output import Output
from support.daemon import until

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

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


def test_fields_are_lines_and_those_with_more_lines_tell_their_length() -> None:
    assert journal.datagram([b"MESSAGE=one", b"PRIORITY=6"]) == b"MESSAGE=one\nPRIORITY=6\n"
    text = b"a=b\nc\n"
    length = len(text).to_bytes(8, "little")
    assert journal.datagram([b"MESSAGE=" + text]) == b"MESSAGE\n" + length + text + b"\n"


@contextmanager
def output_to(address: str) -> Iterator[Output]:
    way = journal.Journal(address)
    output = Output(way)
    yield output
    output.end(30)
    way._socket.close()


@pytest.fixture
def journald(tmp_path: Path) -> Iterator[socket.socket]:
    """What entries are sent to. It reads none by itself."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listening:
        listening.bind(str(tmp_path / "socket"))
        yield listening


def test_our_lines_and_those_of_libraries_become_entries(journald: socket.socket) -> None:
    with output_to(journald.getsockname()) as output:
        journal.JournalLogger(output.put).info(event="ours", level="info")
        journal.JournalHandler(output.put).emit(logging.makeLogRecord({"msg": "a library's"}))
        assert journald.recv(65536).startswith(b"MESSAGE=ours\n")
        assert journald.recv(65536).startswith(b"MESSAGE=a library's\n")


def test_an_entry_of_any_size_arrives(journald: socket.socket) -> None:
    with output_to(journald.getsockname()) as output:
        entry = b"MESSAGE=" + b"x" * 1_500_000 + b"\n"
        output.put(entry)
        nothing, (file,), *_ = socket.recv_fds(journald, 65536, 1)
        assert nothing == b""
        with os.fdopen(file, "rb") as sent:
            assert os.pread(sent.fileno(), len(entry) + 1, 0) == entry
            with pytest.raises(PermissionError):  # journald takes none that could still be changed
                os.pwrite(file, b"y", 0)


def test_a_journal_that_is_stopped_holds_nobody_up_and_gets_all_when_it_goes_on(
    journald: socket.socket,
) -> None:
    with output_to(journald.getsockname()) as output:
        sent = [b"MESSAGE=%d\n" % number for number in range(5_000)]  # the kernel keeps far fewer
        for line in sent:
            output.put(line)
        assert [journald.recv(65536) for _ in sent] == sent


def test_entries_that_no_journal_takes_are_counted_and_told_of_later(tmp_path: Path) -> None:
    with capture_logs() as logs, output_to(str(tmp_path / "socket")) as output:
        output.put(b"MESSAGE=lost\n")
        until(lambda: output.lost == 1, lambda: str(output.lost))
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listening:
            listening.bind(str(tmp_path / "socket"))
            output.put(b"MESSAGE=arrives\n")
            assert listening.recv(65536) == b"MESSAGE=arrives\n"
    (told,) = logs
    assert (told["event"], told["lines_so_far"]) == ("log lines were lost", 1)


def test_stderr_is_the_journal_where_systemd_names_it() -> None:
    stderr = sys.__stderr__
    assert stderr is not None
    found = os.fstat(stderr.fileno())
    stream = f"{found.st_dev}:{found.st_ino}"

    assert journal.is_stderr({"JOURNAL_STREAM": stream})
    assert not journal.is_stderr({"JOURNAL_STREAM": f"{stream}0"})
    assert not journal.is_stderr({})
